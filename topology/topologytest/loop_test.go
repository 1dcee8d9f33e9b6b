package topologytest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/topologytest"
	"github.com/weir-stream/weir/topology/window"
)

// call is tried until it succeeds, three times at most.
type call struct{ Attempt, Succeeds int }

var (
	calls    = topology.NewTopic("calls", codec.String, codec.JSON[call]())
	answered = topology.NewTopic("answered", codec.String, codec.JSON[call]())
	refused  = topology.NewTopic("refused", codec.String, codec.JSON[call]())
)

func retrying() (*topology.Plan, error) {
	b := topology.New("retrying")
	retries := topology.NewLoop(b, "retries", codec.String, codec.JSON[call]())
	tried := topology.MapValues(topology.From(b, calls).Merge(retries.Stream()), func(_ string, c call) (call, error) {
		c.Attempt++
		return c, nil
	}).Branch()
	tried.Case("answered", func(_ string, c call) (bool, error) { return c.Attempt == c.Succeeds, nil }).To(answered)
	tried.Case("refused", func(_ string, c call) (bool, error) { return c.Attempt == 3, nil }).To(refused)
	tried.Default("again").ToLoop(retries)
	return b.Build()
}

func TestRetryLoop(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		d := topologytest.New(t, retrying, topologytest.Partitions(partitions))
		in := topologytest.Input(d, calls)
		for succeeds, key := range []string{"never", "at once", "second", "third", "too late"} {
			in.Send(key, call{Succeeds: succeeds})
			d.Restart()
		}
		topologytest.Output(d, answered).Want(
			topologytest.KV("at once", call{1, 1}), topologytest.KV("second", call{2, 2}), topologytest.KV("third", call{3, 3}))
		topologytest.Output(d, refused).Want(topologytest.KV("never", call{3, 0}), topologytest.KV("too late", call{3, 4}))
	}
}

// countdown sends n on as n-1, under another key, until it is 0, and counts what passes per
// key and hour, behind another topic.
func countdown() (*topology.Plan, error) {
	b := topology.New("countdown")
	rest := topology.NewLoop(b, "rest", codec.String, codec.Int64)
	all := topology.From(b, readings).Merge(rest.Stream())
	topology.Map(all.Filter(func(_ string, n int64) (bool, error) { return n > 0, nil }), func(_ string, n int64) (string, int64, error) {
		return fmt.Sprint("k", n-1), n - 1, nil
	}).ToLoop(rest)
	all.Count("passed").To(sums)
	hours := topology.Window(all.Repartition("by-key"), window.Tumbling(time.Hour).EmitFinal())
	topology.Aggregate(hours, "hours", codec.Int64, add).To(perHour)
	return b.Build()
}

// Records that went round have the time of the one that they come from. Windows behind the
// loop close when the sources are there, though nothing comes through the loop any more.
func TestWindowsBehindASilentLoop(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		d := topologytest.New(t, countdown, topologytest.Partitions(partitions))
		in, out := topologytest.Input(d, readings), topologytest.Output(d, perHour)
		in.SendAt(noon, "start", 3)
		d.Restart()
		in.SendAt(noon.Add(time.Minute), "start", 4)
		out.Want()
		topologytest.Output(d, sums).WantLast(
			topologytest.KV("start", int64(2)), topologytest.KV("k3", int64(1)), topologytest.KV("k2", int64(2)), topologytest.KV("k1", int64(2)), topologytest.KV("k0", int64(2)))
		d.AdvanceEventTime(noon.Add(59 * time.Minute))
		out.Want()
		d.AdvanceEventTime(noon.Add(time.Hour))
		out.WantLast(
			topologytest.KV(hour("start", 0), int64(7)), topologytest.KV(hour("k3", 0), int64(3)), topologytest.KV(hour("k2", 0), int64(4)),
			topologytest.KV(hour("k1", 0), int64(2)), topologytest.KV(hour("k0", 0), int64(0)))
		// Everybody is silent: the highest time that a source reached is that of all.
		in.SendRecord(0, topology.Record[string, int64]{Key: "late hour", Value: 1, Time: noon.Add(2 * time.Hour)})
		d.AdvanceProcessingTime(2 * time.Minute)
		d.Restart()
		d.AdvanceProcessingTime(2 * time.Minute)
		out.Want()
		in.SendRecord(0, topology.Record[string, int64]{Key: "last", Value: 0, Time: noon.Add(3 * time.Hour)})
		out.WantLast(topologytest.KV(hour("late hour", 2), int64(1)), topologytest.KV(hour("k0", 2), int64(0)))
	}
}

var (
	nodes   = topology.NewTopic("nodes", codec.String, codec.None)
	reached = topology.NewTopic("reached", codec.String, codec.Int64)

	edges = map[string]string{"a": "b c", "b": "c d", "c": "a", "d": "e", "e": "b", "f": "a", "g": "g h"}
)

// reachable finds what can be reached from the nodes that come: through two sub-topologies,
// and an edge at a time.
func reachable() (*topology.Plan, error) {
	b := topology.New("reachable")
	next := topology.NewLoop(b, "next", codec.String, codec.None)
	visits := topology.From(b, nodes).Merge(next.Stream()).Count("visits")
	first := visits.ToStream().Filter(func(_ string, n int64) (bool, error) { return n == 1, nil })
	first.To(reached)
	byFirst := topology.KeyBy(first, "by-letter", codec.String, func(node string, _ int64) (string, error) { return "of " + node, nil })
	topology.FlatMap(byFirst, func(of string, _ int64) (out []topology.KV[string, struct{}], err error) {
		for _, n := range strings.Fields(edges[strings.TrimPrefix(of, "of ")]) {
			out = append(out, topology.KV[string, struct{}]{Key: n})
		}
		return out, nil
	}).ToLoop(next)
	return b.Build()
}

func TestLoopThroughTwoSubTopologies(t *testing.T) {
	d := topologytest.New(t, reachable, topologytest.Partitions(3))
	in, out := topologytest.Input(d, nodes), topologytest.Output(d, reached)
	one := int64(1)
	in.Send("d", struct{}{})
	out.WantLast(topologytest.KV("a", one), topologytest.KV("b", one), topologytest.KV("c", one), topologytest.KV("d", one), topologytest.KV("e", one))
	d.Restart()
	in.Send("f", struct{}{})
	out.WantLast(topologytest.KV("f", one))
	in.Send("g", struct{}{})
	out.WantLast(topologytest.KV("g", one), topologytest.KV("h", one))
}

// What is found does not depend on the order in which records go round, or on crashes.
func TestLoopsDoNotDependOnOrderOrCrashes(t *testing.T) {
	topologytest.SameUnderAnyOrder(t, reachable, func(d *topologytest.Driver) {
		in := topologytest.Input(d, nodes)
		for _, n := range strings.Fields("d f g a") {
			in.Send(n, struct{}{})
		}
	})
}

// forever has a loop that nothing leaves.
func forever() (*topology.Plan, error) {
	b := topology.New("forever")
	round := topology.NewLoop(b, "round", codec.String, codec.Int64)
	all := topology.From(b, readings).Merge(round.Stream())
	all.Count("passed").To(sums)
	all.Filter(func(_ string, v int64) (bool, error) { return v != 0, nil }).ToLoop(round)
	return b.Build()
}

// A loop that does not end is an error that says so, and has had no effect.
func TestLoopWithoutEnd(t *testing.T) {
	d := topologytest.New(t, forever, topologytest.LoopLimit(1000))
	in, out := topologytest.Input(d, readings), topologytest.Output(d, sums)
	in.Send("a", 0)
	err := in.TrySend("a", 1)
	if err == nil || !strings.Contains(err.Error(), "1001 records were read from loops, and there is no end: waiting are 1 in round/0") || !strings.Contains(err.Error(), "LoopLimit") {
		t.Fatalf("sending what goes round for ever: %v", err)
	}
	in.Send("a", 0)
	out.Want(topologytest.KV("a", int64(1)), topologytest.KV("a", int64(2)))

	// The same while records lag: the first time they do not, and there is an end.
	j, times := &judge{TB: t}, int64(0)
	func() {
		defer func() { _ = recover() }()
		topologytest.SameUnderAnyOrder(j, forever, func(d *topologytest.Driver) {
			topologytest.LoopLimit(100)(d)
			topologytest.Input(d, readings).Send("a", times)
			times++
		})
	}()
	if times != 2 || len(j.said) != 1 || !strings.Contains(j.said[0], "there is no end") {
		t.Errorf("fed %d times, said %q", times, j.said)
	}
}

// A loop has the partitions that its sub-topology has.
func TestLoopWithOtherPartitions(t *testing.T) {
	j := &judge{TB: t}
	func() {
		defer func() { _ = recover() }()
		topologytest.New(j, func() (*topology.Plan, error) {
			b := topology.New("uneven")
			l := topology.NewLoop(b, "again", codec.String, codec.Int64, topology.Partitions(5))
			topology.From(b, readings).Merge(l.Stream()).ToLoop(l)
			return b.Build()
		})
	}()
	if len(j.said) != 1 || !strings.Contains(j.said[0], "again has 5 partitions, readings has 1") {
		t.Errorf("said %q", j.said)
	}
}
