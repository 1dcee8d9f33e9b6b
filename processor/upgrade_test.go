package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// version is a release of one program. It counts the records of a group over a key change
// and writes count*10 + version. Version 2 has another function, two more stateless
// operators and one more sink; version 3 keeps its counts under another codec and reads
// one more topic.
func version(t *testing.T, v int64) *topology.Plan {
	t.Helper()
	b := topology.New("shop")
	in := topology.From(b, topology.NewTopic("in", codec.String, codec.Int64), topology.Named(fmt.Sprintf("orders-%d", v)))
	if v == 2 {
		in.To(topology.NewTopic("audit", codec.String, codec.Int64))
		in = topology.MapValues(in.Filter(func(_ string, n int64) (bool, error) { return n >= 0, nil }),
			func(_ string, n int64) (int64, error) { return n + 1, nil }, topology.Named("plus one"))
	}
	groups := topology.KeyBy(in, "by-group", codec.String, func(k string, _ int64) (string, error) { return k[:1], nil })
	if v == 3 {
		topology.From(b, topology.NewTopic("audit", codec.String, codec.Int64)).Filter(func(string, int64) (bool, error) { return false, nil })
		topology.Aggregate(groups, "counts", codec.JSON[int64](), func(_ string, _, n int64) (int64, error) { return n + 1, nil })
	} else {
		counts := topology.Aggregate(groups, "counts", codec.Int64, func(_ string, _, n int64) (int64, error) { return n + 1, nil })
		topology.MapValues(counts.ToStream(), func(_ string, n int64) (int64, error) { return n*10 + v, nil }).
			To(topology.NewTopic("out", codec.String, codec.Int64))
	}
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// running is a worker of a test with what it told its listener.
type running struct {
	stop    func() error
	ended   chan error
	changes atomic.Int64 // of its tasks: assigned, restored, closed, failed
	tasks   atomic.Int64 // that process
}

func (r *rig) run(instance, dir string, plan *topology.Plan, more ...processor.Option) *running {
	w := &running{ended: make(chan error, 1)}
	changed := func(tasks int64) { w.changes.Add(1); w.tasks.Add(tasks) }
	ctx, cancel := context.WithCancel(r.ctx)
	go func() {
		w.ended <- processor.Run(ctx, plan, append(r.options(processor.InstanceID(instance), processor.StateDir(dir), processor.HeartbeatInterval(50*time.Millisecond),
			processor.Events(&processor.Listener{
				TasksAssigned: func(i processor.AssignedInfo) {
					if len(i.Partitions) > 0 { // otherwise a rebalance passed by
						changed(0)
					}
				},
				TaskRestored: func(processor.RestoredInfo) { changed(1) },
				TaskClosed:   func(processor.ClosedInfo) { changed(-1) },
				TaskFailed:   func(processor.FailedInfo) { changed(0) },
			})), more...)...)
	}()
	r.t.Cleanup(cancel)
	w.stop = func() error { cancel(); return <-w.ended }
	return w
}

// reader collects what read_committed readers of a topic see.
type reader struct {
	r  *rig
	cl *kgo.Client
	by map[string][]int64
	n  int
}

func (r *rig) reader(topic string) *reader {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.c.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return &reader{r: r, cl: cl, by: map[string][]int64{}}
}

// until reads on until there are n records in all, and gives those that were new, by key.
func (rd *reader) until(n int) map[string][]int64 {
	rd.r.t.Helper()
	fresh := map[string][]int64{}
	for rd.n < n {
		fs := rd.cl.PollFetches(rd.r.ctx)
		if rd.r.ctx.Err() != nil {
			rd.r.t.Fatalf("read %d of %d records", rd.n, n)
		}
		for _, rec := range fs.Records() {
			k, v := string(rec.Key), int64(binary.BigEndian.Uint64(rec.Value))
			rd.by[k], fresh[k] = append(rd.by[k], v), append(fresh[k], v)
			rd.n++
		}
	}
	return fresh
}

// A rolling upgrade: two releases of a program that differ in functions, in stateless
// operators and in sinks work side by side in one group and take over from each other. One
// that differs in what is kept or read is refused, and disturbs nobody.
func TestTwoVersionsInOneGroup(t *testing.T) {
	r := newRig(t, kfake.SeedTopics(2, "audit"), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	const groups, perPhase = 12, 240
	sent := 0
	send := func() {
		t.Helper()
		for i := range perPhase {
			n := sent + i
			r.cl.Produce(r.ctx, &kgo.Record{Topic: "in", Partition: int32(n % 2), Key: fmt.Appendf(nil, "%c%d", 'a'+n%groups, n), Value: i64(int64(n))}, nil)
		}
		if err := r.cl.Flush(r.ctx); err != nil {
			t.Fatal(err)
		}
		sent += perPhase
	}
	out := r.reader("out")
	// phase sends records and says which versions answered them.
	phase := func() (by [3]int) {
		t.Helper()
		send()
		for _, vs := range out.until(sent) {
			for _, v := range vs {
				if v%10 < 1 || v%10 > 2 {
					t.Fatalf("result %d is of no version", v)
				}
				by[v%10]++
			}
		}
		return by
	}
	dirs := map[string]string{"one": t.TempDir(), "two": t.TempDir()}

	one := r.run("one", dirs["one"], version(t, 1))
	two := r.run("two", dirs["two"], version(t, 1))
	if by := phase(); by[2] != 0 {
		t.Fatalf("before the upgrade: %v", by)
	}
	if err := two.stop(); err != nil {
		t.Fatal(err)
	}
	two = r.run("two", dirs["two"], version(t, 2))
	// Results of both versions do not say yet that all tasks have moved that are to move. There are
	// two of each sub-topology, and the control task.
	for a, b := int64(0), int64(0); a+b != 5 || min(a, b) != 2; a, b = one.tasks.Load(), two.tasks.Load() {
		if phase(); sent > 100*perPhase {
			t.Fatalf("of 5 tasks one has %d, two has %d", a, b)
		}
	}
	if both := phase(); both[1] == 0 || both[2] == 0 {
		t.Fatalf("half way through the upgrade: results of versions 1 and 2 are %v", both[1:])
	}

	// The incompatible one, beside both and in the middle of their work.
	before := one.changes.Load() + two.changes.Load()
	err := r.run("three", t.TempDir(), version(t, 3)).wait(r)
	says(t, err, processor.ErrPlan, "application shop",
		`rows of counts was "keyed, key string, value int64", is "keyed, key string, value json"`, "source of audit is new",
		"run the old plan, rewind to a checkpoint")
	phase()
	if now := one.changes.Load() + two.changes.Load(); now != before {
		t.Errorf("the refused worker moved tasks of the others: %d events", now-before)
	}

	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	one = r.run("one", dirs["one"], version(t, 2))
	last := phase()
	if last[1] != 0 {
		t.Errorf("after the upgrade: %v", last)
	}
	if err := errors.Join(one.stop(), two.stop()); err != nil {
		t.Fatal(err)
	}

	// Exactly once, over all of it: each group counts up without a gap or a repetition.
	for g, vs := range out.by {
		for i, v := range vs {
			if v/10 != int64(i+1) {
				t.Fatalf("group %s: result %d is %d", g, i+1, v)
			}
		}
	}
	if len(out.by) != groups || out.n != sent {
		t.Errorf("%d results of %d groups, want %d of %d", out.n, len(out.by), sent, groups)
	}
	// The sink that only version 2 has: each record at most once, and all of the last phase.
	audit, missing := r.reader("audit"), map[string]bool{}
	for n := sent - perPhase; n < sent; n++ {
		missing[fmt.Sprintf("%c%d", 'a'+n%groups, n)] = true
	}
	for len(missing) > 0 { // the reader gives up if they do not come
		for k := range audit.until(audit.n + 1) {
			delete(missing, k)
		}
	}
	for k, vs := range audit.by {
		if len(vs) != 1 {
			t.Errorf("record %s is %d times in the new sink", k, len(vs))
		}
	}
}

// wait is for a worker that must end by itself.
func (w *running) wait(r *rig) error {
	r.t.Helper()
	select {
	case err := <-w.ended:
		if err == nil {
			r.t.Fatal("the worker was not refused")
		}
		return err
	case <-r.ctx.Done():
		r.t.Fatal("the worker went on")
		return nil
	}
}

// A worker that was replaced by an incompatible release under its own name, as a deployment
// does it, is refused in the same words, and its tasks wait for it or for another worker.
func TestIncompatibleReplacementIsRefused(t *testing.T) {
	r := newRig(t, kfake.SeedTopics(2, "audit"))
	dir := t.TempDir()
	r.send(0, "a", i64(1))
	w := r.run("one", dir, version(t, 1))
	out := r.reader("out")
	out.until(1)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	says(t, r.run("one", dir, version(t, 3)).wait(r), processor.ErrPlan, "rows of counts", "application shop")
	r.send(1, "a", i64(1))
	w = r.run("one", dir, version(t, 2))
	if got := out.until(2); fmt.Sprint(got) != "map[a:[22]]" {
		t.Errorf("after the way back: %v", got)
	}
	if err := w.stop(); err != nil || strings.Contains(fmt.Sprint(out.by), "12") {
		t.Error(err, out.by)
	}
}
