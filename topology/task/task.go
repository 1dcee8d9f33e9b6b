package task

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// Task is one running copy of a sub-topology: one goroutine at a time.
type Task struct {
	graph     *Graph
	sub       *Sub
	partition int32
	env       Env
	stores    []Store
	inputs    []func(*Raw) error

	// What the operators made at start, looked up or walked, never searched per record.
	shared  map[int]any
	windows []*Windows // by node: upstream first

	clock           *clock
	time, savedTime int64 // watermark as far as windows were closed: time <= clock.now
	late, savedLate int64

	raw *Raw   // record in work, nil while time moves without one
	rec Record // what the operators make of it
	at  int    // node whose code runs
	row []byte
}

// Start makes the task of a sub-topology for one partition number. Its stores may be read
// from Restore on, not earlier.
func (g *Graph) Start(sub int, partition int32, env Env) *Task {
	s := &g.Subs[sub]
	t := &Task{
		graph: g, sub: s, partition: partition, env: env,
		shared: map[int]any{}, clock: newClock(s.Inputs, g.StreamTime), time: NoTime, savedTime: NoTime,
	}
	for i := range s.Stores {
		t.stores = append(t.stores, env.Store(i))
	}
	for i := range s.Inputs {
		t.inputs = append(t.inputs, s.Inputs[i].Open(t))
	}
	slices.SortStableFunc(t.windows, func(a, b *Windows) int { return cmp.Compare(a.node, b.node) })
	return t
}

// Process is the whole effect of one record: its way through the operators, the time it
// moves, the windows that this closes.
func (t *Task) Process(input int, r *Raw) (err error) {
	defer t.recovered(&err)
	t.raw = r
	if err := t.inputs[input](r); err != nil {
		return err
	}
	return t.advance()
}

// Stamped is what the producer of a repartition record said of its time. It comes before
// Process of that record, or alone with a heartbeat. On a source input it moves the input's
// only channel, whoever from is; on a loop nothing. It may close windows.
func (t *Task) Stamped(input int, from offsets.Task, watermark int64, kind offsets.StampKind) (err error) {
	defer t.recovered(&err)
	t.raw = nil
	t.clock.stamp(input, from, watermark, kind)
	return t.advance()
}

// EndInput ends the time of a source or of a loop: what it would still bring is late. When all
// inputs are at the end so is the task, and its windows close.
func (t *Task) EndInput(input int) (err error) {
	defer t.recovered(&err)
	t.raw = nil
	t.clock.end(input)
	return t.advance()
}

// Tick is processing time in ms. A source that was silent for its IdleAfter is no longer
// waited for, which may close windows.
func (t *Task) Tick(now int64) (err error) {
	defer t.recovered(&err)
	t.raw = nil
	t.clock.tick(now)
	return t.advance()
}

// TickDue says whether Tick(now) would have an effect, so that it needs an open epoch.
// When it is false, Tick only notes the time and may be called between epochs.
func (t *Task) TickDue(now int64) bool { return t.time < t.clock.now || t.clock.tickDue(now) }

// Flush ends an epoch: what was kept back to its end is emitted, and the watermark vector
// is written if it changed and is state.
func (t *Task) Flush() (err error) {
	defer t.recovered(&err)
	t.raw = nil
	for _, w := range t.windows {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if !t.sub.HasTime || !t.clock.dirty {
		return nil
	}
	t.row = t.clock.appendRow(t.row[:0])
	if err := t.stores[0].Put(clockRowKey, t.row); err != nil {
		return fmt.Errorf("write watermark row of task %s: %w", t.id(), err)
	}
	t.clock.dirty = false
	return nil
}

// Watermark is what the task tells those that read its repartition topics: no record that
// is emitted from now on is older, but for those that are late themselves. It is current
// at every Emit, also while windows close.
func (t *Task) Watermark() int64 { return satSub(t.time, t.sub.Hold.Milliseconds()) }

// InputWatermark is the time of one input: the lowest of its channels.
func (t *Task) InputWatermark(input int) int64 { return t.clock.input(input) }

// Idle says that all channels are idle: time stands still, and whoever waits for this
// task need not.
func (t *Task) Idle() bool { return t.clock.idle() }

// Late is the number of records that came after their window had closed, since start.
func (t *Task) Late() int64 { return t.late }

// SetUpstream says who writes a repartition input. Their channels start at NoTime. Of a loop
// it does not matter.
func (t *Task) SetUpstream(input int, producers []offsets.Task) {
	t.clock.setUpstream(input, producers)
}

// Restore puts time back, once the stores are open and SetUpstream was called: from the row
// of the watermark vector or, where there is none, to floor, what Watermark was, and the
// inputs to what InputWatermark was of each (nil: not known). It finds the windows that are
// open.
func (t *Task) Restore(floor int64, inputs []int64) error {
	t.time = floor
	found := false
	if t.sub.HasTime {
		row, ok, err := t.stores[0].Get(clockRowKey)
		if err == nil && ok {
			err = t.clock.decodeRow(row)
		}
		if err != nil {
			return fmt.Errorf("restore time of task %s: %w", t.id(), err)
		}
		if found = ok; found {
			t.time = rowTime(row)
		}
	}
	for i, time := range inputs {
		if !found || t.sub.Inputs[i].Loop { // no row has loops
			t.clock.resume(i, time)
		}
	}
	t.clock.now = max(t.clock.now, t.time)
	for _, w := range t.windows {
		if err := w.findOldest(UserRows); err != nil {
			return fmt.Errorf("restore windows of task %s: %w", t.id(), err)
		}
	}
	t.Committed()
	return nil
}

// Committed makes the present state the one that Rollback goes back to: the epoch's fate
// is known, and it is committed.
func (t *Task) Committed() {
	t.clock.commit()
	t.savedTime, t.savedLate = t.time, t.late
	for _, w := range t.windows {
		w.savedOldest = w.oldest
	}
}

// Rollback goes back to the last Committed: the epoch was aborted. Stores are rolled back
// by who owns them, before or after.
func (t *Task) Rollback() {
	t.clock.rollback()
	t.time, t.late, t.raw = t.savedTime, t.savedLate, nil
	for _, w := range t.windows {
		w.oldest = w.savedOldest
		w.drop()
	}
}

// advance closes windows until nothing is due at the watermark. Time goes along with it:
// while the windows that close at c do so, it is c - 1.
func (t *Task) advance() error {
	now := t.clock.now
	for t.time < now {
		var next *Windows
		for _, w := range t.windows {
			if w.oldest != none && w.closes() <= now && (next == nil || w.closes() < next.closes()) {
				next = w
			}
		}
		if next == nil {
			t.time = now
			break
		}
		t.time = max(t.time, next.closes()-1)
		if err := next.closeOldest(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Task) id() offsets.Task {
	return offsets.Task{Sub: int32(t.sub.ID), Partition: t.partition}
}
