package epoch

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// turn lets a lane do one thing, chosen at random among what is possible.
func (l *lane) turn() {
	w := l.w
	if len(l.answers) > 0 && (w.chance(70) || l.m.Phase() != Idle && l.m.Phase() != Doubt) {
		f := l.answers[0]
		l.answers = l.answers[1:]
		f()
		return
	}
	l.group()
	if !l.alive || l.exited {
		return
	}
	switch l.m.Phase() {
	case Doubt:
		if w.chance(20) && !l.stalled {
			l.stalled = true
			l.tell(Stalled{})
		}
	case Idle:
		for _, id := range w.tasks {
			if t := l.tasks[id]; t != nil && t.stop == t.next && !t.reached {
				t.reached = true
				l.tell(Reached{id})
				return
			}
		}
		switch {
		case l.silent, w.chance(2):
			l.silent = false
			l.tell(LeaseLost{})
		case w.chance(20):
			id := w.tasks[w.rand.IntN(len(w.tasks))]
			l.tell(Retry{id})
		case l.work() >= 0:
			l.tell(Wanted{})
		default:
			l.tell(Due{})
		}
	case Open:
		if i := l.work(); i >= 0 && w.chance(70) {
			l.process(w.tasks[i])
		} else if w.chance(3) {
			l.tell(LeaseLost{})
		} else {
			l.tell(Due{})
		}
	}
}

// work is the index of a task with something to process, or -1.
func (l *lane) work() int {
	start := l.w.rand.IntN(len(l.w.tasks))
	for i := range l.w.tasks {
		i = (i + start) % len(l.w.tasks)
		id := l.w.tasks[i]
		if t := l.tasks[id]; t != nil && l.m.Running(id) && t.next < l.w.records && t.stop != t.next {
			return i
		}
	}
	return -1
}

// process is one record's whole effect: output, state, position.
func (l *lane) process(id offsets.Task) {
	t, tx := l.tasks[id], &l.w.txns[l.slot]
	if !t.touched {
		t.touched = true
		l.tell(Touched{id})
	}
	if l.w.poison[id] == t.next {
		l.w.poison[id] = -1 // mended when it is tried again
		t.stop = t.next
		l.tell(Failed{id})
		return
	}
	if tx.open && tx.epoch == l.epoch {
		tx.outputs[id] = append(tx.outputs[id], t.next)
	}
	t.next++
	t.state++
	if t.stop == t.next && !t.reached {
		t.reached = true
		l.tell(Reached{id})
	}
}

// group delivers what the group has for the lane, only where the driver's bracket lets it.
func (l *lane) group() {
	if !l.released || l.m.Phase() != Idle && l.m.Phase() != Doubt {
		return
	}
	w := l.w
	if l.member == 0 {
		// Evicted while it slept: it hears of it, then joins again.
		l.member = w.gen
		l.wanted = nil
		l.tell(MembershipLost{})
		return
	}
	l.released = false
	if len(l.wanted) > 0 {
		gone := l.wanted
		l.wanted = nil
		for _, id := range gone {
			if w.owner[id] == l.slot {
				w.owner[id] = -1
			}
		}
		l.member = w.gen
		l.tell(Revoked{gone})
	}
}

// share lets the group give tasks that nobody has to lanes that are members.
func (w *world) share() {
	for _, id := range w.tasks {
		if w.owner[id] != -1 {
			continue
		}
		l := w.lanes[w.rand.IntN(len(w.lanes))]
		if !l.alive || l.exited || l.member == 0 || !(l.m.Phase() == Idle || l.m.Phase() == Doubt) || slices.Contains(l.wanted, id) {
			continue
		}
		w.gen++
		l.member = w.gen
		w.owner[id] = l.slot
		// The successor ends what a departed lane had open over the task, or waits for it.
		l.tell(Assigned{[]offsets.Task{id}})
	}
}

// disturb does something unkind.
func (w *world) disturb() {
	l := w.lanes[w.rand.IntN(len(w.lanes))]
	switch w.rand.IntN(6) {
	case 0: // the session ends: the lane does not know
		if l.alive && l.member != 0 {
			w.note("lane %d is evicted", l.slot)
			l.member = 0
			for _, id := range w.tasks {
				if w.owner[id] == l.slot {
					w.owner[id] = -1
				}
			}
			if w.chance(50) {
				w.fence(l.slot)
			}
		}
	case 1: // the group wants a task back
		for _, id := range w.tasks {
			if l.alive && w.owner[id] == l.slot && l.member != 0 {
				l.wanted = append(l.wanted, id)
				break
			}
		}
	case 2: // the broker aborts a transaction that took too long
		w.note("transaction of lane %d is aborted by the broker", l.slot)
		w.fence(l.slot)
	case 3:
		if l.alive && w.chance(30) {
			l.crash()
		}
	case 4:
		if l.alive && !l.exited && (w.chance(20) || w.crashAt.action == "epoch.Exit") {
			l.tell(Stop{})
		}
	case 5: // the client rejoins by itself: meanwhile somebody else processed a record
		for _, id := range w.tasks {
			if at := w.positions[id]; l.alive && w.owner[id] == l.slot && l.member != 0 && at.next < w.records {
				w.note("task %s of lane %d was elsewhere for a while", id, l.slot)
				w.stable(id)
				w.outputs[id] = append(w.outputs[id], at.next)
				w.state[id]++
				w.positions[id] = committed{at.next + 1, offsets.EpochID{Counter: at.epoch.Counter + 1, ProducerID: 99, ProducerEpoch: int16(w.gen)}}
				l.silent = true
				break
			}
		}
	}
}

// run plays one schedule and heals the world at its end.
func (w *world) run() error {
	for step := 0; step < 3000; step++ {
		healing := step > 120
		if !healing && w.chance(8) {
			w.disturb()
		}
		l := w.lanes[w.rand.IntN(len(w.lanes))]
		switch {
		case !l.alive || l.exited:
			if w.over {
				continue
			}
			if w.chance(30) {
				l.start()
			}
		default:
			l.turn()
		}
		w.share()
		if len(w.wrong) > 0 {
			break
		}
		if healing && w.done() {
			break
		}
	}
	return w.check()
}

// done: every record is committed and nothing is open.
func (w *world) done() bool {
	for _, id := range w.tasks {
		if w.positions[id].next != w.records {
			return false
		}
	}
	return !slices.ContainsFunc(w.txns, func(t txn) bool { return t.open })
}

func (w *world) check() error {
	for _, id := range w.tasks {
		for i, k := range w.outputs[id] {
			if i != k {
				w.fail("I1: task %s: output %d is of record %d: %v", id, i, k, w.outputs[id])
				break
			}
		}
		if n := len(w.outputs[id]); n != w.positions[id].next {
			w.fail("I6: task %s: %d outputs, position %d", id, n, w.positions[id].next)
		}
		if w.state[id] != w.positions[id].next {
			w.fail("I4: task %s: state %d, position %d", id, w.state[id], w.positions[id].next)
		}
	}
	if !w.over && len(w.wrong) == 0 && !w.done() {
		w.fail("I10: not everything was processed: %v", w.positions)
	}
	if len(w.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(w.wrong, "\n"))
}

var kinds = []Action{Begin{}, Flush{}, SendOffsets{}, EndCommit{}, EndAbort{}, Reinit{}, ReadControl{}, FetchOffsets{}, Settle{}, Restore{}, Close{}, Release{}, Exit{}}

// schedules is how many are played: WEIR_SCHEDULES asks for more.
func schedules(t *testing.T, n int) int {
	if s := os.Getenv("WEIR_SCHEDULES"); s != "" {
		more, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("WEIR_SCHEDULES: %v", err)
		}
		return more
	}
	return n
}

// play runs one seed; a panic of the machine is a finding like any other.
func play(seed uint64, at crashPoint, f faults, m mutant, over bool) (w *world, err error) {
	w = newWorld(seed, 2+int(seed%2))
	w.crashAt, w.mutant = at, m
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	for _, l := range w.lanes {
		l.start()
		l.m.faults = f
	}
	if over {
		w.over = w.chance(50)
	}
	err = w.run()
	return w, err
}

// TestEverySchedule plays random schedules with a crash before and after every action.
func TestEverySchedule(t *testing.T) {
	hits := map[crashPoint]int{}
	n := schedules(t, 30_000)
	for seed := range uint64(n) {
		at := crashPoint{fmt.Sprintf("%T", kinds[int(seed/2)%len(kinds)]), seed%2 == 1}
		w, err := play(seed, at, faults{}, "", false)
		for p, c := range w.hits {
			hits[p] += c
		}
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(w.trace, "\n"))
		}
	}
	for _, k := range kinds {
		for _, after := range []bool{false, true} {
			p := crashPoint{fmt.Sprintf("%T", k), after}
			when := map[bool]string{false: "before", true: "after"}[after]
			t.Logf("crash %-6s %-20s %6d", when, strings.TrimPrefix(p.action, "epoch."), hits[p])
			if hits[p] < 50 {
				t.Errorf("a crash %s %s was tried %d times, want 50", when, p.action, hits[p])
			}
		}
	}
}

// TestPlantedBugsAreFound takes rules out, one at a time: the exploration must notice.
func TestPlantedBugsAreFound(t *testing.T) {
	for name, plant := range map[string]struct {
		faults faults
		mutant mutant
	}{
		"unknown end counts as committed": {faults: faults{unknownIsCommitted: true}},
		"unknown end counts as aborted":   {faults: faults{unknownIsAborted: true}},
		"effects adopted before the end":  {faults: faults{adoptEarly: true}},
		"a diverged task goes on":         {faults: faults{keepDiverged: true}},
		"positions are never compared":    {faults: faults{neverCompare: true}},
		"offsets sent without a lease":    {mutant: "lease ignored"},
		"failed produces are not noticed": {mutant: "flush errors ignored"},
		"an older state with new offsets": {mutant: "old state restored"},
	} {
		t.Run(name, func(t *testing.T) {
			const most = 5_000
			for seed := range uint64(most) {
				if _, err := play(seed, crashPoint{}, plant.faults, plant.mutant, false); err != nil {
					t.Logf("found by seed %d: %.120s", seed, err)
					return
				}
			}
			t.Errorf("not found in %d schedules", most)
		})
	}
}
