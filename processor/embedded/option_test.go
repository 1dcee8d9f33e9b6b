package embedded_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/embedded"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

func countPlan(t *testing.T) *topology.Plan {
	t.Helper()
	b := topology.New("count")
	topology.From(b, topology.NewTopic("in", codec.String, codec.String)).Count("counts").To(topology.NewTopic("out", codec.String, codec.Int64))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// One option makes a program whole: it runs against its own broker, and when it runs again
// its topics, positions and results are there.
func TestProgramWithItsOwnBroker(t *testing.T) {
	ctx := withTimeout(t)
	dir, state := t.TempDir(), t.TempDir()
	plan := countPlan(t)
	for life := 1; life <= 2; life++ {
		running, stop := context.WithCancel(ctx)
		started, committed := make(chan struct{}), make(chan int64, 1000)
		done := make(chan error, 1)
		go func() {
			done <- processor.Run(running, plan, embedded.Broker(dir, "in:1", "out:1"), processor.StateDir(state), processor.Lanes(1),
				processor.CommitInterval(20*time.Millisecond), processor.Events(&processor.Listener{
					WorkerStarted:  func(processor.WorkerInfo) { close(started) },
					EpochCommitted: func(i processor.CommittedInfo) { committed <- i.Records },
				}))
		}()
		select {
		case <-started:
		case err := <-done:
			t.Fatal(err)
		}
		// The broker has told its address on standard error; here it is read from its
		// directory, where it is kept for the next start.
		cl, err := kgo.NewClient(kgo.SeedBrokers(embedded.LastAddr(dir)))
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for n := int64(0); n == 0; {
			select {
			case n = <-committed:
			case err := <-done:
				t.Fatalf("ended early: %v", err)
			}
		}
		cl.Close()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, embedded.Options{Dir: dir})
	cl := client(t, s, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"out": {0: kgo.NewOffset().AtStart()}}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var counts []byte
	for len(counts) < 2 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("counts %v: %v", counts, err)
		}
		fs.EachRecord(func(r *kgo.Record) { counts = append(counts, r.Value[7]) })
	}
	if counts[0] != 1 || counts[1] != 2 {
		t.Errorf("counts over a restart: %v", counts)
	}
}

// What the option has started is closed when the work ends before it begins.
func TestBrokerIsClosedAfterAFailure(t *testing.T) {
	ctx := withTimeout(t)
	dir := t.TempDir()
	plan := countPlan(t)
	closed := func(what string) {
		t.Helper()
		s, err := embedded.Start(embedded.Options{Dir: dir})
		if err != nil {
			t.Fatalf("after %s: %v", what, err)
		}
		s.Close()
	}
	if _, err := processor.New(plan, embedded.Broker(dir), processor.Lanes(-1)); err == nil {
		t.Error("Lanes(-1) was accepted")
	}
	closed("a refused option")
	results, err := processor.Check(ctx, plan, embedded.Broker(dir), processor.StateDir(t.TempDir()))
	if err != nil || len(results) < 2 || results[0].Err != nil {
		t.Errorf("check: %+v, %v", results, err)
	}
	closed("Check")
	if err := processor.Run(ctx, plan, embedded.Broker(dir), processor.StateDir(t.TempDir())); !errors.Is(err, processor.ErrTopic) {
		t.Errorf("run without topics: %v", err)
	}
	closed("Run")
	_, err = processor.New(plan, embedded.Broker(dir, "in:none"))
	if err == nil || !strings.Contains(err.Error(), "name:partitions") {
		t.Errorf("bad topic: %v", err)
	}
}

func TestParseTopics(t *testing.T) {
	got, err := embedded.ParseTopics([]string{"a:3", "b"})
	if err != nil || got["a"] != 3 || got["b"] != 1 || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{":3", "a:0", "a:x", "a:"} {
		if _, err := embedded.ParseTopics([]string{text}); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
