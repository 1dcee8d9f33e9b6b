package eos

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// Kafka refuses records that are more than an hour ahead of its clock, and event time may be
// anything. Topics of our own take them; a sink that does not is named, with the setting.
func TestTimesAheadOfTheClock(t *testing.T) {
	const key, lifted = "message.timestamp.after.max.ms", "9223372036854775807"
	c := kafkatest.Shared(t)
	for name, settings := range map[string][]string{"sink lifts the limit": {key, lifted}, "sink keeps the limit": nil} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			app := kafkatest.Unique(t)
			in, out := app+"-in", app+"-out"
			c.CreateTopic(t, in, 2, key, lifted)
			c.CreateTopic(t, out, 2, settings...)
			b := topology.New(app)
			source := topology.From(b, topology.NewTopic(in, codec.String, codec.String))
			byValue := topology.KeyBy(source, "by-value", codec.String, func(_, v string) (string, error) { return v, nil })
			topology.Window(byValue, window.Tumbling(time.Hour).EmitOnCommit()).Count("n").
				To(topology.NewTopic(out, topology.WindowedKey(codec.String), codec.Int64))
			plan, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			cl := c.Client(t, kgo.ConsumeTopics(out), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			rec := &kgo.Record{Topic: in, Key: []byte("k"), Value: []byte("v"), Timestamp: time.Now().Add(30 * 24 * time.Hour)}
			if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 100)
			listener := &processor.Listener{TaskFailed: func(i processor.FailedInfo) {
				select {
				case failed <- i.Err:
				default:
				}
			}}
			wctx, stop := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() {
				done <- processor.Run(wctx, plan, processor.Brokers(c.Addrs()...), processor.StateDir(t.TempDir()), processor.Lanes(1),
					processor.Logger(zerolog.Nop()), processor.Events(listener), processor.LeaveOnStop())
			}()
			got := make(chan *kgo.Record, 1)
			go func() {
				cl.PollFetches(wctx).EachRecord(func(r *kgo.Record) {
					select {
					case got <- r:
					default:
					}
				})
			}()
			select {
			case r := <-got:
				if settings == nil || r.Timestamp.Before(time.Now().Add(24*time.Hour)) {
					t.Errorf("a result with time %s came out", r.Timestamp)
				}
			case err := <-failed:
				if settings != nil || !errors.Is(err, processor.ErrSink) || !strings.Contains(err.Error(), out) || !strings.Contains(err.Error(), key) {
					t.Errorf("a task failed: %v", err)
				}
			case <-ctx.Done():
				t.Error("nothing came out, and no task failed")
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
