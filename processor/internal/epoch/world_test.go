package epoch

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// world is a model of Kafka as far as an epoch can see it: input partitions, transactions
// with fencing by producer epoch, a read-committed log, group offsets with epoch ids, and a
// group that moves tasks between lanes. One task reads one partition; its effect for record
// k is the output k and the state k+1, so every loss, repetition and stale state shows.
type world struct {
	rand    *rand.Rand
	records int // per partition
	tasks   []offsets.Task
	lanes   []*lane
	owner   map[offsets.Task]int // lane index by the group's book; -1: nobody
	gen     int

	txns      []txn                      // by lane slot: each has a transactional id
	outputs   map[offsets.Task][]int     // committed
	state     map[offsets.Task]int       // committed changelog, folded
	positions map[offsets.Task]committed // stable group offsets
	poison    map[offsets.Task]int       // a record that fails once
	over      bool                       // a newer timeline was intended

	mutant  mutant
	crashAt crashPoint
	hits    map[crashPoint]int // actions carried out or prevented, by crash
	trace   []string
	wrong   []string
}

type committed struct {
	next  int
	epoch offsets.EpochID
}

type txn struct {
	epoch   int16 // producer epoch that may write
	open    bool
	outputs map[offsets.Task][]int
	state   map[offsets.Task]int
	offsets map[offsets.Task]committed
}

// crashPoint is a place for a crash: before or after the nth action of a kind.
type crashPoint struct {
	action string
	after  bool
}

// mutant names a mistake of the driver, planted to see that it is found.
type mutant string

// lane is a model of the driver.
type lane struct {
	w        *world
	slot     int
	m        *Machine
	alive    bool
	member   int // generation under which it is a member; 0: not a member
	epoch    int16
	facts    []Event
	answers  []func() // of Reinit, ReadControl, FetchOffsets and Restore, delivered later
	tasks    map[offsets.Task]*laneTask
	wanted   []offsets.Task // what the group wants back
	silent   bool           // somebody else had its tasks for a while, without a callback
	stalled  bool
	exited   bool
	released bool
}

// laneTask is a task in a lane's memory.
type laneTask struct {
	next, base   int // position with and without the open epoch
	state, saved int // the same for state
	touched      bool
	stop         int // record before which the replay ends, -1: none
	reached      bool
}

func newWorld(seed uint64, lanes int) *world {
	w := &world{
		rand: rand.New(rand.NewPCG(seed, 1)), records: 6, owner: map[offsets.Task]int{},
		outputs: map[offsets.Task][]int{}, state: map[offsets.Task]int{}, positions: map[offsets.Task]committed{},
		poison: map[offsets.Task]int{}, hits: map[crashPoint]int{}, gen: 1,
	}
	for p := range int32(3) {
		t := offsets.Task{Partition: p}
		w.tasks = append(w.tasks, t)
		w.owner[t] = -1
		w.positions[t] = committed{}
		w.poison[t] = -1
		if w.rand.IntN(4) == 0 {
			w.poison[t] = w.rand.IntN(w.records)
		}
	}
	w.txns = make([]txn, lanes)
	for i := range lanes {
		w.lanes = append(w.lanes, &lane{w: w, slot: i})
	}
	return w
}

func (w *world) chance(percent int) bool { return w.rand.IntN(100) < percent }

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// fence is InitProducerId: what is open is aborted, older epochs may no longer write.
func (w *world) fence(slot int) int16 {
	t := &w.txns[slot]
	*t = txn{epoch: t.epoch + 1}
	return t.epoch
}

// commit makes an open transaction visible at once.
func (w *world) commit(slot int) {
	t := &w.txns[slot]
	for id, out := range t.outputs {
		w.outputs[id] = append(w.outputs[id], out...)
	}
	for id, s := range t.state {
		w.state[id] = s
	}
	for id, c := range t.offsets {
		w.positions[id] = c
	}
	*t = txn{epoch: t.epoch + 1} // transaction.version 2: each end bumps the epoch
}

// stable ends open transactions over a task's offsets, as their time-out or their
// successor's fence would, and returns its position.
func (w *world) stable(id offsets.Task) committed {
	for slot := range w.txns {
		if _, over := w.txns[slot].offsets[id]; over && w.txns[slot].open {
			w.fence(slot)
		}
	}
	return w.positions[id]
}

// start brings a lane up: first in its life or after a crash.
func (l *lane) start() {
	*l = lane{w: l.w, slot: l.slot, alive: true, m: New(), tasks: map[offsets.Task]*laneTask{}}
	l.epoch = l.w.fence(l.slot)
	if l.w.over {
		l.exited = true
		return
	}
	l.member = l.w.gen
	var mine []offsets.Task // a static member gets its tasks back
	for _, id := range l.w.tasks {
		if l.w.owner[id] == l.slot {
			mine = append(mine, id)
		}
	}
	l.w.note("lane %d starts with %v", l.slot, mine)
	if len(mine) > 0 {
		l.tell(Assigned{mine})
	}
}

// crash forgets everything in memory. The transaction stays open in the world.
func (l *lane) crash() {
	l.w.note("lane %d crashes", l.slot)
	l.alive = false
}

// tell steps the machine and carries out its orders, each of which may be the last.
func (l *lane) tell(e Event) {
	l.facts = append(l.facts, e)
	if len(l.facts) > 1 {
		return
	}
	for len(l.facts) > 0 && l.alive {
		e := l.facts[0]
		l.w.note("lane %d: %s", l.slot, Text(e))
		l.m.Step(e)
		for _, a := range l.m.Ready() {
			if !l.alive {
				return
			}
			l.w.note("lane %d:   -> %s", l.slot, Text(a))
			kind := fmt.Sprintf("%T", a)
			if l.crashes(crashPoint{kind, false}) {
				return
			}
			l.do(a)
			if l.alive && l.crashes(crashPoint{kind, true}) {
				return
			}
		}
		l.facts = l.facts[1:]
	}
}

func (l *lane) crashes(at crashPoint) bool {
	if l.w.crashAt != at || !l.w.chance(40) {
		return false
	}
	l.w.hits[at]++
	l.w.crashAt = crashPoint{}
	l.crash()
	return true
}

func (l *lane) do(a Action) {
	w := l.w
	t := &w.txns[l.slot]
	switch a := a.(type) {
	case Begin:
		switch {
		case t.epoch != l.epoch:
			l.tell(BeginFailed{Fenced})
		case w.chance(3):
			l.tell(BeginFailed{Unknown})
		default:
			*t = txn{epoch: t.epoch, open: true, outputs: map[offsets.Task][]int{}, state: map[offsets.Task]int{}, offsets: map[offsets.Task]committed{}}
			l.tell(Began{int64(l.slot), l.epoch})
		}
	case Flush:
		v := l.answer(t, 4)
		if v == OK {
			for _, id := range a.Tasks {
				t.state[id] = l.tasks[id].state
			}
		}
		if w.mutant == "flush errors ignored" {
			v = OK
		}
		l.tell(Flushed{v})
	case SendOffsets:
		v := l.answer(t, 4)
		if l.member == 0 || l.silent || (l.member != w.gen && l.evicted(a.Attempts)) {
			v, l.silent = Lost, false // the driver takes the lease of now
		}
		if v == OK || w.mutant == "lease ignored" && t.open {
			for _, x := range a.Attempts {
				t.offsets[x.Task] = committed{l.tasks[x.Task].next, x.Epoch}
			}
			v = OK
		}
		l.tell(Sent{v})
	case EndCommit:
		l.endCommit(t)
	case EndAbort:
		switch {
		case t.epoch != l.epoch && w.chance(50):
			l.tell(Aborted{Fenced})
		case t.epoch != l.epoch || w.chance(10):
			l.tell(Aborted{Unknown})
		default:
			l.epoch = w.fence(l.slot)
			l.tell(Aborted{OK})
		}
	case Reinit:
		l.stalled = false
		l.later(func() {
			l.epoch = w.fence(l.slot)
			l.tell(ProducerReady{})
		})
	case ReadControl:
		l.later(func() { l.tell(ControlRead{w.over}) })
	case FetchOffsets:
		l.later(func() {
			got := map[offsets.Task]offsets.EpochID{}
			for _, id := range a.Tasks {
				got[id] = w.stable(id).epoch
			}
			l.tell(Fetched{got})
		})
	case Settle:
		l.settle(a)
	case Restore:
		id := a.Task
		l.later(func() {
			if w.chance(5) {
				l.tell(RestoreFailed{id})
				return
			}
			at := w.stable(id)
			state := w.state[id]
			if w.mutant == "old state restored" && state > 0 {
				state--
			}
			l.tasks[id] = &laneTask{next: at.next, base: at.next, state: state, saved: state, stop: -1}
			l.tell(Restored{id, at.epoch})
		})
	case Close:
		delete(l.tasks, a.Task)
	case Release:
		l.released = true
	case Exit:
		l.exited = true
	default:
		panic(fmt.Sprintf("unknown action %T", a))
	}
}

func (l *lane) later(f func()) { l.answers = append(l.answers, f) }

// answer is that of a request inside the transaction.
func (l *lane) answer(t *txn, percent int) Verdict {
	switch {
	case t.epoch != l.epoch:
		return []Verdict{Fenced, Refused}[l.w.rand.IntN(2)]
	case l.w.chance(percent):
		return []Verdict{Refused, Unknown, Lost}[l.w.rand.IntN(3)]
	}
	return OK
}

// endCommit: done and said so, done without an answer, not done without an answer.
func (l *lane) endCommit(t *txn) {
	switch {
	case t.epoch != l.epoch:
		l.tell(Ended{[]Verdict{Fenced, Unknown, Refused}[l.w.rand.IntN(3)]})
	case l.w.chance(15):
		if l.w.chance(50) {
			l.w.commit(l.slot)
		}
		l.tell(Ended{Unknown})
	default:
		l.w.commit(l.slot)
		l.epoch = t.epoch
		l.tell(Ended{OK})
	}
}

// evicted says whether the group gave one of the tasks to somebody else.
func (l *lane) evicted(as []Attempt) bool {
	return slices.ContainsFunc(as, func(a Attempt) bool { return l.w.owner[a.Task] != l.slot })
}

// settle checks the verdict against what Kafka has, at once.
func (l *lane) settle(a Settle) {
	t := l.tasks[a.Attempt.Task]
	if t == nil {
		return
	}
	at := l.w.positions[a.Attempt.Task]
	switch a.Outcome {
	case Committed:
		if l.w.owner[a.Attempt.Task] == l.slot && at.epoch != a.Attempt.Epoch {
			l.w.fail("task %s adopts %s, Kafka has %s", a.Attempt.Task, a.Attempt.Epoch, at.epoch)
		}
		t.base, t.saved = t.next, t.state
	default:
		if a.Outcome == RolledBack && at.epoch == a.Attempt.Epoch && at.epoch != (offsets.EpochID{}) {
			l.w.fail("task %s rolls back to %s, Kafka has its attempt %s", a.Attempt.Task, a.Attempt.Prev, at.epoch)
		}
		t.next, t.state, t.reached = t.base, t.saved, false
	}
	t.touched = false
}
