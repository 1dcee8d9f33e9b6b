//go:build synctests

package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// glow is how often what fires at the end of time goes round: for longer than it takes to look.
const glow = 60

// afterglow is countdown with windows that feed the loop.
func afterglow(t *testing.T) *topology.Plan {
	t.Helper()
	b := topology.New("bad")
	rest := topology.NewLoop(b, "rest", codec.String, codec.Int64)
	all := topology.From(b, badIn, topology.IdleAfter(0)).Merge(rest.Stream())
	topology.Map(all.Filter(func(_ string, n int64) (bool, error) { return n > 0, nil }), func(key string, n int64) (string, int64, error) {
		if key[0] == 'w' {
			return key, n - 1, nil
		}
		return fmt.Sprint("k", n-1), n - 1, nil
	}).ToLoop(rest)
	all.Count("passed").To(topology.NewTopic("passed", codec.String, codec.Int64))
	closed := topology.Window(all.Repartition("by-key"), window.Tumbling(time.Hour).EmitFinal()).Count("counts")
	closed.To(topology.NewTopic("out", topology.WindowedKey(codec.String), codec.Int64))
	topology.Map(closed.ToStream(), func(key topology.Windowed[string], _ int64) (string, int64, error) { return "w" + key.Key, glow, nil }).ToLoop(rest)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// An application with a loop is drained while records go round in it, requests fail, and workers
// come and go. What was read goes round to its end, and into the windows, before time ends; what
// windows send that fire then goes round, too, before the savepoint is taken.
func TestVirtualDrainOfALoop(t *testing.T) {
	for seed := range max(seeds(t)/30, 1) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { virtualDrainOfALoop(t, seed) })
		})
	}
}

func virtualDrainOfALoop(t *testing.T, seed uint64) {
	const rounds = 30
	plan, feeds := countdown(t), seed%2 == 1
	if feeds {
		plan = afterglow(t)
	}
	rnd := rand.New(rand.NewPCG(seed, 5))
	b := newBubble(t)
	if r, err := kadm.NewClient(b.cl).CreateTopic(b.ctx, 2, 1, nil, "passed"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	b.cl.AddConsumeTopics("passed")
	dir := t.TempDir()
	worker := func(name string) func() error {
		ctx, cancel := context.WithCancel(b.ctx)
		done := make(chan error, 1)
		go func() {
			done <- processor.Run(ctx, plan, processor.Brokers("localhost:9092"), processor.Kafka(b.dial), processor.StateDir(filepath.Join(dir, name)),
				processor.InstanceID(name), processor.Lanes(1), processor.CommitInterval(50*time.Millisecond), processor.CacheBytes(4<<20), bare(),
				processor.Logger(zerolog.New(io.MultiWriter(b.log)).Level(zerolog.InfoLevel).With().Str("worker", name).Logger()))
		}()
		return func() error { cancel(); return <-done }
	}
	stops := map[string]func() error{"a": worker("a"), "b": worker("b")}
	end := func(name string) {
		stop := stops[name]
		delete(stops, name)
		if err := stop(); err != nil && !undecided(err) && !errors.Is(err, processor.ErrDrained) {
			t.Errorf("stop %s: %v", name, err)
		}
	}
	defer func() { // all goroutines of a bubble must have ended when it ends
		for name := range stops {
			end(name)
		}
		if t.Failed() {
			t.Log(b.log)
		}
	}()
	put := func(i int) {
		rec := &kgo.Record{Topic: "in", Partition: int32(i % 2), Key: fmt.Append(nil, "s", i), Value: i64(rounds), Timestamp: noon}
		if err := b.cl.ProduceSync(b.ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		put(i)
		time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond) // virtual
	}
	for begun := false; !begun && b.ctx.Err() == nil; {
		begun = b.cl.PollFetches(b.ctx).NumRecords() > 0
	}
	cl, err := admin.New("bad", b.dial, kgo.SeedBrokers("localhost:9092"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	drained := make(chan admin.Stopped, 1)
	go func() {
		for i := 0; ; i++ {
			id := fmt.Sprintf("drain-%d", i)
			s, err := cl.Stop(b.ctx, admin.StopOptions{Drain: true, Savepoint: &admin.SavepointOptions{ID: id, Path: filepath.Join(dir, id)}}, nil)
			if err == nil || b.ctx.Err() != nil {
				drained <- s
				return
			}
			fmt.Fprintf(b.log, "%s: %v\n", id, err)
			if !errors.Is(err, admin.ErrDeclined) && !errors.Is(err, admin.ErrNotRunning) {
				time.Sleep(time.Second) // virtual
			}
		}
	}()
	names := offsets.Names{Application: "bad", Timeline: 1}
	for i := range 8 {
		put(20 + i) // is read, or not any more
		switch name := []string{"a", "b"}[rnd.IntN(2)]; rnd.IntN(4) {
		case 0:
			end(name)
			stops[name] = worker(name)
		case 1:
			id := names.TransactionalID(name, 0)
			fmt.Fprintf(b.log, "fence %s: %v\n", id, processor.InitProducerID(b.ctx, b.cl, id))
		default:
			keys := []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.OffsetFetch, kmsg.Heartbeat}
			k := keys[rnd.IntN(len(keys))]
			e := faultsOf[k][rnd.IntN(len(faultsOf[k]))]
			fmt.Fprintf(b.log, "fault %s %v\n", k.Name(), e)
			f := b.c.Fault(kfake.Fault{Keys: []kmsg.Key{k}, Err: e, Count: 1 + rnd.IntN(2), When: func(r kmsg.Request) bool { return ours(r, e) }})
			defer f.Remove()
		}
		time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond) // virtual
	}
	stopped := <-drained
	if stopped.Savepoint == nil {
		t.Fatalf("%+v", stopped)
	}
	bucket, m, err := snapshot.Find(b.ctx, stopped.Savepoint.Path, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	starts := 0
	for _, s := range m.Tasks {
		if s.Time != offsets.EndOfTime {
			t.Errorf("task %s is at %d", s.Task, s.Time)
		}
		for _, p := range s.Positions {
			if p.Topic == "in" {
				starts += int(p.Offset)
			}
		}
	}
	for _, part := range m.InFlight {
		err := bucket.Records(b.ctx, m, part, func(r *snapshot.Record) error {
			if r.Key != nil { // else it says only that time has ended
				return fmt.Errorf("record %q was on its way in %s/%d", r.Key, part.UID, part.Partition)
			}
			return nil
		}, nil)
		if err != nil {
			t.Error(err)
		}
	}
	if starts == 0 {
		t.Fatal("no record was read")
	}
	// Everything is there: who reads to the ends has all of it.
	b.glow(starts, rounds, feeds)
}

// everything calls f for each committed record of topics, up to their ends, with its number.
func (b *bubble) everything(f func(*kgo.Record, int64), topics ...string) {
	b.Helper()
	ends, err := kadm.NewClient(b.cl).ListCommittedOffsets(b.ctx, topics...)
	if err != nil {
		b.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), b.dial, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.Topic: {o.Partition: kgo.NewOffset().AtStart()}}))
		if err != nil {
			b.Fatal(err)
		}
		defer cl.Close()
		for at := int64(0); at < o.Offset && b.ctx.Err() == nil; {
			cl.PollFetches(b.ctx).EachRecord(func(r *kgo.Record) {
				if at = r.Offset + 1; !r.Attrs.IsControl() {
					f(r, int64(binary.BigEndian.Uint64(r.Value)))
				}
			})
		}
	})
}

// results are the last count of each key that passed, and the sum of its windows. A count that does
// not follow the one before it is an error where strict says so: without a rewind.
func (b *bubble) results(strict bool) (counts, windows map[string]int64) {
	b.Helper()
	counts, windows = map[string]int64{}, map[string]int64{}
	b.everything(func(r *kgo.Record, n int64) {
		if r.Topic == "out" {
			w, err := topology.WindowedKey(codec.String).Decode(r.Key)
			if err != nil {
				b.Fatal(err)
			}
			windows[w.Key] += n
			return
		}
		if strict && n != counts[string(r.Key)]+1 {
			b.Errorf("%s is counted as %d after %d", r.Key, n, counts[string(r.Key)])
		}
		counts[string(r.Key)] = n
	}, "passed", "out")
	return counts, windows
}

// last compares what has passed, and what windows have counted, with what so many starts give. What
// passes once is not looked at by name: which starts were read is not known.
func (b *bubble) last(starts, rounds int) {
	b.Helper()
	counts, windows := b.results(false)
	once := 0
	for key, n := range counts {
		if key[0] == 's' {
			once += int(n)
		}
		if windows[key] != n {
			b.Errorf("%s passed %d times, its window has %d", key, n, windows[key])
		}
	}
	for n := range rounds {
		if key := fmt.Sprint("k", n); counts[key] != int64(starts) {
			b.Errorf("%s passed %d times, want %d", key, counts[key], starts)
		}
	}
	if once != starts || len(windows) != starts+rounds {
		b.Errorf("%d records were read, %d have passed; %d windows", starts, once, len(windows))
	}
}

// glow compares what has passed and what windows have counted with what so many starts give.
func (b *bubble) glow(starts, rounds int, feeds bool) {
	b.Helper()
	counts, windows := b.results(true)
	want := map[string]int64{}
	for i := range starts {
		want[fmt.Sprint("s", i)] = 1
	}
	for n := range rounds {
		want[fmt.Sprint("k", n)] = int64(starts)
	}
	for key, n := range want {
		if key[0] == 'k' && counts[key] != n {
			b.Errorf("%s passed %d times, want %d", key, counts[key], n)
		}
		if windows[key] != counts[key] {
			b.Errorf("%s passed %d times, its window has %d", key, counts[key], windows[key])
		}
		if after := counts["w"+key]; feeds && windows[key] > 0 && after != glow+1 || !feeds && after > 0 {
			b.Errorf("the window of %s went round %d times", key, after)
		}
	}
}
