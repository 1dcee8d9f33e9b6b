package processor

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
)

// Nobody in a loop can tell when it is empty: what comes out may be fed back. But when sources are
// not read any more, only records make records, and so the coordinator can. It fetches the
// positions of all tasks first, and looks afterwards what lies behind them in the topics between
// tasks. If that is nothing, nothing ever will: the first task to do anything later would do it for
// a record that was committed before the look, behind its position.
//
// That is why tasks behind a loop wait with the end of time until the control topic says so. Windows
// that fire then may feed the loop once more, late; so the savepoint waits for the same look again.

// hasLoops says whether the plan has one.
func (a *application) hasLoops() bool { return slices.Contains(a.behindLoops(), true) }

// behindLoops says of each sub-topology whether its time waits for a loop to end.
func (a *application) behindLoops() []bool {
	behind := make([]bool, len(a.graph.Subs))
	for changed := true; changed; {
		changed = false
		for s := range a.graph.Subs {
			for i := range a.graph.Subs[s].Inputs {
				if !behind[s] && a.waitsForLoop(s, i, behind) {
					behind[s], changed = true, true
				}
			}
		}
	}
	return behind
}

// waitsForLoop says whether the time of an input does.
func (a *application) waitsForLoop(sub, input int, behind []bool) bool {
	in := a.graph.Subs[sub].Inputs[input]
	return in.Loop || slices.ContainsFunc(in.Upstream, func(s int) bool { return behind[s] })
}

// timeEnded says whether time has ended in all tasks, as they have committed it; but for loops: of
// those that wait for a loop, in the inputs that do not.
func (a *application) timeEnded(got map[topicPartition]committed, butForLoops bool) bool {
	behind := a.behindLoops()
	for _, t := range a.planTasks() {
		for i, tp := range a.inputs(t) {
			m := got[tp].metadata
			time := m.Time
			if butForLoops && a.waitsForLoop(int(t.Sub), i, behind) {
				continue
			}
			if butForLoops && behind[t.Sub] {
				time = m.InputTime
			}
			if m.Timeline != a.names.Timeline || time != offsets.EndOfTime {
				return false
			}
		}
	}
	return true
}

// onTheWay says whether a record lies behind one of these positions in a topic between tasks, or may
// come to lie there: a transaction is open. What tasks say of time is no record.
func (l *lane) onTheWay(ctx context.Context, got map[topicPartition]committed) (bool, error) {
	topics := slices.Sorted(maps.Keys(l.app.repartitions()))
	adm := kadm.NewClient(l.group.client)
	stable, err := adm.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = stable.Error()
	}
	if err != nil {
		return false, fmt.Errorf("list ends of repartition topics: %w", err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return false, fmt.Errorf("list ends of repartition topics: %w", err)
	}
	found := make(chan struct{}, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copiedAtOnce)
	for tp, p := range got {
		if !slices.Contains(topics, tp.Topic) {
			continue
		}
		to, ok := stable.Lookup(tp.Topic, tp.Partition)
		end, ok2 := ends.Lookup(tp.Topic, tp.Partition)
		switch {
		case !ok || !ok2 || end.Offset != to.Offset:
			return true, g.Wait()
		case p.offset >= to.Offset:
			continue
		}
		g.Go(func() error {
			r := changelog.Reader{Topic: tp.Topic, Partition: tp.Partition, From: p.offset, To: to.Offset}
			_, err := r.ReadRecords(ctx, l.cfg.clientOpts(), func(rec *kgo.Record) error {
				s, err := stampOf(rec)
				if err == nil && s.Kind == offsets.Data {
					select {
					case found <- struct{}{}:
					default:
					}
				}
				return err
			})
			return err
		})
	}
	err = g.Wait()
	return len(found) > 0, err
}

// loopsEmpty comes from a look at a drain.
type loopsEmpty struct{}

// loopsEmpty has the control topic say that loops are.
func (l *lane) loopsEmpty() {
	if c := l.coordinator(); c != nil && !c.state.Quiet(l.app.names.Timeline) && c.drain.says.record == nil {
		c.drain.says.record = control.Quiet{Timeline: l.app.names.Timeline, Wall: l.now().UnixMilli()}
	}
}
