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
	errThirteen = errors.New("thirteen")
	errRefused  = errors.New("refused")
)

// faults are ways to fail at the value 13; cause is nil where the text must do.
var faults = map[string]struct {
	split func(string, int64) ([]int64, error)
	poor  []byte // instead of 13
	node  string
	cause error
	text  string
}{
	"undecodable": {split: whole, poor: []byte("x"), node: "source readings", text: "decode value as int64"},
	"user error": {node: "flat-map-values parts", cause: errThirteen, text: "thirteen", split: func(_ string, v int64) ([]int64, error) {
		if v == 13 {
			return nil, errThirteen
		}
		return []int64{v}, nil
	}},
	"panic": {node: "flat-map-values parts", cause: errThirteen, text: "panic: thirteen", split: func(_ string, v int64) ([]int64, error) {
		if v == 13 {
			panic(errThirteen)
		}
		return []int64{v}, nil
	}},
	"third of five": {node: "aggregate sums", cause: errRefused, text: "refused", split: func(_ string, v int64) ([]int64, error) {
		if v == 13 {
			return []int64{1, 1, 666, 1, 1}, nil
		}
		return []int64{v}, nil
	}},
}

func whole(_ string, v int64) ([]int64, error) { return []int64{v}, nil }

func add(_ string, v, sum int64) (int64, error) {
	if v == 666 {
		return 0, errRefused
	}
	return sum + v, nil
}

// shapes are what stands behind the operator that fails. Internal shapes fail at a record
// of a repartition topic if the aggregate does.
var shapes = map[string]struct {
	internal bool
	build    func(s topology.Stream[string, int64])
}{
	"aggregate": {false, func(s topology.Stream[string, int64]) {
		topology.Aggregate(s, "sums", codec.Int64, add).To(sums)
	}},
	"hop and aggregate": {true, func(s topology.Stream[string, int64]) {
		topology.Aggregate(s.Repartition("again"), "sums", codec.Int64, add).To(sums)
	}},
	"window, updates": {false, func(s topology.Stream[string, int64]) {
		topology.Aggregate(topology.Window(s, window.Tumbling(time.Hour)), "sums", codec.Int64, add).To(perHour)
	}},
	"hop and window, final": {true, func(s topology.Stream[string, int64]) {
		topology.Aggregate(topology.Window(s.Repartition("again"), window.Tumbling(time.Hour).EmitFinal()), "sums", codec.Int64, add).To(perHour)
	}},
}

// A record that fails has no effect, wherever it fails and whatever it did before, and
// what comes next finds everything as if it had not been there.
func TestFailedRecordHasNoEffect(t *testing.T) {
	t.Run("3 partitions", func(t *testing.T) { failedRecord(t, 3, false) })
	// With one partition nobody else holds time back, so what comes back from a crash shows
	// all of it.
	t.Run("1 partition, crash at once", func(t *testing.T) { failedRecord(t, 1, true) })
}

func failedRecord(t *testing.T, partitions int, crash bool) {
	for shapeName, shape := range shapes {
		for name, c := range faults {
			t.Run(shapeName+"/"+name, func(t *testing.T) {
				start := func() *topologytest.Driver {
					return topologytest.New(t, func() (*topology.Plan, error) {
						b := topology.New("bad")
						shape.build(topology.FlatMapValues(topology.From(b, readings), c.split, topology.Named("parts")))
						return b.Build()
					}, topologytest.Partitions(partitions))
				}
				d, clean := start(), start()
				in, cleanIn := topologytest.Input(d, readings), topologytest.Input(clean, readings)
				for i, key := range []string{"a", "b", "c", "d"} {
					in.Send(key, int64(i))
					cleanIn.Send(key, int64(i))
				}
				before := d.String()

				var err error
				if c.poor != nil {
					err = in.TrySendBytes([]byte("a"), c.poor)
				} else {
					// Far ahead: the time that it moves, and what that closes, is undone too.
					err = in.TrySendAt(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), "a", 13)
				}
				var oe *task.OperatorError
				if !errors.As(err, &oe) {
					t.Fatalf("%v (%T): want an OperatorError", err, err)
				}
				topic := "readings"
				if shape.internal && c.cause == errRefused {
					topic = "again"
				}
				if !strings.HasPrefix(oe.Node, c.node) || !strings.HasPrefix(oe.Site, "failure_test.go:") || oe.Topic != topic || oe.Offset < 1 ||
					!strings.Contains(err.Error(), fmt.Sprintf(": %s/%d@%d: ", topic, oe.Partition, oe.Offset)) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v (%+v): want node %s, its line, a record of %s and %q", err, oe, c.node, topic, c.text)
				}
				if c.cause != nil && !errors.Is(err, c.cause) {
					t.Errorf("%v does not lead to %v", err, c.cause)
				}

				if after := d.String(); after != before {
					t.Errorf("the failed record had an effect.\nbefore:\n%s\nafter:\n%s", before, after)
				}
				for _, d := range []*topologytest.Driver{d, clean} {
					if crash {
						d.Restart()
					}
					topologytest.Input(d, readings).Send("a", 5)
					d.Restart()
					topologytest.Input(d, readings).Send("a", 6)
					d.AdvanceEventTime(time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC))
				}
				if got, want := d.String(), clean.String(); got != want {
					t.Errorf("with the failed record:\n%s\nwithout:\n%s", got, want)
				}
			})
		}
	}
}

// The failed record keeps its offset: it is in the topic.
func TestOffsetOfTheFailedRecord(t *testing.T) {
	d := topologytest.New(t, hourly)
	in := topologytest.Input(d, readings)
	in.Send("a", 1)
	for _, offset := range []int64{1, 2} {
		var oe *task.OperatorError
		if err := in.TrySendBytes([]byte("a"), []byte("x")); !errors.As(err, &oe) || oe.Offset != offset || oe.Partition != 0 {
			t.Errorf("%v: want offset %d", err, offset)
		}
	}
	j := &judge{TB: t}
	func() {
		defer func() { _ = recover() }()
		topologytest.Input(topologytest.New(j, hourly), readings).SendBytes([]byte("a"), []byte("x"))
	}()
	if len(j.said) != 1 || !strings.Contains(j.said[0], "readings/0@0") {
		t.Errorf("SendBytes of what does not decode said %q", j.said)
	}
}

// Time that cannot move, because what is due fails, has not moved; nor has anything else.
func TestFailedAdvanceHasNoEffect(t *testing.T) {
	broken := true
	start := func() *topologytest.Driver {
		return topologytest.New(t, func() (*topology.Plan, error) {
			b := topology.New("due")
			hours := topology.Window(topology.From(b, readings), window.Tumbling(time.Hour).EmitFinal())
			final := topology.Aggregate(hours, "sums", codec.Int64, add).ToStream()
			final.Peek(func(k topology.Windowed[string], _ int64) error {
				if broken && k.Key == "b" {
					return errRefused
				}
				return nil
			}).To(perHour)
			return b.Build()
		}, topologytest.Partitions(3))
	}
	d, clean := start(), start()
	for _, d := range []*topologytest.Driver{d, clean} {
		in := topologytest.Input(d, readings)
		for i, key := range []string{"a", "b", "c", "d"} {
			in.SendAt(noon, key, int64(i))
		}
	}
	for range 2 {
		var oe *task.OperatorError
		if err := d.TryAdvanceEventTime(noon.Add(time.Hour)); !errors.As(err, &oe) || !errors.Is(err, errRefused) || !strings.HasPrefix(oe.Node, "peek") {
			t.Fatalf("%v: want the error of peek", err)
		}
		if got, want := d.String(), clean.String(); got != want {
			t.Fatalf("the failed advance had an effect.\nwant:\n%s\ngot:\n%s", want, got)
		}
		d.Restart()
	}
	broken = false
	for _, d := range []*topologytest.Driver{d, clean} {
		topologytest.Input(d, readings).SendAt(noon, "a", 5) // not late: time stood still
		d.AdvanceEventTime(noon.Add(time.Hour))
	}
	if got, want := d.String(), clean.String(); got != want {
		t.Errorf("with the failed advance:\n%s\nwithout:\n%s", got, want)
	}
	topologytest.Output(d, perHour).WantLast(
		topologytest.KV(hour("a", 0), int64(5)), topologytest.KV(hour("b", 0), int64(1)),
		topologytest.KV(hour("c", 0), int64(2)), topologytest.KV(hour("d", 0), int64(3)))
}
