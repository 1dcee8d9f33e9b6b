package eos

import (
	"context"
	wire "encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// Two workers are drained while records go round between their tasks, each 30 times: all of them are counted, and all
// counts are in windows, which fire with the end of time.
func TestDrainOfALoop(t *testing.T) {
	const starts, rounds = 50, 30
	app := fmt.Sprintf("round-%x", time.Now().UnixNano())
	c := kafkatest.Shared(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b := topology.New(app)
	rest := topology.NewLoop(b, "rest", codec.String, codec.Int64, topology.Partitions(2))
	all := topology.From(b, topology.NewTopic(app+"-in", codec.String, codec.Int64)).Merge(rest.Stream())
	topology.Map(all.Filter(func(_ string, n int64) (bool, error) { return n > 0, nil }), func(_ string, n int64) (string, int64, error) {
		return fmt.Sprint("k", n-1), n - 1, nil
	}).ToLoop(rest)
	all.Count("passed").To(topology.NewTopic(app+"-passed", codec.String, codec.Int64))
	topology.Window(all.Repartition("by-key", topology.Partitions(2)), window.Tumbling(time.Hour).EmitFinal()).Count("counts").
		To(topology.NewTopic(app+"-out", topology.WindowedKey(codec.String), codec.Int64))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.ConsumeTopics(app+"-passed", app+"-out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, topic := range []string{"-in", "-passed", "-out"} {
		c.CreateTopic(t, app+topic, 2, "retention.ms", "-1") // the times are of the past
	}
	dir, done, has := t.TempDir(), make(chan error, 2), make(chan struct{}, 2)
	for _, name := range []string{"a", "b"} {
		var once sync.Once
		events := &processor.Listener{TasksAssigned: func(i processor.AssignedInfo) {
			if len(i.Partitions) > 0 {
				once.Do(func() { has <- struct{}{} })
			}
		}}
		go func() {
			done <- processor.Run(ctx, plan, processor.Brokers(c.Addrs()...), processor.StateDir(filepath.Join(dir, name)), processor.InstanceID(name),
				processor.Lanes(1), processor.CommitInterval(20*time.Millisecond), processor.Events(events))
		}()
	}
	for i := range starts {
		rec := &kgo.Record{Topic: app + "-in", Key: fmt.Append(nil, "s", i), Value: wire.BigEndian.AppendUint64(nil, rounds), Timestamp: time.Unix(1_700_000_000, 0)}
		if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	counts, windows := map[string]int64{}, map[string]int64{}
	read := func() {
		fs := cl.PollFetches(ctx)
		for _, err := range fs.Errors() {
			if ctx.Err() == nil {
				t.Error(err.Err)
			}
		}
		fs.EachRecord(func(r *kgo.Record) {
			n := int64(wire.BigEndian.Uint64(r.Value))
			if r.Topic == app+"-passed" {
				counts[string(r.Key)] = max(counts[string(r.Key)], n)
				return
			}
			w, err := topology.WindowedKey(codec.String).Decode(r.Key)
			if err != nil {
				t.Error(err)
			}
			windows[w.Key] += n
		})
	}
	seen := func() (n int) { // of the starts
		for i := range starts {
			n += int(counts[fmt.Sprint("s", i)])
		}
		return n
	}
	for seen() < starts && ctx.Err() == nil {
		read()
	}
	for range 2 { // so that tasks move no more, see settled
		select {
		case <-has:
		case err := <-done:
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatal("a worker has got no task")
		}
	}
	t.Logf("%d of %d rounds are over", counts["k0"], starts)
	adm, err := admin.New(app, kgo.SeedBrokers(c.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	stopped, err := adm.Stop(ctx, admin.StopOptions{Drain: true, Savepoint: &admin.SavepointOptions{Path: filepath.Join(dir, "end")}}, nil)
	if err != nil || stopped.Savepoint == nil {
		t.Fatalf("%+v, %v", stopped, err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for len(windows) < starts+rounds && ctx.Err() == nil {
		read()
	}
	for key, n := range windows {
		want := int64(starts)
		if key[0] == 's' {
			want = 1
		}
		if n != want || counts[key] != want {
			t.Errorf("%s passed %d times, its window has %d, want %d", key, counts[key], n, want)
		}
	}
	if len(windows) != starts+rounds {
		t.Errorf("%d windows have fired, want %d", len(windows), starts+rounds)
	}
}
