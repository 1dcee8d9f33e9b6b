//go:build synctests

package processor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// stages is countdown behind a repartition, so that the loop is divided anew with it, and the
// windows behind them both.
func stages(t *testing.T) *topology.Plan {
	t.Helper()
	b := topology.New("bad")
	rest := topology.NewLoop(b, "rest", codec.String, codec.Int64)
	all := topology.From(b, badIn, topology.IdleAfter(0)).Repartition("hop").Merge(rest.Stream())
	topology.Map(all.Filter(func(_ string, n int64) (bool, error) { return n > 0, nil }), func(_ string, n int64) (string, int64, error) {
		return fmt.Sprint("k", n-1), n - 1, nil
	}).ToLoop(rest)
	all.Count("passed").To(topology.NewTopic("passed", codec.String, codec.Int64))
	again := topology.Map(all, func(key string, n int64) (string, int64, error) { return key, n, nil }).Repartition("by-key")
	topology.Window(again, window.Tumbling(time.Hour).EmitFinal()).Count("counts").To(topology.NewTopic("out", topology.WindowedKey(codec.String), codec.Int64))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// Three stages in a row and a loop go from 2 internal partitions to 7 and to 3, each time from a checkpoint with records
// in flight in the loop and between the stages; in the end the application is drained. Each record has gone round to its
// end, and is in its window.
func TestVirtualRescaleOfALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds, starts = 20, 60
		b, plan, dir := newBubble(t), stages(t), t.TempDir()
		if r, err := kadm.NewClient(b.cl).CreateTopic(b.ctx, 2, 1, nil, "passed"); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		defer func() {
			if t.Failed() {
				t.Log(b.log)
			}
		}()
		worker := func() (stop func()) { return b.worker(plan, dir) }
		put := func(from, to int) {
			for i := from; i < to; i++ {
				rec := &kgo.Record{Topic: "in", Partition: int32(i % 2), Key: fmt.Append(nil, "s", i), Value: i64(rounds), Timestamp: noon}
				if err := b.cl.ProduceSync(b.ctx, rec).FirstErr(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond) // virtual
			}
		}
		for i, n := range []int{7, 3} {
			stop := worker()
			b.takes(dir, uint32(i+1))
			put(20*i, 20*i+20)
			stop()
			from, records := b.busiest(dir, uint32(i+1), func(m *snapshot.Manifest) int64 {
				n := map[string]int64{}
				for _, part := range m.InFlight {
					n[part.UID] += part.To - part.From
				}
				return min(n["rest"], n["by-key"])
			})
			report, err := processor.Rewind(b.ctx, plan, processor.RewindOptions{From: from, InternalPartitions: n}, b.opts(dir, "rewind")...)
			if err != nil {
				t.Fatal(err)
			}
			was := []int{2, 7}[i]
			want := []string{fmt.Sprintf("by-key: %d to %d", was, n), fmt.Sprintf("hop: %d to %d", was, n), fmt.Sprintf("rest: %d to %d", was, n)}
			if !slices.Equal(report.Rescaled, want) || report.Records == 0 || report.Rows == 0 {
				t.Errorf("%+v, want %v", report, want)
			}
			t.Logf("%d offsets were in flight at least, %d rows", records, report.Rows)
		}
		stop := worker()
		defer stop()
		put(40, starts)
		cl, err := admin.New("bad", b.dial, kgo.SeedBrokers("localhost:9092"))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		stopped, err := cl.Stop(b.ctx, admin.StopOptions{Drain: true, Savepoint: &admin.SavepointOptions{Path: filepath.Join(dir, "end")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		read := 0
		bucket, m, err := snapshot.Find(b.ctx, stopped.Savepoint.Path, snapshot.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer bucket.Close()
		for _, s := range m.Tasks {
			for _, p := range s.Positions {
				if p.Topic == "in" {
					read += int(p.Offset)
				}
			}
		}
		if read < 50 {
			t.Errorf("only %d records were read", read)
		}
		b.last(read, rounds)
	})
}

func (b *bubble) opts(dir, name string) []processor.Option {
	return []processor.Option{processor.Brokers("localhost:9092"), processor.Kafka(b.dial), processor.StateDir(filepath.Join(dir, name)),
		processor.InstanceID(name), processor.Lanes(1), processor.CommitInterval(20 * time.Millisecond), processor.CacheBytes(4 << 20),
		processor.CheckpointInto(processor.Checkpoints{Dir: filepath.Join(dir, "cuts"), Interval: 50 * time.Millisecond, Retained: 1000, Compression: "none"}),
		processor.Logger(zerolog.New(io.MultiWriter(b.log)).Level(zerolog.InfoLevel).With().Str("worker", name).Logger())}
}

// worker starts one that takes many checkpoints.
func (b *bubble) worker(plan *topology.Plan, dir string) (stop func()) {
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- processor.Run(ctx, plan, b.opts(dir, "a")...) }()
	return func() {
		b.Helper()
		cancel()
		if err := <-done; err != nil {
			b.Errorf("%v\n%s", err, b.log)
		}
	}
}

// takes waits until the worker takes checkpoints of that timeline.
func (b *bubble) takes(dir string, timeline uint32) {
	b.Helper()
	for {
		if _, all := b.cuts(dir); len(all) > 0 && all[len(all)-1].Timeline == timeline {
			return
		}
		if b.ctx.Err() != nil {
			b.Fatalf("no checkpoint is taken\n%s", b.log)
		}
		time.Sleep(50 * time.Millisecond) // virtual
	}
}

// cuts are the manifests of a worker's checkpoints, oldest first, and where they lie.
func (b *bubble) cuts(dir string) (places []string, all []*snapshot.Manifest) {
	b.Helper()
	dir = filepath.Join(dir, "cuts", "bad")
	bucket, err := snapshot.Open(b.ctx, dir, snapshot.Options{})
	if errors.Is(err, snapshot.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		b.Fatal(err)
	}
	defer bucket.Close()
	found, err := bucket.Manifests(b.ctx)
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range found {
		m, err := bucket.Load(b.ctx, f.Name, "")
		if err != nil {
			b.Fatal(err)
		}
		places, all = append(places, filepath.Join(dir, f.Name)), append(all, m)
	}
	return places, all
}

// busiest is the checkpoint of a timeline with the most in flight, as count sees it.
func (b *bubble) busiest(dir string, timeline uint32, count func(*snapshot.Manifest) int64) (manifest string, most int64) {
	b.Helper()
	places, all := b.cuts(dir)
	for i, m := range all {
		if n := count(m); m.Timeline == timeline && n > most {
			manifest, most = places[i], n
		}
	}
	if most < 2 {
		b.Fatalf("no checkpoint of timeline %d has enough in flight\n%s", timeline, b.log)
	}
	return manifest, most
}

// Two tasks with windows become one. Where both have hours in flight, those of the second follow those of the first;
// where the second alone is slow, it is hours behind the first. None of their records is late then, although each hour is
// a window of its own: stamps in flight say nothing of time any more, and the task is where the slowest was.
func TestVirtualRescaleMakesNobodyLate(t *testing.T) {
	for _, slow := range []string{"both", "one"} {
		t.Run(slow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { rescaleBehind(t, slow == "both") })
		})
	}
}

func rescaleBehind(t *testing.T, both bool) {
	const hours = 200
	b, dir := newBubble(t), t.TempDir()
	defer func() {
		if t.Failed() {
			t.Log(b.log)
		}
	}()
	var keys [2]string // by partition
	for i := 0; keys[0] == "" || keys[1] == ""; i++ {
		key := fmt.Sprint("key", i)
		keys[offsets.Partition([]byte(key), 2)] = key
	}
	top := topology.New("bad")
	hop := topology.From(top, badIn, topology.IdleAfter(time.Millisecond)).Repartition("by-key").Peek(func(key string, _ int64) error {
		if both || key == keys[1] {
			time.Sleep(10 * time.Millisecond) // virtual
		}
		return nil
	})
	topology.Window(hop, window.Tumbling(time.Hour).EmitFinal()).Count("counts").To(topology.NewTopic("out", topology.WindowedKey(codec.String), codec.Int64))
	plan, err := top.Build()
	if err != nil {
		t.Fatal(err)
	}
	stop := b.worker(plan, dir)
	b.takes(dir, 1)
	for i := range hours {
		rec := &kgo.Record{Topic: "in", Partition: 0, Key: []byte(keys[i%2]), Value: i64(1), Timestamp: noon.Add(time.Duration(i) * time.Hour)}
		b.cl.Produce(b.ctx, rec, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := b.cl.Flush(b.ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // virtual
	stop()
	from, n := b.busiest(dir, 1, func(m *snapshot.Manifest) int64 {
		var n [2]int64 // by partition
		for _, part := range m.InFlight {
			n[part.Partition] += part.To - part.From
		}
		if both || n[0] > 10 {
			return min(n[0], n[1])
		}
		return n[1]
	})
	report, err := processor.Rewind(b.ctx, plan, processor.RewindOptions{From: from, InternalPartitions: 1}, b.opts(dir, "rewind")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d offsets were in flight, %d records copied", n, report.Records)
	stop = b.worker(plan, dir)
	defer stop()
	b.takes(dir, 2)
	cl, err := admin.New("bad", b.dial, kgo.SeedBrokers("localhost:9092"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	// All has been read before the drain.
	for read := int64(0); read < hours && b.ctx.Err() == nil; {
		time.Sleep(100 * time.Millisecond) // virtual
		at, err := kadm.NewClient(b.cl).FetchOffsets(b.ctx, "bad.2")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := at.Lookup("in", 0)
		read = o.At
	}
	if _, err := cl.Stop(b.ctx, admin.StopOptions{Drain: true, Savepoint: &admin.SavepointOptions{Path: filepath.Join(dir, "end")}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := b.windows(); len(got) != hours {
		t.Errorf("%d windows have fired, want %d", len(got), hours)
	} else {
		for w, n := range got {
			if n != 1 {
				t.Errorf("window %s has %d records", w, n)
			}
		}
	}
}

// windows are the last results of each.
func (b *bubble) windows() map[string]int64 {
	out := map[string]int64{}
	b.everything(func(r *kgo.Record, n int64) {
		if r.Topic == "out" {
			out[string(r.Key)] = n
		}
	}, "out")
	return out
}
