package eos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// A topic written by Java's producer and one written by weir are merged and reduced by
// key: every key of one finds its partner of the other, so both lie in the same partition.
func TestJavaAndWeirPlaceKeysAlike(t *testing.T) {
	c := kafkatest.Shared(t)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	const keys = 300
	app := kafkatest.Unique(t)
	text := func(topic string) topology.Topic[string, string] {
		return topology.NewTopic(topic, codec.String, codec.String)
	}
	src, java, ours, out := text(app+"-src"), text(app+"-java"), text(app+"-weir"), text(app+"-out")
	for _, topic := range []topology.Topic[string, string]{src, java, ours, out} {
		c.CreateTopic(t, topic.Name(), 7)
	}
	var byJava []kafkatest.KV
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range keys {
		key := fmt.Sprintf("key-%d", i*i)
		byJava = append(byJava, kafkatest.KV{Key: key, Value: "java"})
		// All in one partition: where they go is decided by weir alone.
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: src.Name(), Partition: 3, Key: []byte(key), Value: []byte("weir")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.JavaProduce(ctx, java.Name(), byJava); err != nil {
		t.Fatal(err)
	}
	copies := topology.New(app + "-copy")
	topology.From(copies, src).To(ours)
	pairs := topology.New(app + "-pairs")
	merged := topology.From(pairs, java).Merge(topology.From(pairs, ours))
	merged.Reduce("pairs", func(_ string, a, b string) (string, error) {
		both := []string{a, b}
		slices.Sort(both)
		return strings.Join(both, "+"), nil
	}).To(out)
	for _, b := range []*topology.Builder{copies, pairs} {
		plan, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- processor.Run(run, plan, processor.Brokers(c.Addrs()...), processor.StateDir(t.TempDir()),
				processor.CommitInterval(50*time.Millisecond), processor.Logger(zerolog.Nop()))
		}()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
	}
	reader := c.Client(t, kgo.ConsumeTopics(out.Name()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	last := map[string]string{}
	whole := func() int {
		n := 0
		for _, v := range last {
			if v == "java+weir" {
				n++
			}
		}
		return n
	}
	for whole() < keys {
		fs := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d keys found their partner", whole(), keys)
		}
		for _, r := range fs.Records() {
			last[string(r.Key)] = string(r.Value)
		}
	}
	if len(last) != keys {
		t.Errorf("%d keys, want %d", len(last), keys)
	}
}
