package task

import (
	"math"

	"github.com/weir-stream/weir/offsets"
)

// clock is the event time of one task. It is pure: processing time comes in by tick.
//
// Each source input is one channel: its time is the highest record time minus the allowed
// disorder. Each repartition input is a channel per task that writes it, whose time is
// what that task stamped; NoTime until heard. A loop has no channels, and holds back nothing but
// the end. Invariants:
//
//	now never decreases, channel.time never decreases (but by rollback, to what was committed)
//	now >= min(time of the channels that are not idle); max(time) if all are
//	now is EndOfTime when all channels are, idle or not, and all loops have ended, and not before
//
// A channel at the end holds nothing back, and does not move time for the others.
//
// The second is an equality but where that went back: a channel that was idle may come
// back with an old time, a new writer with none.
type clock struct {
	inputs     []clockInput
	streamTime bool

	now, savedNow     int64
	dirty, savedDirty bool // differs from the row in the store
	processing        int64
	ticked            bool // processing is known
}

type clockInput struct {
	topic      string
	internal   bool
	loop       bool
	ended      bool // of a loop: all that was fed to it before time ended has come
	savedEnded bool
	disorder   int64
	idleAfter  int64 // 0: never
	channels   []channel
	known      bool // the list of channels is final: a source, or setUpstream was called
	lastSender int  // index of the channel heard last: records come in runs of one producer
}

type channel struct {
	producer        offsets.Task // of a repartition channel
	time, savedTime int64
	idle, savedIdle bool
	heard           bool  // since the last tick
	last            int64 // processing time of the tick that saw it heard
}

func newClock(inputs []Input, streamTime bool) *clock {
	c := &clock{inputs: make([]clockInput, len(inputs)), streamTime: streamTime, now: NoTime, savedNow: NoTime}
	for i, in := range inputs {
		c.inputs[i] = clockInput{
			topic: in.Topic, internal: in.Internal, loop: in.Loop,
			disorder: in.MaxDisorder.Milliseconds(), idleAfter: in.IdleAfter.Milliseconds(),
		}
		if !in.Internal {
			c.inputs[i].known = true
			c.inputs[i].channels = []channel{{time: NoTime, savedTime: NoTime}}
		}
	}
	return c
}

// setUpstream says who writes a repartition input. What was heard of them is kept.
func (c *clock) setUpstream(input int, producers []offsets.Task) {
	in := &c.inputs[input]
	if in.loop {
		return
	}
	channels := make([]channel, 0, len(producers))
	for _, p := range producers {
		ch := channel{producer: p, time: NoTime, savedTime: NoTime, last: c.processing}
		if i := in.find(p); i >= 0 {
			ch = in.channels[i]
		}
		channels = append(channels, ch)
	}
	in.channels, in.known, in.lastSender, c.dirty = channels, true, 0, true
	c.settle()
}

// resume puts back what was committed of an input where no row has it: the lowest time of
// its channels. So the only channel of a source is where it was; those of a repartition
// topic are no further than they were, and their producers say the rest. None is idle: a
// source gets its IdleAfter anew, because records may have come while nobody read them.
func (c *clock) resume(input int, time int64) {
	in := &c.inputs[input]
	in.ended = in.loop && time == EndOfTime
	for i := range in.channels {
		in.channels[i].time = max(in.channels[i].time, time)
	}
	c.settle()
}

// end ends the time of an input: a source is not read any more, a loop has been emptied.
func (c *clock) end(input int) {
	if in := &c.inputs[input]; in.loop {
		in.ended = true
		c.settle()
		return
	}
	c.hear(&c.inputs[input].channels[0], EndOfTime)
}

func (in *clockInput) find(p offsets.Task) int {
	if in.lastSender < len(in.channels) && in.channels[in.lastSender].producer == p {
		return in.lastSender
	}
	if i := int(p.Partition); i < len(in.channels) && in.channels[i].producer == p {
		return i // one sub-topology writes it, and its tasks are in order
	}
	for i := range in.channels {
		if in.channels[i].producer == p {
			return i
		}
	}
	return -1
}

// record moves the channel of a source by the time of a record.
func (c *clock) record(input int, time int64) {
	in := &c.inputs[input]
	if in.internal {
		return // its time comes with the stamps
	}
	c.hear(&in.channels[0], satSub(min(time, EndOfTime-1), in.disorder)) // no record ends time
}

// stamp is what a producer said of its time. Who is not a producer of this input, as the
// plan has it, moves nothing: waiting for one that may never speak again would stop time.
func (c *clock) stamp(input int, from offsets.Task, watermark int64, kind offsets.StampKind) {
	in := &c.inputs[input]
	i := 0
	if in.internal {
		if i = in.find(from); i < 0 {
			return
		}
		in.lastSender = i
	}
	ch := &in.channels[i]
	c.hear(ch, watermark)
	if kind == offsets.Idle {
		ch.idle, ch.heard, c.dirty = true, false, true
		c.settle()
	}
}

func (c *clock) hear(ch *channel, time int64) {
	ch.heard = true
	woke, old := ch.idle, ch.time
	if woke {
		ch.idle, c.dirty = false, true
	}
	if time > old {
		ch.time, c.dirty = time, true
	} else if !woke {
		return
	}
	switch {
	case c.streamTime && time < EndOfTime:
		c.now = max(c.now, ch.time)
	case woke || old <= c.now: // else another channel holds time back
		c.settle()
	}
}

// settle moves now to the minimum, if that is further. All channels idle: nobody is waited
// for, so what any of them said holds, whichever of them fell idle last. All of them at the
// end: so is now. One that is idle may still have sent what was not read yet, so the end is
// waited for from everybody.
func (c *clock) settle() {
	low, high, active := int64(math.MaxInt64), int64(NoTime), false
	seen, ended := false, true
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.loop {
			seen, ended = true, ended && in.ended
			continue
		}
		if !in.known || len(in.channels) == 0 {
			low, active, ended = NoTime, true, false
			continue
		}
		for j := range in.channels {
			ch := &in.channels[j]
			seen = true
			if ch.time == EndOfTime {
				continue
			}
			ended, high = false, max(high, ch.time)
			if !ch.idle {
				low, active = min(low, ch.time), true
			}
		}
	}
	if seen && ended {
		c.now = EndOfTime
		return
	}
	if active && !c.streamTime {
		high = low
	}
	c.now = max(c.now, high)
}

// tick is processing time: a source that was silent for its IdleAfter becomes idle. It
// counts from the first tick after start, so a restart does not make anything idle.
func (c *clock) tick(now int64) {
	first := !c.ticked
	c.processing, c.ticked = now, true
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.internal {
			continue // its producers say it themselves
		}
		ch := &in.channels[0]
		switch {
		case first || ch.heard:
			ch.last, ch.heard = now, false
		case !ch.idle && ch.time != EndOfTime && in.idleAfter > 0 && now-ch.last >= in.idleAfter:
			ch.idle, c.dirty = true, true
			c.settle()
		}
	}
}

// tickDue says whether tick(now) would make a source idle.
func (c *clock) tickDue(now int64) bool {
	if !c.ticked {
		return false
	}
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.internal || in.idleAfter == 0 {
			continue
		}
		if ch := &in.channels[0]; !ch.heard && !ch.idle && ch.time != EndOfTime && now-ch.last >= in.idleAfter {
			return true
		}
	}
	return false
}

// input is the lowest channel of an input, idle or not; NoTime of a loop that has not ended.
func (c *clock) input(i int) int64 {
	in := &c.inputs[i]
	if in.ended {
		return EndOfTime
	}
	if !in.known || len(in.channels) == 0 {
		return NoTime
	}
	low := in.channels[0].time
	for j := range in.channels {
		low = min(low, in.channels[j].time)
	}
	return low
}

// idle says that nothing holds or moves time: whoever waits for this task need not.
func (c *clock) idle() bool {
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.loop {
			continue
		}
		if !in.known || len(in.channels) == 0 {
			return false
		}
		for j := range in.channels {
			if !in.channels[j].idle {
				return false
			}
		}
	}
	return true
}

func (c *clock) commit() {
	c.savedNow, c.savedDirty = c.now, c.dirty
	for i := range c.inputs {
		c.inputs[i].savedEnded = c.inputs[i].ended
		for j := range c.inputs[i].channels {
			ch := &c.inputs[i].channels[j]
			ch.savedTime, ch.savedIdle = ch.time, ch.idle
		}
	}
}

func (c *clock) rollback() {
	c.now, c.dirty = c.savedNow, c.savedDirty
	for i := range c.inputs {
		c.inputs[i].ended = c.inputs[i].savedEnded
		for j := range c.inputs[i].channels {
			ch := &c.inputs[i].channels[j]
			ch.time, ch.idle = ch.savedTime, ch.savedIdle
		}
	}
}

// satAdd and satSub add and subtract a duration d >= 0; NoTime stays NoTime, EndOfTime stays
// EndOfTime, and nothing wraps around.
func satAdd(t, d int64) int64 {
	switch {
	case t == NoTime:
		return NoTime
	case t > math.MaxInt64-d:
		return math.MaxInt64
	}
	return t + d
}

func satSub(t, d int64) int64 {
	switch {
	case t == EndOfTime:
		return EndOfTime
	case t < math.MinInt64+d:
		return NoTime
	}
	return t - d
}
