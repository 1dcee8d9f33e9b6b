//go:build synctests

package processor_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// A function may take long: some hundred records of one task took longer than the
// transaction's timeout, the brokers aborted it, the same records were processed again, and so
// on for ever. An epoch ends when it is due, also between few records, and after failures it
// has fewer of them.
func TestVirtualSlowFunction(t *testing.T) {
	for _, takes := range []time.Duration{100 * time.Millisecond, 3 * time.Second} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { slowFunction(t, takes) })
		})
	}
}

func slowFunction(t *testing.T, takes time.Duration) {
	virtualNet := new(kfake.VirtualNetwork)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(virtualNet.Listen), kfake.Ports(9092), kfake.SeedTopics(1, "in", "out"),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	dial := kgo.Dialer(slowly(virtualNet.DialContext))
	cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), dial, kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const n = 100
	for i := range n {
		cl.Produce(ctx, &kgo.Record{Topic: "in", Key: fmt.Appendf(nil, "%d", i), Value: []byte("v")}, nil)
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	b := topology.New("slow")
	topology.From(b, topology.NewTopic("in", codec.Bytes, codec.Bytes)).Peek(func([]byte, []byte) error {
		time.Sleep(takes) // virtual
		return nil
	}).To(topology.NewTopic("out", codec.Bytes, codec.Bytes))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	log := new(lines)
	commits, aborts, most := 0, 0, int64(0)
	wctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(wctx, plan, processor.Brokers("localhost:9092"), processor.Kafka(dial), processor.StateDir(t.TempDir()),
			processor.Lanes(1), processor.Logger(zerolog.New(io.MultiWriter(log)).Level(zerolog.InfoLevel)),
			processor.Events(&processor.Listener{
				EpochCommitted: func(i processor.CommittedInfo) { commits++; most = max(most, i.Records) },
				EpochAborted:   func(processor.AbortedInfo) { aborts++ },
			}))
	}()
	seen := map[string]int{}
	for len(seen) < n && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for k, times := range seen {
		if times != 1 {
			t.Errorf("record %s came out %d times", k, times)
		}
	}
	if len(seen) != n || most > 16 || aborts > 3 {
		t.Errorf("%d of %d records came out, in %d epochs of at most %d, %d aborted; want at most 16 records in one\n%s", len(seen), n, commits, most, aborts, log)
	}
}
