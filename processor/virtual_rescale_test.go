//go:build synctests

package processor_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// amid loads records while a worker runs, and gives the checkpoint of its timeline that was taken
// meanwhile and has the most in flight.
func (v *virtualTally) amid(worker string, from, to int) string {
	v.Helper()
	v.start(worker, v.every(100*time.Millisecond))
	_, err := v.completed()
	v.must(err)
	for at := from; at < to; at += 10 {
		v.must(v.Load(v.ctx, v.brokers, at, at+10, false))
		time.Sleep(15 * time.Millisecond) // virtual
	}
	_, err = v.completed()
	v.must(err)
	v.must(v.stop(worker))
	names, all := v.manifests()
	most, place := int64(0), ""
	for i, m := range all {
		n := int64(0)
		for _, part := range m.InFlight {
			n += part.To - part.From
		}
		if n > most && m.Timeline == max(v.Timeline, 1) && m.InternalPartitions == v.Inner() {
			most, place = n, names[i]
		}
	}
	if most == 0 {
		v.Fatal("no checkpoint has anything in flight")
	}
	return place
}

// An application with windows goes from 3 internal partitions to 7 and to 2, each time from a
// checkpoint with open windows and records in flight: each update and each window comes once.
func TestVirtualRescale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.Groups = 11
		from := v.amid("a", 0, 600)
		inFlight := int64(0)
		for i, n := range []int{7, 2} {
			report, err := v.rewind(processor.RewindOptions{From: from, InternalPartitions: n})
			v.must(err)
			if want := []string{fmt.Sprintf("by-group: %d to %d", []int{3, 7}[i], n)}; report.Done || report.Rows == 0 || !slices.Equal(report.Rescaled, want) {
				t.Fatalf("%+v, want %v", report, want)
			}
			inFlight += report.Records
			v.must(v.Rescaled(v.ctx, from, int32(n), report.Timeline))
			if n == 7 {
				from = v.amid("a", 600, 1200)
				v.must(v.audit("a"))
				continue
			}
			v.start("a", v.seldom())
			v.must(v.Load(v.ctx, v.brokers, 1200, 1300, true))
			out, err := v.AwaitRewound(v.ctx, v.brokers, 1300, tally.Outputs{}, endsOf(report))
			v.must(err)
			again := v.CheckRewound(out, 1300, endsOf(report))
			v.must(again.Err())
			if again.Again == 0 || inFlight == 0 {
				t.Errorf("%d were processed again, %d were in flight: the test shows nothing", again.Again, inFlight)
			}
			_, err = v.completed()
			v.must(err)
			v.must(v.stop("a"))
			v.must(v.audit("a"))
		}
	})
}

// A fork has another number of partitions than what it was forked from, which goes on.
func TestVirtualForkRescaled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const records = 600
		save := v.save(v.ran(records), nil)
		v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
		v.start("a", v.seldom())
		prior, err := v.Await(v.ctx, v.brokers, records+100)
		v.must(err)
		v.must(v.stop("a"))

		f := *v
		f.App, f.Source = "fork", "fork-unused"
		v.must(f.CreateTopics(v.ctx, v.brokers, 1))
		f.Source = v.In()
		report, err := f.rewind(processor.RewindOptions{From: save, Fork: true, InternalPartitions: 5})
		v.must(err)
		if report.Timeline != 1 || !slices.Equal(report.Rescaled, []string{"by-group: 3 to 5"}) {
			t.Fatalf("%+v", report)
		}
		v.must(f.Rescaled(v.ctx, save, 5, report.Timeline))
		f.dir = t.TempDir()
		f.start("f", f.seldom())
		ends := map[tally.Partition]int64{}
		for _, topic := range []string{v.Seen(), v.GroupsT(), v.Windows()} {
			for p := range v.Partitions {
				ends[tally.Partition{Topic: topic, Number: p}] = math.MaxInt64
			}
		}
		out, err := f.AwaitRewound(v.ctx, v.brokers, records+100, prior, ends)
		v.must(err)
		v.must(f.CheckRewound(out, records+100, ends).Err())
		_, err = f.completed()
		v.must(err)
		v.must(f.stop("f"))
		v.must(f.audit("f"))
	})
}

// What cannot be divided anew is refused, all of it, and nothing is changed.
func TestVirtualRescaleRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		from := v.ran(300)
		plan, err := v.Plan()
		v.must(err)
		v.refused(plan, processor.RewindOptions{From: from, InternalPartitions: -1}, "the number of internal partitions is -1")

		build := func(stores, hop codec.Codec[string]) *topology.Plan {
			b := topology.New(v.App)
			in := topology.From(b, topology.NewTopic(v.In(), codec.String, codec.Int64))
			pair := codec.Codec[int64](named[int64]{codec.Int64, "tally-pair"})
			add := func(_ string, _, n int64) (int64, error) { return n, nil }
			topology.Aggregate(in, "seen", pair, add).To(topology.NewTopic(v.Seen(), codec.String, pair))
			by := topology.KeyBy(in, "by-group", hop, func(k string, _ int64) (string, error) { return k, nil }).WithKeyCodec(stores)
			topology.Aggregate(by, "groups", pair, add).To(topology.NewTopic(v.GroupsT(), codec.String, pair))
			topology.Window(by, window.Tumbling(tally.WindowSize)).Count("windows").To(topology.NewTopic(v.Windows(), topology.WindowedKey(codec.String), codec.Int64))
			plan, err := b.Build()
			v.must(err)
			return plan
		}
		// Stores whose keys have another codec than those that placed their records.
		other := v.save(from, func(m *snapshot.Manifest) {
			m.Plan = bytes.ReplaceAll(m.Plan, []byte(`"kind":"keyed","key_codec":"string"`), []byte(`"kind":"keyed","key_codec":"other"`))
			m.Plan = bytes.ReplaceAll(m.Plan, []byte(`"uid":"seen","kind":"keyed","key_codec":"other"`), []byte(`"uid":"seen","kind":"keyed","key_codec":"string"`))
			m.Plan = bytes.ReplaceAll(m.Plan, []byte(`"kind":"window","key_codec":"string"`), []byte(`"kind":"window","key_codec":"other"`))
		})
		apart := build(named[string]{codec.String, "other"}, codec.String)
		v.refused(apart, processor.RewindOptions{From: other, InternalPartitions: 5},
			"store groups has keys of codec other, and they were placed by repartition by-group as those of codec string",
			"store windows has keys of codec other")
		if _, err := processor.Rewind(v.ctx, apart, processor.RewindOptions{From: other, DryRun: true}, v.opts()...); err != nil {
			t.Errorf("with the number that there was: %v", err)
		}

		// Rows and records that do not lie where their keys belong.
		v.refused(build(halfPlaced{codec.String}, halfPlaced{codec.String}), processor.RewindOptions{From: from, InternalPartitions: 5},
			"rows of store groups:", "rows of store windows:", "records in flight of repartition by-group, partition", "does not belong to the partition in which it lies")
		report, err := processor.Rewind(v.ctx, plan, processor.RewindOptions{From: from, InternalPartitions: 5, DryRun: true}, v.opts()...)
		if err != nil || !slices.Equal(report.Rescaled, []string{"by-group: 3 to 5"}) {
			t.Errorf("as it is: %+v, %v", report, err)
		}
	})
}

// A store that has moved from behind a repartition onto a source has as many tasks as that: where its rows belong is not
// for us to say, and those of tasks that are no more would be left out without a word.
func TestVirtualStoreOnASourceIsNotRescaled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		from := v.ran(300)
		report, err := v.rewind(processor.RewindOptions{From: from, InternalPartitions: 5})
		v.must(err)
		v.must(v.Rescaled(v.ctx, from, 5, report.Timeline))
		from = v.amid("a", 300, 600)
		b := topology.New(v.App)
		in := topology.From(b, topology.NewTopic(v.In(), codec.String, codec.Int64))
		pair := codec.Codec[int64](named[int64]{codec.Int64, "tally-pair"})
		add := func(_ string, _, n int64) (int64, error) { return n, nil }
		topology.Aggregate(in, "seen", pair, add).To(topology.NewTopic(v.Seen(), codec.String, pair))
		topology.Aggregate(in, "groups", pair, add).To(topology.NewTopic(v.GroupsT(), codec.String, pair))
		plan, err := b.Build()
		v.must(err)
		v.refused(plan, processor.RewindOptions{From: from, AllowNonRestored: []string{"windows", "by-group"}},
			"store groups is of 5 tasks, is to be of 3 that read source "+v.In())
	})
}

// named is a codec under another name.
type named[T any] struct {
	codec.Codec[T]
	name string
}

func (n named[T]) Name() string { return n.name }

// halfPlaced places keys by half of what they are.
type halfPlaced struct{ codec.Codec[string] }

func (halfPlaced) PartitionKey(encoded []byte) []byte { return encoded[:len(encoded)/2] }

// A source has got more partitions: that is refused unless it is named, and then those begin at the
// beginning.
func TestVirtualAddedPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		from := v.ran(300)
		plan, err := v.Plan()
		v.must(err)
		added, err := kadm.NewClient(v.adm).CreatePartitions(v.ctx, 2, v.In())
		v.must(errors.Join(err, added.Error()))
		v.refused(plan, processor.RewindOptions{From: from}, "source virtual-in has 5 partitions, had 3", "--allow-added-partitions")
		v.refused(plan, processor.RewindOptions{From: from, AllowAddedPartitions: []string{"virtual-on"}}, "virtual-on may have more partitions, and is no source of the plan", "has 5 partitions, had 3")
		manual, err := kgo.NewClient(append(v.Kafka, kgo.SeedBrokers(v.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		v.must(err)
		defer manual.Close()
		v.must(manual.ProduceSync(v.ctx, &kgo.Record{Topic: v.In(), Partition: 4, Key: []byte("added"), Value: make([]byte, 8), Timestamp: tally.Base}).FirstErr())
		report, err := v.rewind(processor.RewindOptions{From: from, AllowAddedPartitions: []string{v.In()}})
		v.must(err)
		if report.Timeline != 2 || len(report.Rescaled) != 0 {
			t.Fatalf("%+v", report)
		}
		names, all := v.manifests()
		want := map[int32]int64{3: 0, 4: 0}
		for _, task := range all[slices.Index(names, from)].Tasks {
			for _, at := range task.Positions {
				if at.Topic == v.In() {
					want[at.Partition] = at.Offset
				}
			}
		}
		got, err := kadm.NewClient(v.adm).FetchOffsets(v.ctx, "virtual.2")
		v.must(err)
		for p, offset := range want {
			if at, ok := got.Lookup(v.In(), p); !ok || at.At != offset {
				t.Errorf("partition %d begins at %d, want %d", p, at.At, offset)
			}
		}
		v.start("a", v.seldom())
		v.until("counted", func() (is bool) {
			for p := range v.Partitions {
				v.each(v.Seen(), p, 0, func(key string, _ []byte) { is = is || key == "added" })
			}
			return is
		})
		_, err = v.completed() // the first one may have been before the record
		v.must(err)
		v.must(v.stop("a"))
		_, all = v.manifests()
		if at := all[len(all)-1].Store(offsets.Task{Partition: 4}, "seen"); at == nil || !slices.ContainsFunc(at.Layers, func(l snapshot.Layer) bool { return l.Objects != nil }) {
			t.Errorf("the record in the new partition was not counted: %+v", at)
		}
	})
}
