package task

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
)

var (
	from0 = offsets.Task{Sub: 1, Partition: 0}
	from1 = offsets.Task{Sub: 1, Partition: 1}
)

// mixed has a source with 5 ms of disorder that is idle after 100 ms, and a repartition topic.
func mixed() []Input {
	return []Input{
		{Topic: "orders", MaxDisorder: 5 * time.Millisecond, IdleAfter: 100 * time.Millisecond},
		{Topic: "hop", Internal: true, Upstream: []int{1}},
	}
}

func (c *clock) want(t *testing.T, now int64) {
	t.Helper()
	if c.now != now {
		t.Fatalf("now = %d, want %d", c.now, now)
	}
}

func TestTimeIsTheLowestChannel(t *testing.T) {
	c := newClock(mixed(), false)
	c.record(0, 100)
	c.want(t, NoTime) // the writers of hop are not known
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.want(t, NoTime) // and were not heard
	c.stamp(1, from0, 50, offsets.Data)
	c.want(t, NoTime)
	c.stamp(1, from1, 70, offsets.Heartbeat)
	c.want(t, 50)
	c.stamp(1, from0, 200, offsets.Data)
	c.want(t, 70)
	c.stamp(1, from1, 200, offsets.Data)
	c.want(t, 95) // orders, minus its disorder
	c.record(0, 90)
	c.want(t, 95)
	if got := c.input(1); got != 200 {
		t.Error("hop is at", got)
	}
}

func TestRecordsOfARepartitionTopicDoNotMoveTime(t *testing.T) {
	c := newClock(mixed()[1:], false)
	c.setUpstream(0, []offsets.Task{from0})
	c.record(0, 1000)
	c.want(t, NoTime)
}

func TestStrangersMoveNothing(t *testing.T) {
	c := newClock(mixed()[1:], false)
	c.setUpstream(0, []offsets.Task{from0})
	c.stamp(0, from0, 10, offsets.Data)
	c.stamp(0, offsets.Task{Sub: 9}, 5000, offsets.Data)
	c.want(t, 10)
}

func TestIdleChannelsAreNotWaitedFor(t *testing.T) {
	c := newClock(mixed(), false)
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.tick(1000)
	c.stamp(1, from0, 50, offsets.Data)
	c.stamp(1, from1, 0, offsets.Idle)
	c.tick(1099)
	c.want(t, NoTime)
	if c.tickDue(1099) || !c.tickDue(1100) {
		t.Error("a tick is due at 1100, no sooner")
	}
	c.tick(1100)
	c.want(t, 50)
	c.stamp(1, from0, 60, offsets.Idle)
	c.want(t, 60) // what it said last still holds
	c.tick(2000)
	c.want(t, 60) // all are idle: time stands
	if !c.idle() {
		t.Error("not idle")
	}
	c.stamp(1, from1, 20, offsets.Data) // comes back behind: time does not
	c.want(t, 60)
	if c.idle() {
		t.Error("idle")
	}
	c.stamp(1, from1, 80, offsets.Data)
	c.want(t, 80)
}

// Nobody is waited for once all are idle, and it does not matter who fell idle last.
func TestAllIdleIsTheHighestChannel(t *testing.T) {
	producers := []offsets.Task{{Sub: 1, Partition: 0}, {Sub: 1, Partition: 1}, {Sub: 1, Partition: 2}}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		c := newClock(mixed()[1:], false)
		c.setUpstream(0, producers)
		for i, p := range producers {
			c.stamp(0, p, int64(10*(i+1)), offsets.Data)
		}
		c.want(t, 10)
		for _, i := range order {
			c.stamp(0, producers[i], NoTime, offsets.Idle)
		}
		c.want(t, 30)
		c.stamp(0, producers[1], 25, offsets.Data)
		c.want(t, 30)
		c.stamp(0, producers[1], 40, offsets.Data)
		c.want(t, 40)
	}
}

// What was committed of each input goes on where it was; no input is idle, and those that
// were not heard are waited for.
func TestResumedInputs(t *testing.T) {
	c := newClock(mixed(), false)
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.resume(0, 500)
	c.resume(1, NoTime)
	c.now = 40 // the floor
	c.stamp(1, from0, 90, offsets.Data)
	c.want(t, 40)
	c.stamp(1, from1, 80, offsets.Data)
	c.want(t, 80)
	if c.input(0) != 500 || c.input(1) != 80 {
		t.Errorf("inputs at %d and %d", c.input(0), c.input(1))
	}

	c = newClock(mixed(), false)
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.resume(0, 500)
	c.resume(1, 300)
	c.want(t, 300)
	c.stamp(1, from0, 900, offsets.Data)
	c.want(t, 300) // the other one is as far as the slowest was, until it is heard
	c.stamp(1, from1, 400, offsets.Heartbeat)
	c.want(t, 400)
	c.tick(0)
	c.tick(99)
	if c.idle() || c.inputs[0].channels[0].idle {
		t.Error("idle before its time")
	}
}

func TestIdleAfterZeroIsNever(t *testing.T) {
	in := mixed()[:1]
	in[0].IdleAfter = 0
	c := newClock(in, false)
	c.tick(0)
	c.tick(1 << 40)
	if c.idle() {
		t.Error("idle")
	}
}

func TestStreamTimeIsTheHighestChannel(t *testing.T) {
	c := newClock(mixed(), true)
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.record(0, 100)
	c.want(t, 95)
	c.stamp(1, from1, 120, offsets.Data)
	c.want(t, 120)
	c.record(0, 110)
	c.want(t, 120)
}

func TestClockRollsBack(t *testing.T) {
	c := newClock(mixed()[:1], false)
	c.record(0, 100)
	c.commit()
	c.record(0, 200)
	c.want(t, 195)
	c.rollback()
	c.want(t, 95)
	c.record(0, 150)
	c.want(t, 145)
}

func TestClockRowIsAsDocumented(t *testing.T) {
	c := newClock(mixed(), false)
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.record(0, 100)
	c.stamp(1, from0, 80, offsets.Data)
	c.stamp(1, from1, 70, offsets.Idle)
	const want = "01" + "0000000000000050" + "02" + // version, now = 80, inputs
		"00" + "06" + "6f7264657273" + "01" + "00" + "1e" + // source, "orders", a channel, active, +15
		"01" + "03" + "686f70" + "02" + // repartition, "hop", channels
		"0100" + "00" + "00" + // task 1-0, active, +0
		"0101" + "01" + "13" // task 1-1, idle, -10
	row := c.appendRow(nil)
	if got := hex.EncodeToString(row); got != want {
		t.Fatalf("row  %s\nwant %s", got, want)
	}
	for name, knows := range map[string]bool{"producers known before": true, "producers known after": false} {
		t.Run(name, func(t *testing.T) {
			d := newClock(mixed(), false)
			if knows {
				d.setUpstream(1, []offsets.Task{from0, from1})
			}
			if err := d.decodeRow(row); err != nil || rowTime(row) != 80 {
				t.Fatal(rowTime(row), err)
			}
			if !knows {
				d.setUpstream(1, []offsets.Task{from0, from1})
			}
			if got := hex.EncodeToString(d.appendRow(nil)); got != want {
				t.Errorf("row  %s\nwant %s", got, want)
			}
		})
	}
}

// A loop is in nobody's way, heard or not, known or not, and leaves nothing in the row.
func TestLoopsAreNotInTheClock(t *testing.T) {
	plain := newClock(mixed(), false)
	c := newClock(slices.Insert(mixed(), 1, Input{Topic: "again", Internal: true, Loop: true, Upstream: []int{0, 1}}), false)
	c.setUpstream(1, []offsets.Task{from0, {Sub: 0}})
	c.setUpstream(2, []offsets.Task{from0, from1})
	plain.setUpstream(1, []offsets.Task{from0, from1})
	c.record(0, 100)
	c.record(1, 500)
	c.stamp(1, from0, 900, offsets.Data)
	c.stamp(1, offsets.Task{Sub: 0}, 900, offsets.Heartbeat)
	c.want(t, NoTime)
	c.stamp(2, from0, 80, offsets.Data)
	c.stamp(2, from1, 70, offsets.Idle)
	c.want(t, 80)
	if c.idle() || c.input(1) != NoTime {
		t.Errorf("idle %v, the loop is at %d", c.idle(), c.input(1))
	}
	plain.record(0, 100)
	plain.stamp(1, from0, 80, offsets.Data)
	plain.stamp(1, from1, 70, offsets.Idle)
	row := c.appendRow(nil)
	if got, want := hex.EncodeToString(row), hex.EncodeToString(plain.appendRow(nil)); got != want {
		t.Errorf("row  %s\nwant %s", got, want)
	}
	// A plan whose loop had another name, or was none, leaves nothing to it.
	d := newClock([]Input{{Topic: "hop", Internal: true, Loop: true}, {Topic: "orders"}}, false)
	if err := d.decodeRow(row); err != nil || len(d.inputs[0].channels) != 0 {
		t.Errorf("%+v, %v", d.inputs, err)
	}
	d.want(t, 95) // of orders alone
	c.stamp(2, from0, 85, offsets.Idle)
	c.tick(0)
	c.tick(1)
	c.tick(101)
	if !c.idle() {
		t.Error("a loop keeps its task awake")
	}
}

// A plan may lose and gain inputs and producers; what is left keeps its time.
func TestClockRowOfAnotherPlan(t *testing.T) {
	c := newClock(mixed(), false)
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.record(0, 100)
	c.stamp(1, from0, 90, offsets.Data)
	c.stamp(1, from1, 80, offsets.Data)
	d := newClock(append([]Input{{Topic: "new"}}, mixed()[1:]...), false)
	if err := d.decodeRow(c.appendRow(nil)); err != nil {
		t.Fatal(err)
	}
	d.setUpstream(1, []offsets.Task{from1, {Sub: 7}})
	d.want(t, 80)
	if d.inputs[1].channels[0].time != 80 || d.inputs[1].channels[1].time != NoTime || d.inputs[0].channels[0].time != NoTime {
		t.Errorf("%+v", d.inputs)
	}
}

func FuzzClockRow(f *testing.F) {
	c := newClock(mixed(), false)
	c.setUpstream(1, []offsets.Task{from0, from1})
	f.Add(c.appendRow(nil))
	c.record(0, -100)
	c.stamp(1, from1, 1<<40, offsets.Idle)
	f.Add(c.appendRow(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, row []byte) {
		d := newClock(mixed(), false)
		if err := d.decodeRow(row); err != nil {
			return
		}
		d.setUpstream(1, []offsets.Task{from0, from1})
		again := newClock(mixed(), false)
		again.setUpstream(1, []offsets.Task{from0, from1})
		if err := again.decodeRow(d.appendRow(nil)); err != nil {
			t.Fatal(err)
		}
		if again.now != d.now {
			t.Fatalf("now %d, again %d", d.now, again.now)
		}
	})
}

// The clock that looks at the holder only, against one that looks at everything.
func TestClockAgainstTheModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		producers := []offsets.Task{from0, from1, {Sub: 2}, {Sub: 2, Partition: 1}}
		c := newClock(mixed(), false)
		c.setUpstream(1, producers)
		times := [5]int64{NoTime, NoTime, NoTime, NoTime, NoTime}
		var idle [5]bool
		now, processing, silent := int64(NoTime), int64(0), int64(0)
		settle := func() {
			low := int64(math.MaxInt64)
			for i := range times {
				if !idle[i] {
					low = min(low, times[i])
				}
			}
			if low != math.MaxInt64 {
				now = max(now, low)
			}
		}
		c.tick(0)
		for step := range 400 {
			switch at := int64(step) + rng.Int64N(50); rng.IntN(8) {
			case 0:
				processing += rng.Int64N(60)
				c.tick(processing)
				if c.inputs[0].channels[0].last == processing {
					silent = processing
				} else if processing-silent >= 100 {
					idle[0] = true
				}
			case 1:
				i := rng.IntN(4)
				c.stamp(1, producers[i], at, offsets.Idle)
				times[i+1], idle[i+1] = max(times[i+1], at), false
				settle()
				idle[i+1] = true
			case 2, 3:
				c.record(0, at)
				times[0], idle[0] = max(times[0], at-5), false
			default:
				i := rng.IntN(4)
				c.stamp(1, producers[i], at, offsets.Data)
				times[i+1], idle[i+1] = max(times[i+1], at), false
			}
			settle()
			if c.now != now || c.idle() != !slices.Contains(idle[:], false) {
				t.Fatalf("seed %d step %d: now %d idle %v, want %d idle %v", seed, step, c.now, c.idle(), now, idle)
			}
		}
	}
}

func TestSaturation(t *testing.T) {
	for _, c := range []struct{ got, want int64 }{
		{satAdd(NoTime, 5), NoTime},
		{satAdd(math.MaxInt64-1, 5), math.MaxInt64},
		{satAdd(1, 5), 6},
		{satSub(NoTime, 5), NoTime},
		{satSub(NoTime+3, 5), NoTime},
		{satSub(1, 5), -4},
	} {
		if c.got != c.want {
			t.Errorf("got %d, want %d", c.got, c.want)
		}
	}
}
