package topologytest_test

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/topologytest"
	"github.com/weir-stream/weir/topology/window"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func hour(key string, h int) topology.Windowed[string] {
	start := noon.Add(time.Duration(h) * time.Hour)
	return topology.Windowed[string]{Key: key, Start: start, End: start.Add(time.Hour)}
}

// Every update of a window, over partitions and restarts, until it closes.
func TestWindowUpdates(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		d := topologytest.New(t, func() (*topology.Plan, error) {
			b := topology.New("hourly")
			hours := topology.Window(topology.From(b, readings), window.Tumbling(time.Hour).Grace(time.Minute))
			topology.Aggregate(hours, "hours", codec.Int64, add).To(perHour)
			return b.Build()
		}, topologytest.Partitions(partitions))
		in, out := topologytest.Input(d, readings), topologytest.Output(d, perHour)
		rows := topologytest.StoreOf(d, "hours", topology.WindowedKey(codec.String), codec.Int64)

		in.SendAt(noon, "a", 1)
		d.Restart()
		in.SendAt(noon.Add(time.Minute), "a", 2)
		in.SendAt(noon.Add(time.Minute), "b", 3)
		out.Want(topologytest.KV(hour("a", 0), int64(1)), topologytest.KV(hour("a", 0), int64(3)), topologytest.KV(hour("b", 0), int64(3)))
		if n, ok := rows.Get(hour("a", 0)); !ok || n != 3 {
			t.Errorf("store: a = %d, %t; want 3", n, ok)
		}
		if _, ok := rows.Get(hour("a", 1)); ok {
			t.Error("the next hour has a row")
		}
		got := map[topology.Windowed[string]]int64{}
		for k, v := range rows.All() {
			got[k] = v
		}
		if len(got) != 2 || got[hour("a", 0)] != 3 || got[hour("b", 0)] != 3 {
			t.Errorf("rows %v, want a and b with 3 each", got)
		}

		d.AdvanceEventTime(noon.Add(time.Hour + 30*time.Second))
		in.SendAt(noon, "a", 4) // within the grace
		out.Want(topologytest.KV(hour("a", 0), int64(7)))
		d.AdvanceEventTime(noon.Add(time.Hour + time.Minute))
		d.Restart()
		in.SendAt(noon, "a", 8) // late
		out.Want()
		for k := range rows.All() {
			t.Errorf("row %v of a window that is closed", k)
		}
	}
}

// A windowed result is placed by its key alone: all windows of a key are in one partition,
// that of the Java client.
func TestWindowsOfOneKeyAreInOnePartition(t *testing.T) {
	d := topologytest.New(t, func() (*topology.Plan, error) {
		b := topology.New("placed")
		topology.Aggregate(topology.Window(topology.From(b, readings), window.Tumbling(time.Hour)), "hours", codec.Int64, add).To(perHour)
		return b.Build()
	}, topologytest.Partitions(7))
	in := topologytest.Input(d, readings)
	for i := range 60 {
		in.SendAt(noon.Add(time.Duration(i)*time.Hour), string(rune('a'+i%6)), 1)
	}
	got := topologytest.Output(d, perHour).Take()
	for _, r := range got {
		if want := offsets.Partition([]byte(r.Key.Key), 7); r.Origin.Partition != want {
			t.Errorf("window %v is in partition %d, want %d", r.Key, r.Origin.Partition, want)
		}
	}
	if len(got) != 60 {
		t.Errorf("%d results, want 60", len(got))
	}
}

// Final results are the same with restarts between any two steps.
func TestFinalWindowsThroughRestarts(t *testing.T) {
	for _, restart := range []bool{false, true} {
		d := topologytest.New(t, hourly, topologytest.Partitions(3))
		again := func() {
			if restart {
				d.Restart()
			}
		}
		in, out := topologytest.Input(d, readings), topologytest.Output(d, perHour)
		for h := range 3 {
			for _, k := range []string{"a", "b", "c", "d"} {
				in.SendAt(noon.Add(time.Duration(h)*time.Hour), k, int64(h+1))
				again()
			}
		}
		d.AdvanceEventTime(noon.Add(2 * time.Hour))
		again()
		out.WantLast(
			topologytest.KV(hour("a", 0), int64(1)), topologytest.KV(hour("b", 0), int64(1)), topologytest.KV(hour("c", 0), int64(1)), topologytest.KV(hour("d", 0), int64(1)))
		d.AdvanceEventTime(noon.Add(3 * time.Hour))
		again()
		d.AdvanceEventTime(noon.Add(3 * time.Hour))
		if got := out.Take(); len(got) != 4 || got[0].Value != 2 || got[0].Key.Start != noon.Add(time.Hour) {
			t.Errorf("got %v, want the second hour of four keys, each once", got)
		}
	}
}

// A source that falls silent, comes back and falls silent again is not waited for, and its
// readers behind a hop hear that each time.
func TestSilentAgain(t *testing.T) {
	d := topologytest.New(t, hourly, topologytest.Partitions(2))
	in, out := topologytest.Input(d, readings), topologytest.Output(d, perHour)
	send := func(p int32, at time.Duration) {
		in.SendRecord(p, topology.Record[string, int64]{Key: "a", Value: 1, Time: noon.Add(at)})
	}
	send(0, 0)
	send(1, 0)
	for h := range 2 {
		d.AdvanceProcessingTime(2 * time.Minute) // both are silent
		send(0, time.Duration(h+1)*time.Hour+time.Minute)
		if got := out.Take(); len(got) != 1 || got[0].Key != hour("a", h) {
			t.Errorf("hour %d: got %v, want its window once partition 1 is idle", h, got)
		}
		send(1, 0) // it is back, with the time that it had
	}
}

// A task without windows keeps no row of what it heard. After a restart it is told again,
// or time behind it would stand still until every partition had a new record.
func TestTimeGoesOnThroughARestartInTheMiddle(t *testing.T) {
	d := topologytest.New(t, func() (*topology.Plan, error) {
		b := topology.New("two-hops")
		twice := topology.From(b, readings).Repartition("one").Filter(func(string, int64) (bool, error) { return true, nil }).Repartition("two")
		hours := topology.Window(twice, window.Tumbling(time.Hour).EmitFinal())
		topology.Aggregate(hours, "hours", codec.Int64, add).To(perHour)
		return b.Build()
	}, topologytest.Partitions(2))
	in, out := topologytest.Input(d, readings), topologytest.Output(d, perHour)
	in.SendRecord(0, topology.Record[string, int64]{Key: "a", Value: 1, Time: noon})
	in.SendRecord(1, topology.Record[string, int64]{Key: "b", Value: 2, Time: noon.Add(3 * time.Hour)})
	out.Want()
	d.Restart()
	out.Want()
	in.SendRecord(0, topology.Record[string, int64]{Key: "c", Value: 3, Time: noon.Add(2 * time.Hour)})
	out.Want(topologytest.KV(hour("a", 0), int64(1)))
}

// Two sources merged in front of a hop, without windows. One is ahead, has nothing new, and
// is never given up: behind a restart time goes on with the other one, as it did before.
func TestTimeOfMergedSourcesGoesOnThroughARestart(t *testing.T) {
	ahead := topology.NewTopic("ahead", codec.String, codec.Int64)
	for _, partitions := range []int{1, 2} {
		d := topologytest.New(t, func() (*topology.Plan, error) {
			b := topology.New("merged")
			merged := topology.From(b, readings, topology.IdleAfter(0)).Merge(topology.From(b, ahead, topology.IdleAfter(0))).Repartition("hop")
			topology.Aggregate(topology.Window(merged, window.Tumbling(time.Hour).EmitFinal()), "hours", codec.Int64, add).To(perHour)
			return b.Build()
		}, topologytest.Partitions(partitions))
		send := func(topic topology.Topic[string, int64], key string, at time.Duration) {
			for p := range int32(partitions) {
				topologytest.Input(d, topic).SendRecord(p, topology.Record[string, int64]{Key: key, Value: 1, Time: noon.Add(at)})
			}
		}
		out := topologytest.Output(d, perHour)
		send(readings, "a", 0)
		send(ahead, "b", 5*time.Hour)
		out.Want()
		d.Restart()
		out.Want()
		send(readings, "c", 2*time.Hour)
		out.Want(topologytest.KV(hour("a", 0), int64(partitions)))
		d.Restart()
		send(readings, "d", 6*time.Hour) // now the other one holds time back
		out.Want(topologytest.KV(hour("c", 2), int64(partitions)))
	}
}
