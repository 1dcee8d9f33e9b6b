package epoch

import (
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// The model driver: what processor does around the machine, in the same order and with the
// same duties, over the model of Kafka.

// nTasks tasks in two stages. Tasks 0 and 1 read two source partitions each, count per key
// and write to two repartition partitions; tasks 2 and 3 read one of these each, count per
// key and write to two output partitions. Each has a changelog.
const nTasks = 4

var taskIDs = [nTasks]offsets.Task{{Sub: 0, Partition: 0}, {Sub: 0, Partition: 1}, {Sub: 1, Partition: 0}, {Sub: 1, Partition: 1}}

func taskIndex(t offsets.Task) int { return int(2*t.Sub + t.Partition) }

// Partitions: 0-3 sources, 4-5 repartition, 6-7 output, 8-11 changelogs.
const (
	nInputs    = 6
	outputs    = 6
	changelogs = 8
	nParts     = 12
)

var taskInputs = [nTasks][]int{{0, 1}, {2, 3}, {4}, {5}}

const nKeys = 4

type rows [nKeys]int

// lease is the membership under which records are read.
type lease struct{ member, gen int }

func (now lease) validUnder(old lease) bool {
	return old.member == 0 || now.member == old.member && now.gen >= old.gen
}

// polled is a record in memory.
type polled struct {
	input, offset int
	e             entry
}

// running is a task at work.
type runningTask struct {
	i         int
	ledger    offsets.EpochID
	committed []int // per input
	processed []int
	fetched   []int
	queue     []polled
	read      int
	rows      rows // committed, in memory
	overlay   rows
	dirty     [nKeys]bool // in the open epoch
	unapplied [nKeys]bool // committed, not on disk
	end       int         // of the changelog, committed
	newEnd    int
	touched   bool
	stopped   bool // before queue offset stopAt of input stopIn
	reached   bool
	stopIn    int
	stopAt    int
}

// base is a task's local state. Rows may be newer than the marker, never uncommitted.
type base struct {
	found bool
	rows  rows
	end   int
}

type disk [nTasks]base

// restore is one under way, outside the lane's goroutine.
type restoreWork struct {
	i     int
	stage int
	at    []position
	from  int
	rows  rows
	slow  bool // a large changelog
}

// What others push into the lane's inbox.
type (
	groupAssigned struct {
		tasks [nTasks]bool
		lease lease
	}
	groupRevoked  struct{ tasks [nTasks]bool }
	groupLost     struct{}
	restored      struct{ of *restoreWork }
	restoreFailed struct{ of *restoreWork }
	answered      struct{ e Event }
	stopWanted    struct{}
)

// output is a record of the open epoch; those that are not sent yet wait in the client.
type output struct {
	part int
	e    entry
}

// driver is a process with one lane.
type driver struct {
	w      *schedule
	name   string
	slot   int
	m      *Machine
	client client
	disk   *disk

	alive   bool
	frozen  bool
	cut     bool // the network to the group's coordinator is cut
	joined  bool
	booting int // stages before the group is joined
	exited  bool
	clean   bool

	id      int16 // producer epoch that the client has
	who     int16 // of the open transaction
	out     []output
	sent    int
	acked   int
	foreign int
	failed  code // first failed produce
	reached bool // anything may have come to the broker

	lease     lease
	held      bool // a poll holds the rebalance
	inbox     []any
	facts     []Event
	todo      []Action
	tasks     [nTasks]*runningTask
	restores  [nTasks]*restoreWork
	owned     [nTasks]bool
	retries   [nTasks]bool
	work      Action // in the background, for an answer
	got       map[offsets.Task]offsets.EpochID
	waiting   bool
	stalled   bool
	stopping  bool
	reiniting bool // the client initialises itself in the middle of a transaction
	trying    bool // the order at hand was tried before
	asleep    int  // turns that the order at hand still takes
	slept     bool // it was decided how long it takes

	script []step // what the machine was told, and what it ordered
}

// step is one event of a lane's script.
type step struct {
	e  Event
	as []Action
}

func (l *driver) current() lease { return lease{l.client.member, l.client.gen} }

// tell queues a fact: the machine hears it when its last orders are carried out.
func (l *driver) tell(e Event) { l.facts = append(l.facts, e) }

// turn is one small piece of the lane's goroutine. Everything else may happen
// between two of them.
func (l *driver) turn() {
	w := l.w
	switch {
	case len(l.todo) > 0:
		l.perform()
	case len(l.facts) > 0:
		e := l.facts[0]
		l.facts = l.facts[1:]
		w.count(l.m, e)
		l.m.Step(e)
		l.todo = l.m.Ready()
		l.script = append(l.script, step{e, l.todo})
		w.note(l, e, l.todo)
		if err := check(l.m); err != nil {
			w.k.violated("%s: %v", l.name, err)
		}
	case len(l.inbox) > 0:
		e := l.inbox[0]
		l.inbox = l.inbox[1:]
		l.handle(e)
	case l.waiting:
		if !l.stalled && w.chance(10) {
			l.stalled = true
			l.tell(Stalled{})
		}
	case l.m.Phase() == Idle && !l.held:
		l.held = !w.rules.loose || !l.backlog() // the bracket begins with a poll, also when there is enough to do
		l.poll()
		if w.rules.loose && l.backlog() {
			l.between()
		}
	default:
		l.between()
	}
}

// useful says whether a turn would do anything.
func (l *driver) useful() bool {
	return len(l.todo)+len(l.facts)+len(l.inbox) > 0 || l.waiting && !l.stalled || l.m.Phase() != Idle && !l.waiting || l.backlog() ||
		slices.Contains(l.retries[:], true) || slices.ContainsFunc(l.tasks[:], l.more)
}

// more says whether a poll would bring records of the task, or the task has come to the
// record that failed.
func (l *driver) more(t *runningTask) bool {
	if t == nil {
		return false
	}
	for n, in := range taskInputs[t.i] {
		if t.fetched[n] < l.w.k.parts[in].stable() {
			return true
		}
	}
	return t.stopped && !t.reached
}

// between is the part of a bracket that the machine does not order.
func (l *driver) between() {
	w := l.w
	for i := range l.retries {
		if l.retries[i] && w.chance(30) {
			l.retries[i] = false
			l.tell(Retry{taskIDs[i]})
			return
		}
	}
	now := l.current()
	lost := l.running() && !now.validUnder(l.lease)
	if lost && (l.m.Phase() == Open || w.rules.leaseOnSight) {
		if w.rules.leaseOnSight {
			l.lease = now
		}
		l.tell(LeaseLost{})
		return
	}
	for i, t := range l.tasks {
		if t != nil && t.stopped && !t.reached && l.atStop(t) {
			t.reached = true
			l.tell(Reached{taskIDs[i]})
			return
		}
	}
	switch l.m.Phase() {
	case Idle:
		// Under a new member id nothing begins before the new assignment is known: the tasks
		// may be somebody else's, and Kafka would take our commits all the same.
		if l.backlog() && !lost && w.chance(90) {
			l.tell(Wanted{})
		} else {
			l.tell(Due{})
		}
	case Open:
		switch {
		case w.chance(25) || !l.backlog():
			l.tell(Due{})
		case w.chance(20):
			l.poll()
		default:
			l.process()
		}
	}
}

func (l *driver) running() bool {
	return slices.ContainsFunc(l.tasks[:], func(t *runningTask) bool { return t != nil })
}

func (l *driver) pending(t *runningTask) bool {
	return t != nil && t.read < len(t.queue) && !l.atStop(t)
}

func (l *driver) backlog() bool { return slices.ContainsFunc(l.tasks[:], l.pending) }

func (l *driver) atStop(t *runningTask) bool {
	return t.stopped && t.read < len(t.queue) && t.queue[t.read].input == t.stopIn && t.queue[t.read].offset == t.stopAt
}

// poll takes over records, a few at a time.
func (l *driver) poll() {
	for i, t := range l.tasks {
		if t == nil || !l.client.owned[i] && !l.owned[i] {
			continue
		}
		for n, in := range taskInputs[i] {
			p := l.w.k.parts[in]
			for take := l.w.rng.IntN(4); take > 0 && t.fetched[n] < p.stable(); {
				if at := t.fetched[n]; p.visible(at) {
					t.queue = append(t.queue, polled{n, at, p.log[at]})
					take--
				}
				t.fetched[n]++
			}
		}
	}
}

// process runs one record of a random task.
func (l *driver) process() {
	var ready []*runningTask
	for _, t := range l.tasks {
		if l.pending(t) {
			ready = append(ready, t)
		}
	}
	t := ready[l.w.rng.IntN(len(ready))]
	if !t.touched {
		t.touched = true
		l.tell(Touched{taskIDs[t.i]})
		return
	}
	q := t.queue[t.read]
	if l.w.fails(t.i, q.e.id) {
		t.stopped, t.reached, t.stopIn, t.stopAt = true, false, q.input, q.offset
		l.tell(Failed{taskIDs[t.i]})
		return
	}
	if !filtered(q.e.id) {
		if !t.dirty[q.e.key] {
			t.dirty[q.e.key] = true
			t.overlay[q.e.key] = t.rows[q.e.key]
		}
		t.overlay[q.e.key]++
		part := outputs + t.i - 2
		if t.i < 2 {
			part = 4 + q.e.key%2
		}
		l.emit(part, entry{key: q.e.key, count: t.overlay[q.e.key], id: q.e.id, task: t.i})
	}
	t.processed[q.input] = q.offset + 1
	t.read++
	if l.w.chance(50) {
		l.produce()
	}
}

// filtered records have no effect but the position.
func filtered(id int) bool { return id%4 == 3 }

func (l *driver) emit(part int, e entry) {
	l.out = append(l.out, output{part, e})
	l.sent++
}

// produce sends what waits in the client; it stops when the coordinator is busy.
func (l *driver) produce() bool {
	w := l.w
	for len(l.out) > 0 {
		o := l.out[0]
		epoch := l.id
		c := w.request(func() code { return w.k.produce(l.slot, epoch, o.part, o.e) })
		if c == concurrent {
			return false
		}
		l.out = l.out[1:]
		l.reached = true
		switch {
		case c != ok:
			if l.failed == ok {
				l.failed = c
			}
		case epoch != l.who:
			l.foreign++
			fallthrough
		default:
			l.acked++
			if o.part >= changelogs {
				t := l.tasks[o.part-changelogs]
				t.newEnd = max(t.newEnd, w.k.end1(o.part))
			}
		}
	}
	return true
}

// end1 is the offset after the last record.
func (k *kafka) end1(part int) int { return len(k.parts[part].log) }

// handle turns what others pushed into facts.
func (l *driver) handle(e any) {
	switch e := e.(type) {
	case groupAssigned:
		if !e.lease.validUnder(l.lease) && !l.w.rules.leaseByAssigned {
			l.tell(LeaseLost{})
		}
		l.lease = e.lease
		var ts []offsets.Task
		for i := range e.tasks {
			if l.owned[i] = l.owned[i] || e.tasks[i]; e.tasks[i] {
				ts = append(ts, taskIDs[i])
			}
		}
		if len(ts) > 0 {
			l.tell(Assigned{ts})
		}
	case groupRevoked:
		var ts []offsets.Task
		for i := range e.tasks {
			if e.tasks[i] {
				l.owned[i] = false
				ts = append(ts, taskIDs[i])
			}
		}
		l.tell(Revoked{ts})
	case groupLost:
		l.owned = [nTasks]bool{}
		l.tell(MembershipLost{})
	case restored:
		l.startTask(e.of)
	case restoreFailed:
		if r := e.of; l.restores[r.i] == r {
			l.restores[r.i] = nil
			l.retries[r.i] = true
			l.tell(RestoreFailed{taskIDs[r.i]})
		}
	case answered:
		l.waiting = false
		l.tell(e.e)
	case stopWanted:
		if !l.stopping {
			l.stopping = true
			l.tell(Stop{})
		}
	}
}

// startTask puts a restored task to work, unless its restore was cancelled meanwhile.
func (l *driver) startTask(r *restoreWork) {
	if l.restores[r.i] != r {
		return
	}
	l.restores[r.i] = nil
	t := &runningTask{i: r.i, ledger: r.at[0].id, rows: r.rows, end: r.at[0].end, newEnd: r.at[0].end}
	for _, p := range r.at {
		t.committed = append(t.committed, p.offset)
	}
	t.processed, t.fetched = slices.Clone(t.committed), slices.Clone(t.committed)
	l.tasks[r.i] = t
	l.tell(Restored{taskIDs[r.i], t.ledger})
}

// adopt makes the open epoch the task's committed state.
func (t *runningTask) adopt(id offsets.EpochID) {
	t.ledger, t.end = id, t.newEnd
	copy(t.committed, t.processed)
	for k := range t.dirty {
		if t.dirty[k] {
			t.rows[k], t.dirty[k], t.unapplied[k] = t.overlay[k], false, true
		}
	}
	t.queue, t.read, t.touched = slices.Clone(t.queue[t.read:]), 0, false
}

// rollback takes the open epoch back; its records are processed again from memory.
func (t *runningTask) rollback() {
	t.newEnd = t.end
	t.dirty = [nKeys]bool{}
	copy(t.processed, t.committed)
	t.read, t.touched, t.reached = 0, false, false
}

// apply writes committed rows to disk, as many as pick says; the marker follows when all
// are there.
func (t *runningTask) apply(b *base, pick func(int) int) {
	if !b.found {
		*b = base{found: true}
	}
	left := pick(2*nKeys) + 1
	for k := range t.unapplied {
		if t.unapplied[k] {
			if left--; left < 0 {
				return
			}
			b.rows[k], t.unapplied[k] = t.rows[k], false
		}
	}
	b.end = t.end
}
