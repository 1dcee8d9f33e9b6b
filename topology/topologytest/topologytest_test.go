package topologytest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
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
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
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
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
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

// A record that fails has no effect, wherever it fails.
func TestFailedRecordHasNoEffect(t *testing.T) {
	for name, c := range map[string]struct {
		f    func(string, int64) ([]int64, error)
		poor []byte
		text string
	}{
		"undecodable": {func(_ string, v int64) ([]int64, error) { return []int64{v}, nil }, []byte("x"), "int64"},
		"user error": {func(_ string, v int64) ([]int64, error) {
			if v == 13 {
				return nil, errors.New("thirteen")
			}
			return []int64{v}, nil
		}, []byte{0, 0, 0, 0, 0, 0, 0, 13}, "thirteen"},
		"panic": {func(_ string, v int64) ([]int64, error) {
			if v == 13 {
				panic("boom")
			}
			return []int64{v}, nil
		}, []byte{0, 0, 0, 0, 0, 0, 0, 13}, "boom"},
		"third of five": {func(_ string, v int64) ([]int64, error) {
			if v == 13 {
				return []int64{1, 1, 666, 1, 1}, nil
			}
			return []int64{v}, nil
		}, []byte{0, 0, 0, 0, 0, 0, 0, 13}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			d := topologytest.New(t, func() (*topology.Plan, error) {
				b := topology.New("bad")
				parts := topology.FlatMapValues(topology.From(b, readings), c.f)
				topology.Aggregate(parts, "sums", codec.Int64, func(_ string, v, sum int64) (int64, error) {
					if v == 666 {
						return 0, errors.New("refused")
					}
					return sum + v, nil
				}).To(sums)
				return b.Build()
			})
			in, out := topologytest.Input(d, readings), topologytest.Output(d, sums)
			in.Send("a", 1)
			before := d.String()
			err := in.TrySendBytes([]byte("a"), c.poor)
			var oe *task.OperatorError
			if !errors.As(err, &oe) || oe.Topic != "readings" || oe.Partition != 0 || oe.Offset != 1 || !strings.Contains(err.Error(), c.text) || !strings.Contains(oe.Site, "topologytest_test.go:") {
				t.Fatalf("%v (%T): want an OperatorError of readings/0@1 that says %q", err, err, c.text)
			}
			if after := d.String(); after != before {
				t.Errorf("the failed record had an effect.\nbefore:\n%s\nafter:\n%s", before, after)
			}
			in.Send("a", 2)
			out.Want(topologytest.KV("a", int64(1)), topologytest.KV("a", int64(3)))
		})
	}
}
