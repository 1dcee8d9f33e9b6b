package task

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
)

// Time ends when every channel has ended: one that is idle may have sent what was not read
// yet, and one that has ended holds nothing back.
func TestTimeEndsWithTheLastChannel(t *testing.T) {
	for _, streamTime := range []bool{false, true} {
		c := newClock(mixed(), streamTime)
		c.setUpstream(1, []offsets.Task{from0, from1})
		c.record(0, 105)
		c.stamp(1, from0, 40, offsets.Data)
		c.stamp(1, from1, 50, offsets.Idle)
		c.stamp(1, from0, EndOfTime, offsets.Heartbeat)
		if c.now == EndOfTime {
			t.Fatalf("stream time %t: it has ended with one of three", streamTime)
		}
		c.stamp(0, from0, EndOfTime, offsets.Heartbeat)
		if c.now == EndOfTime {
			t.Fatalf("stream time %t: it has ended, and who is idle may have sent something", streamTime)
		}
		c.tick(0)
		if c.tickDue(1000) {
			t.Error("a source that has ended falls idle")
		}
		c.stamp(1, from1, EndOfTime, offsets.Heartbeat)
		c.want(t, EndOfTime)
		if got := c.input(1); got != EndOfTime {
			t.Errorf("the input is at %d", got)
		}
	}
}

// A loop holds back nothing but the end, and what its records say of time does not end it. That it
// has ended is found again in the position, and taken back with an epoch that is lost.
func TestTimeEndsWithTheLastLoop(t *testing.T) {
	inputs := append(mixed(), Input{Topic: "again", Internal: true, Loop: true})
	c := newClock(inputs, false)
	c.setUpstream(1, []offsets.Task{from0})
	c.record(0, 105)
	c.stamp(1, from0, 40, offsets.Data)
	c.end(0)
	c.stamp(1, from0, EndOfTime, offsets.Heartbeat)
	c.stamp(2, from0, EndOfTime, offsets.Data)
	c.want(t, 40)
	if c.input(2) != NoTime {
		t.Errorf("the loop is at %d", c.input(2))
	}
	c.commit()
	c.end(2)
	c.want(t, EndOfTime)
	if c.input(2) != EndOfTime {
		t.Errorf("the loop is at %d", c.input(2))
	}
	c.rollback()
	c.want(t, 40)
	for _, ended := range []bool{false, true} {
		again := newClock(inputs, false)
		again.setUpstream(1, []offsets.Task{from0})
		if err := again.decodeRow(c.appendRow(nil)); err != nil {
			t.Fatal(err)
		}
		if again.want(t, 40); ended {
			again.resume(2, EndOfTime)
			again.want(t, EndOfTime)
		}
	}
}

func TestAChannelThatHasEndedHoldsNothingBack(t *testing.T) {
	c := newClock(mixed(), false)
	c.setUpstream(1, []offsets.Task{from0, from1})
	c.stamp(1, from0, 40, offsets.Data)
	c.stamp(1, from1, 50, offsets.Data)
	c.stamp(0, from0, EndOfTime, offsets.Heartbeat)
	c.want(t, 40)
	c.stamp(1, from0, EndOfTime, offsets.Heartbeat)
	c.want(t, 50)
}

// A record far in the future is one that is far in the future.
func TestNoRecordEndsTime(t *testing.T) {
	c := newClock([]Input{{Topic: "in"}}, false)
	c.record(0, EndOfTime)
	c.want(t, EndOfTime-1)
}

// At the end every window closes once, oldest first, and a task without windows or with a
// hold is at the end, too.
func TestAllWindowsFireAtTheEnd(t *testing.T) {
	for _, hold := range []time.Duration{0, time.Minute} {
		var fired []string
		g, env := bySecond(&fired), &storeEnv{}
		g.Subs[0].Hold = hold
		task := g.Start(0, 0, env)
		for i, in := range g.Subs[0].Inputs {
			if in.Internal {
				task.SetUpstream(i, []offsets.Task{from0})
			}
		}
		if err := task.Restore(NoTime, nil); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := task.Process(0, &Raw{Key: fmt.Append(nil, "k", i), Value: []byte("v"), Time: int64(i) * 1000}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // said again, it has no effect
			for i := range g.Subs[0].Inputs {
				if err := task.Stamped(i, from0, EndOfTime, offsets.Heartbeat); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(fired) != 3 || task.Watermark() != EndOfTime {
			t.Errorf("hold %s: %v fired, the watermark is %d", hold, fired, task.Watermark())
		}
		if err := task.Flush(); err != nil {
			t.Fatal(err)
		}
		again := g.Start(0, 0, env)
		for i, in := range g.Subs[0].Inputs {
			if in.Internal {
				again.SetUpstream(i, []offsets.Task{from0})
			}
		}
		if err := again.Restore(EndOfTime, nil); err != nil || again.Watermark() != EndOfTime {
			t.Errorf("restored it is at %d, %v", again.Watermark(), err)
		}
	}
}

// What was drained in one life of a task has not ended in the next, where its sources are read
// on: not in a row at the end, and not in one that was half way there.
func TestMappedRowHasNotEnded(t *testing.T) {
	for _, ended := range []int{1, 2, 3} {
		c := newClock(mixed(), false)
		c.setUpstream(1, []offsets.Task{from0, from1})
		c.record(0, 105)
		c.stamp(1, from0, 40, offsets.Data)
		c.stamp(1, from1, 50, offsets.Data)
		want := int64(40)
		c.stamp(1, from1, EndOfTime, offsets.Heartbeat)
		if ended > 1 {
			c.stamp(1, from0, EndOfTime, offsets.Heartbeat)
			want = 100
		}
		if ended > 2 {
			c.stamp(0, from0, EndOfTime, offsets.Heartbeat)
			want = NoTime
		}
		ended, err := ParseTimeRow(c.appendRow(nil))
		if err != nil {
			t.Fatal(err)
		}
		row := ended.Reborn().Append(nil)
		next := newClock(mixed(), false)
		next.setUpstream(1, []offsets.Task{from0, from1})
		if err := next.decodeRow(row); err != nil {
			t.Fatal(err)
		}
		next.want(t, want)
		next.record(0, 2000)
		next.stamp(1, from0, 3000, offsets.Data)
		next.want(t, want) // who had ended is heard again first
		next.stamp(1, from1, 4000, offsets.Data)
		next.want(t, 1995)
	}
}
