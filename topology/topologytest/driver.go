package topologytest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// Driver is a plan at work. It belongs to the test's goroutine.
type Driver struct {
	t          testing.TB
	plan       *topology.Plan
	graph      *task.Graph
	partitions int32
	turns      rand.PCG  // who is next
	now        time.Time // processing time
	runners    map[offsets.Task]*runner
	order      []offsets.Task
	ends       map[topicPartition]int64
	outputs    map[string][]record
	taken      map[string]int // how many of them were taken
	lagging    bool           // records wait, tasks take turns and crash: see order.go

	loopLimit int // records read from loops for each that was sent, at most
	looped    int // records read from loops since drain or settle began
	posted    int // records sent since settle ended
}

type topicPartition struct {
	topic     string
	internal  bool // topic is the uid of a repartition topic
	partition int32
}

// Option is a setting of a driver.
type Option func(*Driver)

// Partitions is the number of partitions of every topic. Default: 1. Repartition topics
// with a number of their own, or of the Builder's InternalPartitions, keep it.
func Partitions(n int) Option { return func(d *Driver) { d.partitions = int32(n) } }

// Seed makes the partitions of repartition topics take turns in another order. Each seed
// is one legal interleaving. Default: 0.
func Seed(s uint64) Option { return func(d *Driver) { d.turns.Seed(s, 0) } }

// LoopLimit is how many records may be read from loops because of one that was sent, or of
// one move of time, before that counts as going on for ever and is an error. Default: 100,000.
func LoopLimit(n int) Option { return func(d *Driver) { d.loopLimit = n } }

// New builds and starts the topology. Any error it meets, now or later, fails the test.
// Processing time starts at 2026-01-01 UTC and moves by AdvanceProcessingTime only.
func New(t testing.TB, build func() (*topology.Plan, error), opts ...Option) *Driver {
	t.Helper()
	plan, err := build()
	if err != nil {
		t.Fatalf("topologytest: build: %v", err)
	}
	d := &Driver{
		t: t, plan: plan, partitions: 1, turns: *rand.NewPCG(0, 0), loopLimit: 100_000,
		now:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		runners: map[offsets.Task]*runner{}, ends: map[topicPartition]int64{}, outputs: map[string][]record{}, taken: map[string]int{},
	}
	for _, o := range opts {
		o(d)
	}
	if d.graph, err = plan.Bind(context.Background(), d.nameOf); err != nil {
		t.Fatalf("topologytest: %v", err)
	}
	if d.partitions < 1 {
		t.Fatalf("topologytest: %d partitions: a topic has at least one", d.partitions)
	}
	for s := range d.graph.Subs {
		sub := &d.graph.Subs[s]
		for _, in := range sub.Inputs {
			if first := sub.Inputs[0]; d.partitionsIn(in) != d.partitionsIn(first) { // the engine refuses them at start, too
				t.Fatalf("topologytest: %s has %d partitions, %s has %d, and they are merged: give Partitions the number of the repartition topic, or the other way round",
					first.Topic, d.partitionsIn(first), in.Topic, d.partitionsIn(in))
			}
		}
		for p := range d.tasksOf(s) {
			r := &runner{d: d, id: offsets.Task{Sub: int32(s), Partition: p}, sub: sub, now: times{task: offsets.NoTime}, saved: times{task: offsets.NoTime}, inbox: make([][]record, len(sub.Inputs))}
			for _, spec := range sub.Stores {
				r.stores = append(r.stores, newStore(spec.InMemory))
			}
			d.runners[r.id] = r
		}
	}
	d.order = slices.SortedFunc(maps.Keys(d.runners), offsets.Task.Compare)
	d.Restart()
	return d
}

// nameOf is what the engine calls a topic at the application's first start.
func (d *Driver) nameOf(use task.CodecUse) string {
	names := offsets.Names{Application: d.plan.Application(), Timeline: 1}
	switch use.Kind {
	case task.RepartitionTopic:
		return names.Repartition(use.Topic)
	case task.ChangelogTopic:
		return names.Changelog(use.Topic)
	}
	return use.Topic
}

// tasksOf is the number of tasks of a sub-topology: its inputs' partitions.
func (d *Driver) tasksOf(sub int) int32 { return d.partitionsIn(d.graph.Subs[sub].Inputs[0]) }

func (d *Driver) partitionsIn(in task.Input) int32 {
	if !in.Internal {
		return d.partitions
	}
	for s := range d.graph.Subs {
		for i := range d.graph.Subs[s].Outputs {
			if o := &d.graph.Subs[s].Outputs[i]; o.Internal && o.Topic == in.Topic {
				return d.partitionsOf(o)
			}
		}
	}
	return d.partitions
}

func (d *Driver) partitionsOf(o *task.Output) int32 {
	if o.Internal {
		return cmp.Or(int32(o.Partitions), int32(d.plan.InternalPartitions()), d.partitions)
	}
	return d.partitions
}

func (d *Driver) upstream(in task.Input) (out []offsets.Task) {
	for _, s := range in.Upstream {
		for p := range d.tasksOf(s) {
			out = append(out, offsets.Task{Sub: int32(s), Partition: p})
		}
	}
	return out
}

// Restart is a crash of all tasks: what they had in memory is gone, and they come back
// from their stores.
func (d *Driver) Restart() {
	d.t.Helper()
	d.settle()
	for _, id := range d.order {
		d.runners[id].start()
	}
	d.must(d.unit(func() error { // as the engine does, they say first how far their time is
		for _, id := range d.order {
			d.runners[id].heartbeat()
		}
		return d.drain()
	}))
}

// AdvanceEventTime moves the time of every source to at least to, as if each of its
// partitions had got there, and lets everything that is due fire.
func (d *Driver) AdvanceEventTime(to time.Time) {
	d.t.Helper()
	if err := d.TryAdvanceEventTime(to); err != nil {
		d.t.Fatalf("topologytest: advance event time: %v", err)
	}
}

// TryAdvanceEventTime is AdvanceEventTime that returns the error of what was due, a
// *task.OperatorError, instead of failing the test. Time has not moved then.
func (d *Driver) TryAdvanceEventTime(to time.Time) error {
	d.t.Helper()
	d.settle()
	return d.unit(func() error {
		for _, id := range d.order {
			r := d.runners[id]
			for i, in := range r.sub.Inputs {
				if in.Internal {
					continue
				}
				if err := r.epoch(func() error { return r.task.Stamped(i, offsets.Task{}, to.UnixMilli(), offsets.Heartbeat) }); err != nil {
					return err
				}
			}
		}
		return d.drain()
	})
}

// AdvanceProcessingTime moves the wall clock, which makes silent sources idle.
func (d *Driver) AdvanceProcessingTime(by time.Duration) {
	d.t.Helper()
	d.settle()
	err := d.unit(func() error {
		for _, at := range []time.Time{d.now, d.now.Add(by)} {
			for _, id := range d.order {
				r := d.runners[id]
				if err := r.epoch(func() error { return r.task.Tick(at.UnixMilli()) }); err != nil {
					return err
				}
			}
		}
		return d.drain()
	})
	if err != nil {
		d.t.Fatalf("topologytest: advance processing time: %v", err)
	}
	d.now = d.now.Add(by)
}

func (d *Driver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("topologytest: %v", err)
	}
}

// send puts a record into a source topic and processes all that follows from it.
func (d *Driver) send(rec record) error {
	d.settle()
	if err := d.append(rec); err != nil {
		return err
	}
	return d.unit(d.drain)
}

// append puts a record at the end of a source topic.
func (d *Driver) append(rec record) error {
	if rec.partition < 0 || rec.partition >= d.partitions {
		return fmt.Errorf("there is no %s/%d: topics have %d partitions", rec.topic, rec.partition, d.partitions)
	}
	rec.offset = d.next(&rec)
	d.deliver(&rec, false)
	return nil
}

// unit runs f and commits what the tasks did. If f fails, all of it is undone, in every
// task: what was sent has no effect, and what waited is gone with it.
func (d *Driver) unit(f func() error) error {
	ends, outputs, turns := maps.Clone(d.ends), maps.Clone(d.outputs), d.turns
	err := f()
	for _, id := range d.order {
		if r := d.runners[id]; err == nil {
			r.commit()
		} else {
			r.rollback()
		}
	}
	if err != nil {
		d.ends, d.outputs, d.turns = ends, outputs, turns
	}
	return err
}

func (d *Driver) next(rec *record) int64 {
	tp := topicPartition{rec.topic, rec.stamp != nil, rec.partition}
	d.ends[tp]++
	return d.ends[tp] - 1
}

func (d *Driver) sources() string {
	var names []string
	for _, s := range d.graph.Subs {
		for _, in := range s.Inputs {
			if !in.Internal {
				names = append(names, in.Topic)
			}
		}
	}
	return strings.Join(names, ", ")
}

// emitted takes a record or a heartbeat that a task wrote.
func (d *Driver) emitted(rec record) {
	rec.offset = d.next(&rec)
	if rec.stamp != nil {
		d.deliver(&rec, true)
		return
	}
	d.outputs[rec.topic] = append(d.outputs[rec.topic], rec)
}

// deliver shows a record to the tasks that read its partition.
func (d *Driver) deliver(rec *record, internal bool) {
	for _, id := range d.order {
		r := d.runners[id]
		for i, in := range r.sub.Inputs {
			if in.Internal == internal && in.Topic == rec.topic && id.Partition == rec.partition {
				r.inbox[i] = append(r.inbox[i], *rec)
			}
		}
	}
}

// drain processes what waits, and what comes of it, until there is nothing.
func (d *Driver) drain() error {
	d.looped = 0
	for {
		if more, err := d.step(); !more || err != nil {
			return err
		}
		if err := d.ending(1); err != nil {
			return err
		}
	}
}

// ending says when what goes round in loops does not seem to end.
func (d *Driver) ending(sent int) error {
	if d.looped <= d.loopLimit*sent {
		return nil
	}
	var waiting []string
	for _, id := range d.order {
		r := d.runners[id]
		for i, in := range r.sub.Inputs {
			if n := len(r.inbox[i]); in.Loop && n > 0 {
				waiting = append(waiting, fmt.Sprintf("%d in %s/%d", n, in.Topic, id.Partition))
			}
		}
	}
	return fmt.Errorf("%d records were read from loops, and there is no end: waiting are %s; let records come back a bounded number of times, or raise topologytest.LoopLimit",
		d.looped, cmp.Or(strings.Join(waiting, ", "), "none in loops just now"))
}

// step processes the first record of an inbox taken at random: partitions take turns,
// records of one partition keep their order. It is false when nothing waits.
func (d *Driver) step() (more bool, err error) {
	type box struct {
		r     *runner
		input int
	}
	var ready []box
	for _, id := range d.order {
		r := d.runners[id]
		for i := range r.inbox {
			if len(r.inbox[i]) > 0 {
				ready = append(ready, box{r, i})
			}
		}
	}
	if len(ready) == 0 {
		return false, nil
	}
	b := ready[d.pick(len(ready))]
	rec := b.r.inbox[b.input][0]
	b.r.inbox[b.input] = b.r.inbox[b.input][1:]
	if b.r.sub.Inputs[b.input].Loop {
		d.looped++
	}
	if !b.r.news(b.input, &rec) {
		return true, nil
	}
	return true, b.r.process(b.input, &rec)
}

func (d *Driver) pick(n int) int { return rand.New(&d.turns).IntN(n) }
