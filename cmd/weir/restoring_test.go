package main

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

// A restore from a changelog that comes slowly is seen from outside, and is no longer seen
// when it is over.
func TestStatusOfRestore(t *testing.T) {
	ctx := testContext(t)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := c.ListenAddrs()[0]
	plan, err := workloadPlan("count", "bench", "in", "out", minRowBytes)
	if err != nil {
		t.Fatal(err)
	}
	start := func(l *processor.Listener) (stop func()) {
		running, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		dir := t.TempDir() // a new one for each: nothing is there but the changelog
		go func() {
			done <- processor.Run(running, plan, processor.Brokers(b), processor.StateDir(dir), processor.InstanceID("w1"), processor.Lanes(1),
				processor.CommitInterval(20*time.Millisecond), processor.Events(l))
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	conn := cli.Connection{Brokers: []string{b}}
	stop := start(&processor.Listener{})
	const n, rounds = 500, 4
	for round := 1; round <= rounds; round++ { // at least as many batches in the changelog
		l := testLoad(n)
		if err := l.run(ctx, &conn, "in"); err != nil {
			t.Fatal(err)
		}
		await(t, ctx, b, "out", round*n)
	}
	stop()

	cl, err := kgo.NewClient(kgo.SeedBrokers(b))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(ctx, "bench.1.counts.changelog")
	if err != nil {
		t.Fatal(err)
	}
	id := [16]byte(topics["bench.1.counts.changelog"].ID)
	gate, fetches := make(chan struct{}), 0
	c.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		f := req.(*kmsg.FetchRequest)
		if len(f.Topics) != 1 || f.Topics[0].TopicID != id {
			return nil, nil, false
		}
		f.MaxBytes, f.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1 // a batch at a time
		if fetches++; fetches == 3 {
			c.SleepControl(func() { <-gate })
		}
		return nil, nil, false
	})
	var told, restored atomic.Int64
	var last atomic.Pointer[processor.RestoringInfo]
	stop = start(&processor.Listener{
		TaskRestoring: func(i processor.RestoringInfo) { told.Add(1); last.Store(&i) },
		TaskRestored: func(i processor.RestoredInfo) {
			if i.Task == (offsets.Task{}) { // not the control task
				restored.Add(1)
			}
		},
	})
	defer stop()

	status := func() (s admin.Status) {
		_, stdout, _ := weir(ctx, "", "status", "bench", "-b", b, "--json")
		if err := json.Unmarshal([]byte(stdout), &s); err != nil || len(s.Tasks) != 1 {
			t.Fatalf("%v\n%s", err, stdout)
		}
		return s
	}
	var r *admin.Restoring
	for r == nil || r.Next == 0 {
		if r = status().Tasks[0].Restoring; ctx.Err() != nil {
			t.Fatalf("status shows no restore; the listener was told %d times, last %+v", told.Load(), last.Load())
		}
	}
	if r.Owner != "w1/0" || r.Store != "counts" || r.Percent <= 0 || r.Percent >= 100 || r.Left != r.End-r.Next || r.Records == 0 || time.Since(r.Since) > time.Minute {
		t.Errorf("restoring %+v", r)
	}
	_, stdout, _ := weir(ctx, "", "status", "bench", "-b", b)
	if !strings.Contains(stdout, "\ntask 0-0 is being restored by w1/0 since ") {
		t.Errorf("status lacks the restore:\n%s", stdout)
	}
	if i := last.Load(); restored.Load() != 0 || told.Load() < 2 || i.Base != "changelog" || i.Total != i.End || i.Done != i.Next || i.Store != "counts" {
		t.Errorf("told %d times, last %+v", told.Load(), i)
	}
	close(gate)
	released := time.Now()
	for status().Tasks[0].Restoring != nil {
		if ctx.Err() != nil {
			t.Fatal("status still shows the restore")
		}
	}
	if d := time.Since(released); d > 8*time.Second {
		t.Errorf("the end of the restore was not told: its last record was believed for %s", d)
	}
	for restored.Load() == 0 {
		if status(); ctx.Err() != nil {
			t.Fatal("the task was not restored")
		}
	}
	before := told.Load()
	if status(); told.Load() != before || !strings.Contains(last.Load().String(), "store counts at") {
		t.Errorf("told after its end: %s", last.Load())
	}
}
