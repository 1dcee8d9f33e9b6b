//go:build synctests

package processor_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// save makes a savepoint of a checkpoint.
func (v *virtualTally) save(from string, change func(*snapshot.Manifest)) string {
	v.Helper()
	to := filepath.Join(v.TempDir(), "savepoint")
	v.must(v.Savepoint(v.ctx, v.brokers, from, to, snapshot.Options{Compression: snapshot.None}, change))
	return to
}

// refused wants a refusal that says all of this, and that nothing was changed by it.
func (v *virtualTally) refused(plan *topology.Plan, o processor.RewindOptions, want ...string) {
	v.Helper()
	before, err := v.end(offsets.Names{Application: v.App}.Control())
	v.must(err)
	report, err := processor.Rewind(v.ctx, plan, o, v.opts()...)
	if err == nil {
		v.Errorf("not refused, want %q: %+v", want, report)
		return
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			v.Errorf("refused with %v\nwant %q", err, text)
		}
	}
	after, err := v.end(offsets.Names{Application: v.App}.Control())
	v.must(err)
	if before != after {
		v.Errorf("a refused rewind has written to the control topic (%q)", want)
	}
}

// What cannot be gone back to is refused with all that is wrong, and nothing is changed.
func TestVirtualRewindRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		from := v.ran(300)
		save := v.save(from, nil)
		plan, err := v.Plan()
		v.must(err)

		// Another plan: a store is gone, one has other rows, a source and a repartition are gone.
		b := topology.New(v.App)
		in := topology.From(b, topology.NewTopic(v.Seen(), codec.String, codec.Bytes))
		in.Count("seen").To(topology.NewTopic(v.GroupsT(), codec.String, codec.Int64))
		other, err := b.Build()
		v.must(err)
		v.refused(other, processor.RewindOptions{From: save},
			"store groups is not in the plan", "store windows is not in the plan", "store seen has rows of", "source virtual-in is not in the plan", "repartition by-group, which has records in flight, is not in the plan")
		v.refused(other, processor.RewindOptions{From: save, AllowNonRestored: []string{"groups", "grups"}},
			"store windows is not in the plan", "grups may be left behind, and there is nothing of that name")

		stranger, err := tally.Tally{App: "stranger", Source: v.In(), Partitions: v.Partitions, Keys: v.Keys, Groups: v.Groups}.Plan()
		v.must(err)
		v.must(tally.Tally{App: "stranger", Source: "stranger-unused", Partitions: v.Partitions, Kafka: v.Kafka}.CreateTopics(v.ctx, v.brokers, 1))
		v.refused(stranger, processor.RewindOptions{From: save}, "it is of application virtual, not of stranger")
		v.refused(plan, processor.RewindOptions{From: save, Fork: true}, "it is of application virtual itself")
		v.refused(plan, processor.RewindOptions{From: filepath.Join(t.TempDir(), "nothing")}, "check the path")
		v.refused(plan, processor.RewindOptions{From: save, ID: "Not A Name"}, "the id of the rewind")
		v.refused(plan, processor.RewindOptions{From: save, Positions: map[string]processor.RewindPosition{"virtual-im": processor.RewindToLatest}}, "virtual-im has a position, and is no source")
		v.refused(plan, processor.RewindOptions{From: save, Positions: map[string]processor.RewindPosition{v.In(): "somewhere"}}, "use earliest or latest")

		// Positions: another topic of that name, one that is beyond the log, other partitions.
		wrong := v.save(from, func(m *snapshot.Manifest) {
			for i := range m.Topics {
				if m.Topics[i].Name == v.In() {
					m.Topics[i].Partitions = 2
				}
			}
			for i := range m.Tasks {
				for j := range m.Tasks[i].Positions {
					if p := &m.Tasks[i].Positions[j]; p.Topic == v.In() && p.Partition == 1 {
						p.Offset = 1 << 40
					}
				}
			}
		})
		v.refused(plan, processor.RewindOptions{From: wrong}, "source virtual-in has 3 partitions, had 2", "position 1099511627776 of virtual-in/1 is outside the log")
		anew := v.save(from, func(m *snapshot.Manifest) {
			for i := range m.Topics {
				m.Topics[i].ID = strings.Repeat("ab", 16)
			}
		})
		v.refused(plan, processor.RewindOptions{From: anew}, "source virtual-in was deleted and created again")

		// Damage: a byte of an object, then a whole one; a manifest of a later release.
		objects, err := filepath.Glob(filepath.Join(save, "objects", "*"))
		if err != nil || len(objects) < 2 {
			t.Fatalf("%v, %v", objects, err)
		}
		data, err := os.ReadFile(objects[0])
		v.must(err)
		data[len(data)/2] ^= 1
		v.must(os.WriteFile(objects[0], data, 0o644))
		v.refused(plan, processor.RewindOptions{From: save}, "its objects are not all whole", filepath.Base(objects[0]))
		v.must(os.Remove(objects[1]))
		v.refused(plan, processor.RewindOptions{From: save}, "no such file", filepath.Base(objects[1]))

		// The records behind the positions were deleted: retention.
		ends, err := kadm.NewClient(v.adm).ListEndOffsets(v.ctx, v.In())
		v.must(err)
		gone, err := kadm.NewClient(v.adm).DeleteRecords(v.ctx, ends.Offsets())
		v.must(errors.Join(err, gone.Error()))
		v.refused(plan, processor.RewindOptions{From: from}, "virtual-in/0 is outside the log", "virtual-in/2 is outside the log", "--position topic=earliest")
		report, err := processor.Rewind(v.ctx, plan, processor.RewindOptions{From: from, Positions: map[string]processor.RewindPosition{v.In(): processor.RewindToEarliest}}, v.opts()...)
		if err != nil || report.Timeline != 2 {
			t.Fatalf("with the override: %+v, %v", report, err)
		}
	})
}

// A checkpoint whose records in flight are gone, or that is not kept, is refused.
func TestVirtualRewindToLostCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		from := v.ran(300)
		plan, err := v.Plan()
		v.must(err)
		gone, err := os.ReadFile(from)
		v.must(err)
		// Only the newest is kept.
		v.start("a", processor.CheckpointInto(processor.Checkpoints{Dir: v.checkpoints(), Retained: 1, Interval: 300_000_000, Compression: "none"}))
		for {
			_, err = v.completed()
			v.must(err)
			if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
				break
			}
		}
		v.must(v.stop("a"))
		v.refused(plan, processor.RewindOptions{From: from}, "no such file")
		v.must(os.WriteFile(from, gone, 0o644))
		v.refused(plan, processor.RewindOptions{From: from}, "no such file") // its objects
		v.must(os.Remove(from))

		// What the newest has in flight is deleted by somebody.
		names, _ := v.manifests()
		hop := offsets.Names{Application: v.App, Timeline: 1}.Repartition("by-group")
		ends, err := kadm.NewClient(v.adm).ListEndOffsets(v.ctx, hop)
		v.must(err)
		_, err = kadm.NewClient(v.adm).DeleteRecords(v.ctx, ends.Offsets())
		v.must(err)
		v.refused(plan, processor.RewindOptions{From: names[len(names)-1]}, "records in flight from", "are gone")
	})
}

// A plan that has grown in front, so that its sub-topologies have other numbers, and lost a store:
// what is left goes on exactly.
func TestVirtualRewindOfAnotherPlan(t *testing.T) {
	for _, kind := range []string{"checkpoint", "savepoint"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				const records = 300
				more := tally.Tally{App: "more", Source: "more-in", Partitions: 2, Kafka: v.Kafka}
				v.must(more.CreateTopics(v.ctx, v.brokers, 1))
				gone := func(b *topology.Builder) {
					topology.From(b, topology.NewTopic(more.Seen(), codec.String, codec.Bytes)).Count("gone")
				}
				v.First = gone
				from := v.ran(records)
				if kind == "savepoint" {
					from = v.save(from, nil)
				}
				v.First = func(b *topology.Builder) {
					topology.From(b, topology.NewTopic(more.In(), codec.String, codec.Bytes)).Count("more").To(topology.NewTopic(more.Windows(), codec.String, codec.Int64))
					topology.KeyBy(topology.From(b, topology.NewTopic(more.GroupsT(), codec.String, codec.Bytes)), "hop", codec.String,
						func(k string, _ []byte) (string, error) { return k, nil }).Count("most")
				}
				plan, err := v.Plan()
				v.must(err)
				v.refused(plan, processor.RewindOptions{From: from}, "store gone is not in the plan", "source more-seen is not in the plan")
				report, err := v.rewind(processor.RewindOptions{From: from, AllowNonRestored: []string{"gone", more.Seen()}})
				v.must(err)
				if got := strings.Join(slices.Sorted(slices.Values(report.Added)), ", "); got != "source more-groups, source more-in, store more, store most" || len(report.NotRestored) != 2 {
					t.Errorf("added %s, left %v", got, report.NotRestored)
				}
				v.start("a", v.seldom())
				v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
				ends := endsOf(report)
				out, err := v.AwaitRewound(v.ctx, v.brokers, records+100, tally.Outputs{}, ends)
				v.must(err)
				v.must(v.CheckRewound(out, records+100, ends).Err())
				v.must(v.stop("a"))
			})
		})
	}
}

// A source has got another partition: that is refused, and with the override the new one begins
// at its start, without state.
func TestVirtualRewindOfGrownSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const records = 300
		from := v.ran(records)
		grown, err := kadm.NewClient(v.adm).CreatePartitions(v.ctx, 1, v.In())
		v.must(errors.Join(err, grown.Error()))
		plan, err := v.Plan()
		v.must(err)
		v.refused(plan, processor.RewindOptions{From: from}, "source virtual-in has 4 partitions, had 3")
		report, err := v.rewind(processor.RewindOptions{From: from, Positions: map[string]processor.RewindPosition{v.In(): processor.RewindToEarliest}})
		v.must(err)
		v.start("a", v.seldom())
		v.must(v.Load(v.ctx, v.brokers, records, records+100, false))
		v.Partitions = 4 // the last records go to all of them
		v.must(v.Load(v.ctx, v.brokers, records+100, records+100, true))
		ends := endsOf(report)
		out, err := v.AwaitRewound(v.ctx, v.brokers, records+100, tally.Outputs{}, ends)
		v.must(err)
		v.must(v.CheckRewound(out, records+100, ends).Err())
		v.must(v.stop("a"))
	})
}

// A new application begins with a copy of another one, which goes on: both end up with the same
// results. So does a savepoint taken of it that was moved.
func TestVirtualFork(t *testing.T) {
	for _, kind := range []string{"checkpoint", "savepoint"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				const records = 300
				from := v.ran(records)
				if kind == "savepoint" {
					from = v.save(from, nil)
				}
				v.start("a", v.seldom()) // it lives
				f := *v
				f.App, f.Source = "fork", v.In()
				made := f.Tally
				made.Source = "fork-unused"
				v.must(made.CreateTopics(v.ctx, v.brokers, 1))
				o := processor.RewindOptions{From: from, Fork: true}
				report, err := f.rewind(o)
				v.must(err)
				if report.Timeline != 1 || report.Previous != 0 || report.Origin != v.App || report.Rows == 0 || len(report.Superseded) != 0 {
					t.Fatalf("%+v", report)
				}
				if same, err := f.rewind(o); err != nil || !same.Done {
					t.Fatalf("again: %+v, %v", same, err)
				}
				o.ID = "second"
				if _, err := f.rewind(o); !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "application fork is there already") {
					t.Fatalf("a fork over an application: %v", err)
				}
				f.start("b", f.seldom())
				v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
				out, err := v.Await(v.ctx, v.brokers, records+100)
				v.must(err)
				v.must(v.Check(out, records+100).Err())
				ends := map[tally.Partition]int64{}
				for _, topic := range []string{v.Seen(), v.GroupsT(), v.Windows()} {
					for p := range v.Partitions {
						ends[tally.Partition{Topic: topic, Number: p}] = math.MaxInt64
					}
				}
				forked, err := f.AwaitRewound(v.ctx, v.brokers, records+100, out, ends)
				v.must(err)
				v.must(f.CheckRewound(forked, records+100, ends).Err())
				_, err = f.completed()
				v.must(err)
				_, err = v.completed()
				v.must(err)
				v.must(f.stop("b"))
				v.must(v.stop("a"))
				v.must(f.audit("b"))
				v.must(v.audit("a"))
			})
		})
	}
}
