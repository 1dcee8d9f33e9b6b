//go:build synctests

package processor_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// A store and a repartition have other names in the program that goes back to a savepoint: said
// so, the store goes on from what it had, and what was on its way arrives. Else both names are
// part of a refusal, and so is a name that is misspelt.
func TestVirtualRewindRenames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		more := tally.Tally{App: "more", Source: "more-in", Partitions: 2, Kafka: v.Kafka}
		v.must(more.CreateTopics(v.ctx, v.brokers, 1))
		counts := func(hop, store string) func(*topology.Builder) {
			return func(b *topology.Builder) {
				topology.KeyBy(topology.From(b, topology.NewTopic(more.In(), codec.String, codec.Bytes)), hop, codec.String,
					func(k string, _ []byte) (string, error) { return k, nil }).
					Count(store).To(topology.NewTopic(more.Windows(), codec.String, codec.Int64))
			}
		}
		cl, err := kgo.NewClient(append(v.Kafka, kgo.SeedBrokers(v.brokers...), kgo.ConsumeTopics(more.Windows()),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		v.must(err)
		defer cl.Close()
		counted := func(want int64) {
			t.Helper()
			v.must(cl.ProduceSync(v.ctx, &kgo.Record{Topic: more.In(), Key: []byte("k"), Partition: offsets.Partition([]byte("k"), 2)}).FirstErr())
			for {
				fs := cl.PollFetches(v.ctx)
				if v.ctx.Err() != nil {
					t.Fatalf("no count of %d\n%s", want, v.log)
				}
				if recs := fs.Records(); len(recs) > 0 {
					if got := int64(binary.BigEndian.Uint64(recs[len(recs)-1].Value)); got != want {
						t.Fatalf("counted to %d, want %d\n%s", got, want, v.log)
					}
					return
				}
			}
		}
		v.First = counts("hop", "before")
		v.start("a", v.seldom())
		for n := range int64(3) {
			counted(n + 1)
		}
		v.must(v.stop("a"))
		from := v.ran(60)
		v.First = counts("jump", "after")
		plan, err := v.Plan()
		v.must(err)
		v.refused(plan, processor.RewindOptions{From: from}, "store before is not in the plan", "hop")
		v.refused(plan, processor.RewindOptions{From: from, Rename: map[string]string{"befor": "after", "hop": "jump"}}, "befor is renamed to after, and there is nothing of that name")
		v.refused(plan, processor.RewindOptions{From: from, Rename: map[string]string{"before": "aftr", "hop": "jump"}}, "before is renamed to aftr, which is not in the plan")
		v.refused(plan, processor.RewindOptions{From: from, Rename: map[string]string{"before": "after", "hop": "after"}}, "before and hop are both renamed to after")
		report, err := v.rewind(processor.RewindOptions{From: from, Rename: map[string]string{"before": "after", "hop": "jump"}})
		v.must(err)
		if !slices.Equal(report.Renamed, []string{"before=after", "hop=jump"}) || len(report.NotRestored)+len(report.Added) > 0 {
			t.Errorf("%+v", report)
		}
		v.start("a", v.seldom())
		counted(4)
		v.must(v.stop("a"))
	})
}
