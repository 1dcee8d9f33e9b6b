//go:build synctests

package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
)

// reset carries one out.
func (v *virtualTally) reset(ctx context.Context, o processor.ResetOptions) (processor.ResetReport, error) {
	v.Helper()
	plan, err := v.Plan()
	v.must(err)
	return processor.Reset(ctx, plan, o, v.opts()...)
}

// onBrokers is all that lies there: the ends of topics, and positions of groups.
func (v *virtualTally) onBrokers() string {
	v.Helper()
	adm := kadm.NewClient(v.adm)
	ends, err := adm.ListEndOffsets(v.ctx)
	v.must(err)
	var all []string
	ends.Each(func(o kadm.ListedOffset) {
		all = append(all, fmt.Sprintf("%s/%d to %d", o.Topic, o.Partition, o.Offset))
	})
	groups, err := adm.ListGroups(v.ctx)
	v.must(err)
	for _, g := range groups.Groups() {
		at, err := adm.FetchOffsets(v.ctx, g)
		v.must(err)
		at.Each(func(o kadm.OffsetResponse) {
			all = append(all, fmt.Sprintf("%s at %s/%d %d %s", g, o.Topic, o.Partition, o.At, o.Metadata))
		})
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// each reads a partition from an offset to where it ends now.
func (v *virtualTally) each(topic string, p int32, from int64, f func(key string, value []byte)) {
	v.Helper()
	ends, err := kadm.NewClient(v.adm).ListCommittedOffsets(v.ctx, topic)
	v.must(err)
	end, _ := ends.Lookup(topic, p)
	_, err = changelog.ReadRange(v.ctx, append(v.Kafka, kgo.SeedBrokers(v.brokers...)), topic, p, from, end.Offset, func(key, value []byte, _ int64) error {
		f(string(key), value)
		return nil
	})
	v.must(err)
}

// counts waits until the application has counted what lies behind the positions, and nothing else, in what it has
// written behind the ends.
func (v *virtualTally) counts(positions []processor.ResetSource, ends map[tally.Partition]int64) {
	v.Helper()
	want := map[string]uint64{}
	for _, s := range positions {
		v.each(s.Topic, s.Partition, s.To, func(key string, _ []byte) { want[key]++ })
	}
	for {
		got := map[string]uint64{}
		for p := range v.Partitions {
			v.each(v.Seen(), p, ends[tally.Partition{Topic: v.Seen(), Number: p}], func(key string, value []byte) {
				got[key]++
				if n := binary.BigEndian.Uint64(value); n != got[key] {
					v.Fatalf("update %d of %s says %d\n%s", got[key], key, n, v.log)
				}
			})
		}
		if maps.Equal(got, want) {
			return
		}
		if v.ctx.Err() != nil {
			v.Fatalf("counted are %v, want %v\n%s", got, want, v.log)
		}
		time.Sleep(100 * time.Millisecond) // virtual
	}
}

// asBefore sees the application go on as if nobody had touched it: on its timeline, with its state.
func (v *virtualTally) asBefore(worker string, records int) {
	v.Helper()
	v.start(worker, v.seldom())
	v.load(records, records+100, true)
	v.right(records + 100)
	_, err := v.completed()
	v.must(err)
	v.must(v.stop(worker))
}

// An application begins anew at each kind of position, one after the other: a dry run says where and changes nothing, and
// what is counted then is what lies behind the position.
func TestVirtualReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const records = 300
		from := v.ran(records)
		line := uint32(1)
		for _, c := range []struct {
			name    string
			o       processor.ResetOptions
			records int64 // behind the position
		}{
			{"time", processor.ResetOptions{To: processor.ResetToTime(tally.Base.Add(200 * time.Millisecond))}, records - 200},
			{"offset", processor.ResetOptions{To: processor.ResetToOffset(20)}, records - 3*20},
			{"offset of one", processor.ResetOptions{To: processor.ResetToLatest, Positions: map[string]processor.ResetPosition{v.In() + "/1": processor.ResetToOffset(30)}}, -30},
			{"latest", processor.ResetOptions{To: processor.ResetToLatest}, 0},
			{"as the plan says", processor.ResetOptions{}, records},
			{"earliest", processor.ResetOptions{To: processor.ResetToEarliest}, records}, // the last: the audit needs the whole input
		} {
			c.o.DryRun = true
			before := v.onBrokers()
			dry, err := v.reset(v.ctx, c.o)
			v.must(err)
			if after := v.onBrokers(); after != before {
				t.Fatalf("%s: a dry run has changed\n%s\nto\n%s", c.name, before, after)
			}
			behind, wanted := int64(0), c.records
			for _, s := range dry.Sources {
				behind += s.End - s.To
				if wanted < 0 && s.Partition == 1 {
					wanted += s.End
				}
			}
			if !dry.DryRun || dry.Timeline != line+1 || dry.Previous != line || behind != wanted {
				t.Fatalf("%s: %d records are behind the positions, want %d: %+v", c.name, behind, wanted, dry)
			}
			c.o.DryRun = false
			report, err := v.reset(v.ctx, c.o)
			v.must(err)
			if report.Done || !slices.Equal(report.Sources, dry.Sources) || !slices.Equal(report.Topics, dry.Topics) {
				t.Fatalf("%s: it is %+v, and was to be %+v", c.name, report, dry)
			}
			c.o.ID = report.ID
			again, err := v.reset(v.ctx, c.o)
			v.must(err)
			if !again.Done || again.Timeline != report.Timeline || !slices.Equal(again.Superseded, report.Superseded) {
				t.Fatalf("%s, the second time: %+v", c.name, again)
			}
			_, err = v.rewind(processor.RewindOptions{From: from, ID: report.ID})
			if !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "is that of a reset") {
				t.Fatalf("%s: a rewind under the same id: %v", c.name, err)
			}
			line = report.Timeline
			v.start("a", v.seldom())
			ends := map[tally.Partition]int64{}
			for _, s := range report.Superseded {
				ends[tally.Partition{Topic: s.Topic, Number: s.Partition}] = s.End
			}
			v.counts(report.Sources, ends)
			_, err = v.completed()
			v.must(err)
			v.must(v.stop("a"))
		}
		v.Timeline = line
		v.must(v.audit("a"))
	})
}

// A reset comes to an error that trying again does not heal, behind its intent: it takes that back, and says why. The
// application starts as before.
func TestVirtualResetGivesUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    string
		o     processor.ResetOptions
		spoil func(v *virtualTally, stop func())
		want  string
	}{
		{"the position is trimmed meanwhile", "fence", processor.ResetOptions{To: processor.ResetToOffset(5)}, func(v *virtualTally, _ func()) {
			var until kadm.Offsets
			until.AddOffset(v.In(), 0, 10, -1)
			gone, err := kadm.NewClient(v.adm).DeleteRecords(v.ctx, until)
			v.must(errors.Join(err, gone.Error()))
		}, "outside the log"},
		{"who has asked does not wait", "commit", processor.ResetOptions{To: processor.ResetToEarliest}, func(_ *virtualTally, stop func()) { stop() }, context.Canceled.Error()},
		{"somebody takes it back", "topics", processor.ResetOptions{To: processor.ResetToEarliest}, func(v *virtualTally, _ func()) {
			plan, err := v.Plan()
			v.must(err)
			lines, err := processor.CancelRewind(v.ctx, plan, v.opts()...)
			v.must(err)
			if !slices.Equal(lines, []uint32{2}) {
				v.Errorf("cancelled are %v", lines)
			}
		}, "was cancelled by somebody else"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				const records = 300
				v.ran(records)
				ctx, stop := context.WithCancel(v.ctx)
				defer stop()
				done := false
				c.o.Progress = func(step string) {
					if step == c.at && !done {
						done = true
						c.spoil(v, stop)
					}
				}
				if _, err := v.reset(ctx, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("it ended with %v, want %q\n%s", err, c.want, v.log)
				}
				v.asBefore("a", records)
				if c.at != "fence" { // the audit needs the whole input
					v.must(v.audit("a"))
				}
			})
		})
	}
}
