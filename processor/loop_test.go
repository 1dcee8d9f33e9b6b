package processor_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// countdown sends n round as n-1, under another key and so through all tasks, until it is 0.
// What passes is counted per key, and per hour behind another topic.
func countdown(t *testing.T) *topology.Plan {
	t.Helper()
	b := topology.New("bad")
	rest := topology.NewLoop(b, "rest", codec.String, codec.Int64)
	all := topology.From(b, badIn, topology.IdleAfter(0)).Merge(rest.Stream())
	topology.Map(all.Filter(func(_ string, n int64) (bool, error) { return n > 0, nil }), func(_ string, n int64) (string, int64, error) {
		return fmt.Sprint("k", n-1), n - 1, nil
	}).ToLoop(rest)
	all.Count("passed").To(topology.NewTopic("passed", codec.String, codec.Int64))
	topology.Window(all.Repartition("by-key"), window.Tumbling(time.Hour).EmitFinal()).Count("counts").
		To(topology.NewTopic("out", topology.WindowedKey(codec.String), codec.Int64))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

const (
	loopBroker = "WEIR_LOOP_BROKER"
	loopDir    = "WEIR_LOOP_DIR"
)

// Records go round while the worker is killed, its disk lost and another one goes on: each
// passes as often as it has to. When all is quiet, windows close with the sources alone.
func TestLoopThroughKills(t *testing.T) {
	if broker := os.Getenv(loopBroker); broker != "" { // the worker
		err := processor.Run(context.Background(), countdown(t), processor.Brokers(broker), processor.StateDir(os.Getenv(loopDir)),
			processor.InstanceID("one"), processor.Lanes(2), processor.CommitInterval(20*time.Millisecond), processor.Logger(zerolog.Nop()))
		t.Fatal(err)
	}
	const (
		starts = 20
		rounds = 100 // one per commit and more, so there is time for kills
		total  = starts * (rounds + 1)
	)
	r := newRig(t, kfake.SeedTopics(2, "passed"))
	for i := range starts {
		rec := &kgo.Record{Topic: "in", Partition: int32(i % 2), Key: fmt.Appendf(nil, "s%d", i), Value: i64(rounds), Timestamp: noon}
		if err := r.cl.ProduceSync(r.ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	passed := r.reader("passed")
	for kill := range 3 {
		worker := exec.CommandContext(r.ctx, os.Args[0], "-test.run=^TestLoopThroughKills$")
		worker.Env = append(os.Environ(), loopBroker+"="+r.c.ListenAddrs()[0], loopDir+"="+r.dir)
		if err := worker.Start(); err != nil {
			t.Fatal(err)
		}
		passed.until(min(passed.n+total/8, total))
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait() // killed
		switch {
		case kill == 0 && passed.n == total:
			t.Fatal("all records had passed before the first kill")
		case kill == 1:
			r.dir = t.TempDir()
		}
	}
	one := r.run("one", r.dir, countdown(t), processor.Lanes(2))
	passed.until(total)
	want := map[string]string{}
	for i := range starts {
		want[fmt.Sprint("s", i)] = "s"
	}
	for n := range rounds {
		want[fmt.Sprint("k", n)] = "k"
	}
	for key, counts := range passed.by {
		times := 1
		if want[key] == "k" {
			times = starts
		}
		for i, n := range counts {
			if n != int64(i+1) {
				t.Errorf("%s was counted as %v", key, counts)
				break
			}
		}
		if want[key] == "" || len(counts) != times {
			t.Errorf("%s passed %d times, want %d", key, len(counts), times)
		}
	}
	for p := range int32(2) {
		r.sendAt("in", p, "end", 2*time.Hour)
	}
	var windows []string
	for key, kind := range want {
		windows = append(windows, fmt.Sprintf("%s@0=%d", key, map[string]int{"s": 1, "k": starts}[kind]))
	}
	got := r.final(len(windows))
	slices.Sort(got)
	slices.Sort(windows)
	if !slices.Equal(got, windows) {
		t.Errorf("windows %v\nwant %v", got, windows)
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	r.onlyRecords("bad.1.rest.repartition", 0, 1)
}

// onlyRecords wants records in partitions of a topic, but no heartbeat or idle mark: these
// have no key.
func (r *rig) onlyRecords(topic string, partitions ...int32) {
	r.t.Helper()
	starts, err := r.adm.ListStartOffsets(r.ctx, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	ends, err := r.adm.ListCommittedOffsets(r.ctx, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range partitions {
		start, _ := starts.Lookup(topic, p)
		end, _ := ends.Lookup(topic, p)
		if end.Offset == 0 {
			r.t.Errorf("nothing was ever in %s/%d", topic, p)
		}
		_, err := changelog.ReadRange(r.ctx, []kgo.Opt{kgo.SeedBrokers(r.c.ListenAddrs()...)}, topic, p, start.Offset, end.Offset, func(key, _ []byte, offset int64) error {
			if key == nil {
				return fmt.Errorf("a record without a key at %d", offset)
			}
			return nil
		})
		if err != nil {
			r.t.Errorf("%s/%d: %v", topic, p, err)
		}
	}
}

// A task whose source is idle does not hold its readers up, although a record goes round in it
// without an end and on to them each time.
func TestLoopInAnIdleTask(t *testing.T) {
	r := newRig(t)
	round := "round"
	for offsets.Partition([]byte(round), 2) != 1 {
		round += "-"
	}
	var end atomic.Bool
	plan := hours(t, func(b *topology.Builder) topology.Stream[string, int64] {
		again := topology.NewLoop(b, "again", codec.String, codec.Int64)
		all := topology.From(b, badIn, topology.IdleAfter(100*time.Millisecond)).Merge(again.Stream())
		all.Filter(func(key string, _ int64) (bool, error) { return key == round && !end.Load(), nil }).ToLoop(again)
		return all
	})
	r.sendAt("in", 1, round, 0)
	r.sendAt("in", 0, "a", 0)
	w := r.run("one", r.dir, plan)
	for r.timeOf("in", 0) != 0 || r.timeOf("in", 1) != 0 {
		if pause(r.ctx) != nil {
			t.Fatal("out of time")
		}
	}
	r.sendAt("in", 0, "b", 2*time.Hour)
	got := r.final(2) // of the first hour; the second one is not there yet
	if !slices.Contains(got, "a@0=1") || !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, round+"@0=") }) {
		t.Errorf("got %v, want the first hour of both keys", got)
	}
	end.Store(true)
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	r.onlyRecords("bad.1.again.repartition", 1)
}

// A loop that does not fit the partitions of its sub-topology is refused.
func TestLoopOfOtherPartitionsIsRefused(t *testing.T) {
	b := topology.New("bad")
	l := topology.NewLoop(b, "again", codec.String, codec.Int64, topology.Partitions(3))
	topology.From(b, badIn).Merge(l.Stream()).ToLoop(l)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	says(t, newRig(t).refused(plan), processor.ErrTopic, "bad.1.again.repartition has 3 partitions, in has 2", "a loop takes .Partitions")
}
