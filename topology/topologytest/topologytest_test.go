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

var (
	lines  = topology.NewTopic("lines", codec.Bytes, codec.String)
	counts = topology.NewTopic("word-counts", codec.String, codec.Int64)
)

func wordCount() (*topology.Plan, error) {
	b := topology.New("word-count")
	words := topology.FlatMapValues(topology.From(b, lines), func(_ []byte, line string) ([]string, error) {
		return strings.Fields(strings.ToLower(line)), nil
	})
	byWord := topology.KeyBy(words, "by-word", codec.String, func(_ []byte, word string) (string, error) { return word, nil })
	byWord.Count("counts").To(counts)
	return b.Build()
}

func TestWordCountSurvivesRestarts(t *testing.T) {
	for _, partitions := range []int{1, 3} {
		d := topologytest.New(t, wordCount, topologytest.Partitions(partitions))
		in, out := topologytest.Input(d, lines), topologytest.Output(d, counts)
		in.Send(nil, "to be or not to be")
		d.Restart()
		in.Send(nil, "to do")
		out.WantLast(
			topologytest.KV("be", int64(2)), topologytest.KV("do", int64(1)), topologytest.KV("not", int64(1)),
			topologytest.KV("or", int64(1)), topologytest.KV("to", int64(3)))
		if n, ok := topologytest.StoreOf(d, "counts", codec.String, codec.Int64).Get("to"); !ok || n != 3 {
			t.Errorf("store: to = %d, %t; want 3", n, ok)
		}
		rows := 0
		for range topologytest.StoreOf(d, "counts", codec.String, codec.Int64).All() {
			rows++
		}
		if rows != 5 {
			t.Errorf("%d rows, want 5", rows)
		}
	}
}

func TestEveryUpdateInOrder(t *testing.T) {
	d := topologytest.New(t, wordCount)
	topologytest.Input(d, lines).Send(nil, "a b a")
	topologytest.Output(d, counts).Want(topologytest.KV("a", int64(1)), topologytest.KV("b", int64(1)), topologytest.KV("a", int64(2)))
}

// Long outputs are compared in time and memory that a test has, and shown where they differ.
func TestLongDifferencesAreShort(t *testing.T) {
	for _, n := range []int{100, 20_000} {
		j := &judge{TB: t}
		d := topologytest.New(j, func() (*topology.Plan, error) {
			b := topology.New("long")
			topology.From(b, readings).To(sums)
			return b.Build()
		})
		in := topologytest.Input(d, readings)
		var want []topology.KV[string, int64]
		for i := range n {
			in.Send(fmt.Sprint("k", i), int64(i))
			want = append(want, topologytest.KV(fmt.Sprint("k", i), int64(i)))
		}
		want[10].Value, want[n-10].Value = -1, -2
		topologytest.Output(d, sums).Want(want...)
		if len(j.said) != 1 || strings.Count(j.said[0], "\n") > 30 ||
			!strings.Contains(j.said[0], "\n  k9 = 9\n- k10 = -1\n+ k10 = 10\n  k11 = 11\n") || !strings.Contains(j.said[0], fmt.Sprintf("\n- k%d = -2\n+ k%d = %d\n", n-10, n-10, n-10)) ||
			!strings.Contains(j.said[0], "\n  ... 7 equal\n  k7 = 7\n") {
			t.Errorf("%d records: said %q, want both differences with three lines around them", n, j.said)
		}
	}
}

// judge is a testing.TB that notes what it is told.
type judge struct {
	testing.TB
	said []string
}

func (j *judge) Helper() {}
func (j *judge) Errorf(format string, args ...any) {
	j.said = append(j.said, fmt.Sprintf(format, args...))
}
func (j *judge) Fatalf(format string, args ...any) {
	j.Errorf(format, args...)
	panic(j)
}

func TestDifferencesAreShown(t *testing.T) {
	j := &judge{TB: t}
	d := topologytest.New(j, wordCount)
	topologytest.Input(d, lines).Send(nil, "a b")
	topologytest.Output(d, counts).Want(topologytest.KV("a", int64(1)), topologytest.KV("c", int64(1)))
	if len(j.said) != 1 || !strings.Contains(j.said[0], "- c = 1") || !strings.Contains(j.said[0], "+ b = 1") {
		t.Errorf("said %q, want the missing and the unexpected line", j.said)
	}
	func() {
		defer func() { _ = recover() }()
		topologytest.Input(d, counts)
	}()
	if len(j.said) != 2 || !strings.Contains(j.said[1], "its sources are lines") {
		t.Errorf("said %q, want the sources that there are", j.said)
	}
}

var (
	readings = topology.NewTopic("readings", codec.String, codec.Int64)
	sums     = topology.NewTopic("sums", codec.String, codec.Int64)
	perHour  = topology.NewTopic("per-hour", topology.WindowedKey(codec.String), codec.Int64)
)

func hourly() (*topology.Plan, error) {
	b := topology.New("hourly")
	byKey := topology.From(b, readings).Repartition("again")
	hours := topology.Window(byKey, window.Tumbling(time.Hour).Grace(time.Minute).EmitFinal())
	topology.Aggregate(hours, "hours", codec.Int64, func(_ string, v, sum int64) (int64, error) { return sum + v, nil }).To(perHour)
	return b.Build()
}

func TestWindowsFireOnceWhenEveryPartitionGotThere(t *testing.T) {
	d := topologytest.New(t, hourly, topologytest.Partitions(3))
	in, out := topologytest.Input(d, readings), topologytest.Output(d, perHour)
	in.SendAt(noon.Add(time.Minute), "a", 1)
	in.SendAt(noon.Add(59*time.Minute), "a", 2)
	out.Want()
	in.SendAt(noon.Add(3*time.Hour), "a", 4) // one partition runs ahead: nobody's window closes
	out.Want()
	d.Restart()
	d.AdvanceEventTime(noon.Add(time.Hour + time.Minute))
	want := topology.Windowed[string]{Key: "a", Start: noon, End: noon.Add(time.Hour)}
	out.Want(topologytest.KV(want, int64(3)))
	d.Restart()
	d.AdvanceEventTime(noon.Add(2 * time.Hour))
	out.Want()
}

func TestSilentSourcesBecomeIdle(t *testing.T) {
	d := topologytest.New(t, hourly, topologytest.Partitions(2))
	in, out := topologytest.Input(d, readings), topologytest.Output(d, perHour)
	in.SendAt(noon, "a", 1)
	in.SendAt(noon.Add(2*time.Hour), "a", 2)
	out.Want() // the other partition was never heard
	d.AdvanceProcessingTime(2 * time.Minute)
	in.SendAt(noon.Add(3*time.Hour), "a", 2)
	if got := out.Take(); len(got) == 0 || got[0].Value != 1 || got[0].Key.Start != noon {
		t.Errorf("got %v, want the window of noon once the silent partition is idle", got)
	}
}

func TestResultsDoNotDependOnOrderOrCrashes(t *testing.T) {
	topologytest.SameUnderAnyOrder(t, wordCount, func(d *topologytest.Driver) {
		in := topologytest.Input(d, lines)
		for i := range 20 {
			in.Send([]byte{byte(i)}, fmt.Sprintf("a b w%d w%d", i, i%7))
		}
	})
}

// Windows behind a hop come out the same when records lag and tasks crash.
func TestWindowsDoNotDependOnOrderOrCrashes(t *testing.T) {
	topologytest.SameUnderAnyOrder(t, hourly, func(d *topologytest.Driver) {
		in := topologytest.Input(d, readings)
		for i := range 60 {
			in.SendAt(noon.Add(time.Duration(i)*10*time.Minute), fmt.Sprintf("k%d", i%5), int64(i))
		}
		d.AdvanceEventTime(noon.Add(24 * time.Hour))
	})
}

// A topology that does depend on order is found out: the last writer wins, and there are
// two of them.
func TestDependenceOnOrderIsFound(t *testing.T) {
	j := &judge{TB: t}
	func() {
		defer func() { _ = recover() }()
		topologytest.SameUnderAnyOrder(j, func() (*topology.Plan, error) {
			b := topology.New("races")
			all := topology.KeyBy(topology.From(b, readings), "all", codec.String, func(string, int64) (string, error) { return "all", nil })
			topology.Aggregate(all, "last", codec.Int64, func(_ string, v, _ int64) (int64, error) { return v, nil }).To(sums)
			return b.Build()
		}, func(d *topologytest.Driver) {
			in := topologytest.Input(d, readings)
			for i := range int64(10) {
				in.Send(fmt.Sprint("k", i), i)
			}
		})
	}()
	if len(j.said) != 1 || !strings.Contains(j.said[0], "results under seed") {
		t.Errorf("said %q, want that results differ", j.said)
	}
}

// Values are compared, not the addresses in them.
func TestPointersAreFollowed(t *testing.T) {
	type box struct{ P *int64 }
	boxes, out := topology.NewTopic("boxes", codec.String, codec.JSON[box]()), topology.NewTopic("out", codec.String, codec.JSON[box]())
	j := &judge{TB: t}
	d := topologytest.New(j, func() (*topology.Plan, error) {
		b := topology.New("boxes")
		topology.From(b, boxes).To(out)
		return b.Build()
	})
	one, uno, two := int64(1), int64(1), int64(2)
	topologytest.Input(d, boxes).Send("a", box{&one})
	topologytest.Input(d, boxes).Send("b", box{})
	topologytest.Output(d, out).Want(topologytest.KV("a", box{&uno}), topologytest.KV("b", box{}))
	topologytest.Input(d, boxes).Send("a", box{&one})
	topologytest.Output(d, out).Want(topologytest.KV("a", box{&two}))
	if len(j.said) != 1 || !strings.Contains(j.said[0], "- a = {\"P\":2}\n+ a = {\"P\":1}") {
		t.Errorf("said %q, want one difference", j.said)
	}
}

// A store is read with codecs of its kind, and topics by partitions that there are.
func TestMisuseIsNamed(t *testing.T) {
	for want, misuse := range map[string]func(d *topologytest.Driver){
		"use topology.WindowedKey": func(d *topologytest.Driver) { topologytest.StoreOf(d, "hours", codec.String, codec.Int64) },
		"has no store days":        func(d *topologytest.Driver) { topologytest.StoreOf(d, "days", codec.String, codec.Int64) },
		"does not write sums":      func(d *topologytest.Driver) { topologytest.Output(d, sums) },
		"there is no readings/1": func(d *topologytest.Driver) {
			topologytest.Input(d, readings).SendRecord(1, topology.Record[string, int64]{})
		},
		"again has 5 partitions, readings has 1, and they are merged": func(*topologytest.Driver) {
			topologytest.New(&judge{TB: t}, func() (*topology.Plan, error) {
				b := topology.New("uneven")
				more := topology.From(b, sums).Repartition("again", topology.Partitions(5))
				topology.From(b, readings).Merge(more).Count("counts").To(counts)
				return b.Build()
			})
		},
		"a topic has at least one": func(*topologytest.Driver) { topologytest.New(&judge{TB: t}, hourly, topologytest.Partitions(0)) },
	} {
		var said string
		func() {
			defer func() {
				if j, ok := recover().(*judge); ok {
					said = strings.Join(j.said, "")
				}
			}()
			misuse(topologytest.New(&judge{TB: t}, hourly))
		}()
		if !strings.Contains(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
	}
}

// Internal topics have the number that the plan gives them, and nothing is lost by it.
func TestInternalPartitions(t *testing.T) {
	d := topologytest.New(t, func() (*topology.Plan, error) {
		b := topology.New("wide", topology.InternalPartitions(5))
		topology.From(b, readings).Repartition("again").Count("counts").To(counts)
		return b.Build()
	}, topologytest.Partitions(2))
	var want []topology.KV[string, int64]
	for i := range 40 {
		key := fmt.Sprint("k", i)
		topologytest.Input(d, readings).Send(key, 1)
		want = append(want, topologytest.KV(key, int64(1)))
	}
	for p := range 5 {
		if task := fmt.Sprintf("counts 1-%d ", p); !strings.Contains(d.String(), task) {
			t.Errorf("no rows of %q in\n%s", task, d)
		}
	}
	topologytest.Output(d, counts).WantLast(want...)
}

// A store in memory is rebuilt from its changelog at a restart, as in the engine. The option
// may come and go: it is not part of the fingerprint.
func TestInMemoryThroughRestarts(t *testing.T) {
	build := func(opts ...topology.StoreOption) func() (*topology.Plan, error) {
		return func() (*topology.Plan, error) {
			b := topology.New("memory")
			s := topology.From(b, readings)
			topology.Aggregate(s, "sums", codec.Nullable(codec.Int64), func(_ string, v int64, sum *int64) (*int64, error) {
				if v == 0 {
					return nil, nil
				}
				if sum != nil {
					v += *sum
				}
				return &v, nil
			}, opts...)
			topology.Aggregate(topology.Window(s, window.Tumbling(time.Hour).EmitFinal()), "hours", codec.Int64, add, opts...).To(perHour)
			return b.Build()
		}
	}
	d := topologytest.New(t, build(topology.InMemory()), topologytest.Partitions(2))
	in := topologytest.Input(d, readings)
	sums := topologytest.StoreOf(d, "sums", codec.String, codec.Nullable(codec.Int64))
	in.SendAt(noon, "a", 1)
	in.SendAt(noon, "b", 2)
	d.Restart()
	in.SendAt(noon, "a", 3)
	in.SendAt(noon, "b", 0) // deletes
	d.Restart()
	if sum, ok := sums.Get("a"); !ok || *sum != 4 {
		t.Errorf("a = %v, %t; want 4", sum, ok)
	}
	if sum, ok := sums.Get("b"); ok {
		t.Errorf("b = %d; it was deleted before the restart", *sum)
	}
	d.AdvanceEventTime(noon.Add(time.Hour))
	topologytest.Output(d, perHour).WantLast(topologytest.KV(hour("a", 0), int64(4)), topologytest.KV(hour("b", 0), int64(2)))

	memory, err := build(topology.InMemory())()
	if err != nil {
		t.Fatal(err)
	}
	disk, err := build()()
	if err != nil {
		t.Fatal(err)
	}
	if memory.Fingerprint() != disk.Fingerprint() || len(memory.Diff(disk.Describe())) != 0 {
		t.Error("the option changes the fingerprint")
	}
	if d := memory.Describe(); !d.Subs[0].Stores[0].InMemory || !d.Subs[0].Stores[1].InMemory || !strings.Contains(memory.String(), "in memory") {
		t.Errorf("the option is not shown: %+v\n%s", d.Subs[0].Stores, memory)
	}
}
