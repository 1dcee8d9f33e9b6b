package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// A task that failed is seen from outside while it waits for its next try, with the cause,
// and no more when it has healed.
func TestStatusOfAFailedTask(t *testing.T) {
	ctx := testContext(t)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := c.ListenAddrs()[0]
	cl, err := kgo.NewClient(kgo.SeedBrokers(b), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var mended atomic.Bool
	top := topology.New("tariffs")
	topology.From(top, topology.NewTopic("in", codec.String, codec.Bytes)).Peek(func(key string, _ []byte) error {
		if key == "bad" && !mended.Load() {
			return errors.New("there is no tariff 7")
		}
		return nil
	}).To(topology.NewTopic("out", codec.String, codec.Bytes))
	plan, err := top.Build()
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	var failed atomic.Int64
	go func() {
		done <- processor.Run(running, plan, processor.Brokers(b), processor.StateDir(t.TempDir()), processor.InstanceID("w1"), processor.Lanes(1),
			processor.CommitInterval(20*time.Millisecond), processor.RestartStrategy(processor.FixedDelay(1000, 4*time.Second)),
			processor.Events(&processor.Listener{TaskFailed: func(processor.FailedInfo) { failed.Add(1) }}))
	}()
	for partition, key := range []string{"good", "bad"} {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "in", Partition: int32(partition), Key: []byte(key), Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, ctx, b, "out", 1)
	status := func() (s admin.Status, code int) {
		code, stdout, _ := weir(ctx, "", "status", "tariffs", "-b", b, "--json")
		if err := json.Unmarshal([]byte(stdout), &s); err != nil || len(s.Tasks) != 2 {
			t.Fatalf("%v\n%s", err, stdout)
		}
		return s, code
	}
	// The second failure: what is said of the first one is over.
	var w *admin.Waiting
	for w == nil || w.Attempt < 2 {
		if ctx.Err() != nil {
			t.Fatalf("status shows no task that waits; %d failures", failed.Load())
		}
		s, code := status()
		if w = s.Tasks[1].Waiting; w == nil {
			continue
		}
		if s.Tasks[0].Waiting != nil || code != cli.ExitFound || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "task 0-1 failed at ") {
			t.Fatalf("exit code %d, status %+v", code, s)
		}
		// Cut to whole milliseconds, of a pause that was.
		if p := w.Next.Sub(w.Since); p < 3900*time.Millisecond || p > 4*time.Second+time.Millisecond {
			t.Errorf("tried again after %s", p)
		}
		if w.Owner != "w1/0" || w.Strategy != "fixed-delay" || w.Attempt < 1 || !strings.Contains(w.Cause, "in/1@0: there is no tariff 7") || time.Since(w.Since) > time.Minute {
			t.Errorf("waiting %+v", w)
		}
	}
	_, stdout, _ := weir(ctx, "", "status", "tariffs", "-b", b)
	if !strings.Contains(stdout, "PROBLEM  task 0-1 failed at ") || !strings.Contains(stdout, " of fixed-delay) and is tried again at ") {
		t.Errorf("status lacks the failure:\n%s", stdout)
	}
	mended.Store(true)
	await(t, ctx, b, "out", 2)
	for {
		s, code := status()
		if s.Tasks[1].Waiting == nil && code == cli.ExitDone {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("status still shows %+v", s.Tasks[1].Waiting)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}

	// What was said of it: each failure at once and again while it lasted, then that it is over.
	notes, err := kgo.NewClient(kgo.SeedBrokers(b), kgo.ConsumeTopics("tariffs.1.epochs"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer notes.Close()
	over, told := int64(0), map[int64]int{}
	for over < failed.Load() {
		fs := notes.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("of %d failures %d were said to be over; notes %v", failed.Load(), over, told)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if id, ok := processor.RetryNoteOf(r.Key); !ok || id.String() != "0-1" {
				return
			}
			if r.Value == nil {
				over++
				return
			}
			n, err := processor.DecodeRetryNote(r.Value)
			if err != nil || n.Attempt != over+1 {
				t.Errorf("after %d failures that are over: %+v, %v", over, n, err)
			}
			told[n.Attempt]++
		})
	}
	for attempt := range failed.Load() {
		if told[attempt+1] < 2 {
			t.Errorf("failure %d was told %d times", attempt+1, told[attempt+1])
		}
	}
}
