package checkpoint

import (
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// The model driver: what processor does around a Participant, with the same duties, over the model of Kafka.

type phase uint8

const (
	booting phase = iota // the producer is not initialised
	idle
	open
	sending // the epoch is closed, the offsets are not sent
	ending  // they are
	doubt   // EndTxn was not answered
)

// work is a task that runs.
type work struct {
	lease     lease
	committed progress
	now       progress // in the open epoch
	member    *Member
	held      bool
	own       map[uint64][2]int // rules.trimOwn: positions of the cuts that this owner took
}

// lane is a process with one lane.
type lane struct {
	w      *world
	n      int // which, of all there were
	slot   int
	alive  bool
	frozen bool
	p      *Participant
	tape   *tape
	seen   int // next record of the control log
	phase  phase
	epoch  int16 // producer epoch
	tx     *transaction
	tasks  [nTasks + 1]*work

	touched [nTasks + 1]bool
	attempt [nTasks + 1]progress
	end     bool // the epoch is to end
	host    *host
	uploads []uploading
	wrote   [nTasks][]last // and may build on
}

func (w *world) newLane(slot int) *lane {
	l := &lane{w: w, n: len(w.lanes), slot: slot, alive: true, p: NewParticipant()}
	l.p.faults = w.rules.participantFaults
	l.tape = w.record("new participant")
	w.lanes = append(w.lanes, l)
	w.bySlot[slot] = l
	return l
}

// tell steps the machine and carries out its orders.
func (l *lane) tell(e Event) {
	l.tape.add(e)
	l.p.Step(e)
	if err := checkParticipant(l.p); err != nil {
		l.w.k.violated("after %q: %v", Text(e), err)
	}
	orders := l.p.Ready()
	for _, a := range orders {
		l.tape.add(a)
	}
	for _, a := range orders {
		if l.w.crashes(l, a, before) {
			return
		}
		l.carryOut(a)
		if l.w.crashes(l, a, after) {
			return
		}
	}
}

func (l *lane) carryOut(a Action) {
	switch a := a.(type) {
	case EndEpoch:
		l.end = true
	case Take:
		t := taskIndex(a.Task)
		w := l.tasks[t]
		l.touched[t] = true
		w.now.cut = a.ID
		if a.Ack {
			l.acknowledge(t, a.ID)
		}
	case Hold:
		l.tasks[taskIndex(a.Task)].held = true
	case Resume:
		l.tasks[taskIndex(a.Task)].held = false
	case Upload:
		w := l.tasks[taskIndex(a.Task)]
		l.uploading(taskIndex(a.Task), a.ID, w.committed.id, w.committed.state)
	case Abandon:
		l.uploads = slices.DeleteFunc(l.uploads, func(u uploading) bool { return u.cut == a.ID })
	}
}

// attemptID is the epoch id that the task gets if the open epoch commits.
func (l *lane) attemptID(t int) offsets.EpochID {
	return offsets.EpochID{Counter: l.tasks[t].committed.id.Counter + 1, ProducerID: int64(l.slot), ProducerEpoch: l.epoch}
}

func (l *lane) acknowledge(t int, cut uint64) {
	wk := l.tasks[t]
	tx := l.tx
	if l.w.rules.looseAcks {
		tx = nil
	}
	if l.w.rules.trimOwn {
		wk.own = map[uint64][2]int{cut: wk.now.pos}
	}
	l.w.k.acks.add(tx, report{ack: true, task: t, cut: cut, epoch: l.attemptID(t), pos: wk.now.pos})
	if l.w.moods.hasty {
		// Against the rules it uploads before the fate of the epoch is known.
		// Nothing is built upon that: the task takes the cut again if the epoch is aborted.
		l.uploads = append(l.uploads, uploading{task: t, cut: cut, epoch: l.attemptID(t), state: wk.now.state, hasty: true})
	}
}

// turn does the next thing of the lane's loop.
func (l *lane) turn() {
	w := l.w
	switch l.phase {
	case booting:
		if w.bySlot[l.slot] != l {
			w.crash(l) // another process has the identity by now
			return
		}
		if epoch, ok := w.k.initialise(l.slot); ok {
			l.epoch, l.phase = epoch, idle
		}
	case idle, open:
		switch {
		case l.phase == idle && l.group():
		case (l.end || l.p.CutWanted()) && w.chance(60) || l.phase == open && w.chance(15): // perhaps after the batch
			l.close()
		case l.host != nil && len(l.host.writes) > 0 && !l.host.carried && w.chance(50):
			l.write()
		case w.trouble(w.moods.abort) && l.phase == open:
			l.finish(false)
		default:
			l.process()
		}
	case sending:
		if !w.k.commitOffsets(l.slot, l.tx, l.leases(), l.pendings()) {
			l.finish(false)
			return
		}
		l.phase = ending
	case ending:
		switch {
		case w.trouble(w.moods.doubt):
			if w.chance(50) {
				w.k.end(l.slot, l.tx, true)
			}
			l.phase = doubt
		case w.k.end(l.slot, l.tx, true):
			l.epoch++
			l.settle(true)
		default:
			l.phase = doubt
		}
	case doubt:
		l.resolve()
	}
}

// group follows the assignment, between epochs: at most one task comes or goes per call.
func (l *lane) group() bool {
	for t := range l.tasks {
		mine := l.w.k.owners[t].lane == l.n
		switch {
		case l.tasks[t] != nil && l.w.k.owners[t] != l.tasks[t].lease:
			l.drop(t)
			return true
		case l.tasks[t] == nil && mine && !l.w.trouble(l.w.moods.slow):
			at, stable := l.w.k.stableOffsets(t)
			if !stable {
				continue
			}
			l.restore(t, at)
			return true
		}
	}
	return false
}

func (l *lane) restore(t int, at progress) {
	wk := &work{lease: l.w.k.owners[t], committed: at, now: at}
	l.tasks[t] = wk
	if t == control {
		l.host = l.w.newHost(l)
		return
	}
	cut := at.cut
	if l.w.rules.forgetCut {
		cut = 0
	}
	l.tell(Came{taskIDs[t], cut})
	if l.alive {
		wk.member = l.p.Member(taskIDs[t])
	}
}

func (l *lane) drop(t int) {
	l.tasks[t] = nil
	if t == control {
		l.host = nil
		return
	}
	l.tell(Went{taskIDs[t]})
}

// begin opens a transaction if none is; false: the lane was fenced, which ends it here.
func (l *lane) begin() bool {
	if l.phase == open {
		if l.w.k.fenced(l.slot, l.tx) {
			l.w.crash(l)
		}
		return l.alive
	}
	tx := l.w.k.begin(l.slot, l.epoch)
	if tx == nil {
		l.w.crash(l)
		return false
	}
	if tx.prepared {
		return false // the last one is not over: later
	}
	l.tx, l.phase = tx, open
	return true
}

// process takes a record of a task that has one.
func (l *lane) process() {
	k := l.w.k
	first := l.w.rng.IntN(nTasks)
	for i := range nTasks {
		t := (first + i) % nTasks
		wk := l.tasks[t]
		if wk == nil || wk.held {
			continue
		}
		n := len(taskInputs[t])
		at := l.w.rng.IntN(n)
		for j := range n {
			c := (at + j) % n
			in := k.inputs[taskInputs[t][c]]
			for wk.now.pos[c] < in.stable() && !in.committed(wk.now.pos[c]) {
				wk.now.pos[c]++ // aborted: nothing a reader sees
			}
			if wk.now.pos[c] < in.stable() {
				l.one(t, c, in.log[wk.now.pos[c]].v)
				return
			}
		}
	}
}

// one processes a record, unless its sender has taken a cut that the task has not.
func (l *lane) one(t, c int, m message) {
	wk := l.tasks[t]
	if !wk.member.Passes(m.stamp) && !l.w.rules.noLaiYang {
		l.tell(Met{taskIDs[t], m.stamp})
		return
	}
	if !l.begin() {
		return
	}
	if wk.now.state.has(m.id, m.stage) {
		l.w.k.violated("record %d is processed twice at stage %d", m.id, m.stage)
	}
	l.touched[t] = true
	wk.now.pos[c]++
	wk.now.state.add(m.id, m.stage)
	if next := m.stage + 1; next < stages(m.id) {
		stamp := wk.member.Cut()
		if cut, undecided := l.p.Log().Undecided(); undecided && l.w.rules.stampUncommitted {
			stamp = max(stamp, cut.ID)
		}
		l.w.k.inputs[target(m.id, next)].add(l.tx, message{m.id, next, stamp})
	}
}

// write puts a record of the coordinator into the epoch.
func (l *lane) write() {
	if !l.begin() {
		return
	}
	r := l.host.writes[0]
	l.host.writes, l.host.carried = l.host.writes[1:], true
	l.touched[control] = true
	l.w.k.control.add(l.tx, r)
	l.tx.records = append(l.tx.records, r)
	l.end = true
}

// close ends the epoch: what it takes with it is decided now.
func (l *lane) close() {
	l.end = false
	if l.phase == idle && (!l.p.CutWanted() || !l.begin()) {
		return
	}
	if l.w.k.fenced(l.slot, l.tx) {
		l.phase = doubt
		return
	}
	var touched []offsets.Task
	for t := range nTasks {
		if l.touched[t] {
			touched = append(touched, taskIDs[t])
		}
	}
	l.tell(Closing{touched})
	if !l.alive {
		return
	}
	l.phase = sending
	if len(l.pendings()) == 0 {
		l.finish(false) // nothing to commit
	}
}

func (l *lane) pendings() (out []pending) {
	for t, wk := range l.tasks {
		if wk != nil && l.touched[t] {
			at := wk.now
			at.id, at.prev = l.attemptID(t), wk.committed.id
			l.attempt[t] = at
			out = append(out, pending{t, at})
		}
	}
	return out
}

func (l *lane) leases() (out []lease) {
	for t, wk := range l.tasks {
		if wk != nil && l.touched[t] {
			out = append(out, wk.lease)
		}
	}
	return out
}

// finish ends the transaction with an abort. A lane that was fenced meanwhile starts afresh.
func (l *lane) finish(commit bool) {
	if !l.w.k.end(l.slot, l.tx, commit) {
		l.phase = doubt
		return
	}
	l.epoch++
	l.settle(commit)
}

// settle: the fate of the epoch is known.
func (l *lane) settle(committed bool) {
	l.phase = idle
	for t, wk := range l.tasks {
		if wk != nil && l.alive {
			l.fate(t, committed)
		}
	}
	l.touched = [nTasks + 1]bool{}
}

// fate of the epoch for one task.
func (l *lane) fate(t int, committed bool) {
	wk := l.tasks[t]
	was := l.touched[t]
	if committed && was {
		wk.committed = l.attempt[t]
	}
	wk.now = wk.committed
	switch {
	case !was:
	case t == control:
		l.host.fate(committed)
	case committed:
		l.tell(Committed{taskIDs[t]})
	default:
		l.tell(Aborted{taskIDs[t]})
	}
}

// resolve asks Kafka what became of the epoch: a new initialisation decides it, the positions tell.
func (l *lane) resolve() {
	if l.w.bySlot[l.slot] != l {
		l.w.crash(l) // another process has the identity by now
		return
	}
	epoch, ok := l.w.k.initialise(l.slot)
	if !ok {
		return
	}
	l.epoch, l.phase = epoch, idle
	for t, wk := range l.tasks {
		if wk == nil || !l.alive {
			continue
		}
		switch at, stable := l.w.k.stableOffsets(t); {
		case stable && at.id == wk.committed.id:
			l.fate(t, false)
		case stable && l.touched[t] && at.id == l.attempt[t].id:
			l.fate(t, true)
		default:
			l.drop(t)
		}
	}
	l.touched = [nTasks + 1]bool{}
}

// read hands the next record of the control log to the machine.
func (l *lane) read() {
	log := l.w.k.control
	for l.seen < log.stable() || l.w.rules.readUncommitted && l.seen < len(log.log) {
		l.seen++
		if (log.committed(l.seen-1) || l.w.rules.readUncommitted) && !l.w.k.compacted.gone[l.seen-1] {
			l.tell(Logged{log.log[l.seen-1].v})
			return
		}
	}
}

// upload finishes one, or fails.
func (l *lane) upload() {
	w := l.w
	u := l.uploads[0]
	l.uploads = l.uploads[1:]
	if w.trouble(w.moods.uploadGone) {
		return
	}
	r := report{task: u.task, cut: u.cut, epoch: u.epoch, lost: w.trouble(w.moods.uploadLost)}
	if !r.lost {
		if now := l.tasks[u.task]; now != nil && w.rules.lateState {
			u.state = now.committed.state
		}
		r.object = w.store.put(u)
		if !u.apart && !u.hasty {
			l.wrote[u.task] = append(l.wrote[u.task], last{u.cut, u.state})
		}
	}
	w.k.acks.add(nil, r)
}

// trim deletes what a task has processed and no cut needs.
func (l *lane) trim(t int) {
	wk := l.tasks[t]
	if wk == nil || !l.w.rules.trimUndecided && !l.w.rules.trimOwn && !l.p.MayTrim(taskIDs[t]) {
		return
	}
	undecided, _ := l.p.Log().Undecided()
	for c, in := range taskInputs[t] {
		to := wk.committed.pos[c]
		if own, ok := wk.own[undecided.ID]; ok {
			to = min(to, own[c])
		}
		for _, cut := range l.p.Log().Completed() {
			if cut.Kind == Savepoint || cut.ID <= l.p.Log().Before() {
				continue
			}
			to = min(to, l.w.manifests[cut.ID].pos[t][c])
		}
		topic := l.w.k.inputs[in]
		topic.start = max(topic.start, to)
	}
}
