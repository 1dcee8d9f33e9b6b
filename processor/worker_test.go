package processor_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// start runs a worker until the test ends it.
func start(t *testing.T, c *kfake.Cluster, ta tally.Tally, dir string, opts ...processor.Option) (stop func() error) {
	t.Helper()
	plan, err := ta.Plan()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	opts = append([]processor.Option{
		processor.Brokers(c.ListenAddrs()...), processor.StateDir(dir), processor.Lanes(2), processor.CommitInterval(20 * time.Millisecond),
		processor.Logger(zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.InfoLevel)),
	}, opts...)
	go func() { done <- processor.Run(ctx, plan, opts...) }()
	t.Cleanup(cancel)
	return func() error { cancel(); return <-done }
}

func TestTallyOnKfake(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ta := tally.Tally{App: "tally", Keys: 100, Groups: 10, Partitions: 4}
	if err := ta.CreateTopics(ctx, c.ListenAddrs(), 1); err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	if err := ta.Load(ctx, c.ListenAddrs(), 0, n/2, false); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var mu sync.Mutex
	stopped := map[offsets.Task]bool{}
	said := func(who offsets.Task, why string) {
		mu.Lock()
		defer mu.Unlock()
		stopped[who] = why == "stopped"
	}
	stop := start(t, c, ta, dir, processor.Events(&processor.Listener{
		TaskRestored: func(i processor.RestoredInfo) { said(i.Task, "") },
		TaskClosed:   func(i processor.ClosedInfo) { said(i.Task, i.Reason) },
	}))
	if err := ta.Load(ctx, c.ListenAddrs(), n/2, n, true); err != nil {
		t.Fatal(err)
	}
	out, err := ta.Await(ctx, c.ListenAddrs(), n)
	if err != nil {
		t.Fatal(err)
	}
	if err := ta.Check(out, n).Err(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	facts, err := ta.Collect(ctx, c.ListenAddrs(), dir)
	if err != nil {
		t.Fatal(err)
	}
	facts.Clean = func(who offsets.Task) bool { return stopped[who] }
	if err := ta.Audit(facts).Err(); err != nil {
		t.Fatal(err)
	}
}
