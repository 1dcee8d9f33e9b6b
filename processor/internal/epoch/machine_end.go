package epoch

import "github.com/weir-stream/weir/offsets"

// due ends the open epoch. Without one the driver's bracket ends.
func (m *Machine) due() {
	switch m.phase {
	case Idle:
		m.order(Release{})
	case Open:
		touched := m.touched()
		if len(touched) == 0 {
			m.becomeAborting(true)
			return
		}
		m.become(Flushing, Open)
		m.order(Flush{touched})
	}
}

func (m *Machine) becomeSending() {
	m.become(Sending, Flushing)
	m.attempts = map[offsets.Task]Attempt{}
	var list []Attempt
	for _, id := range m.touched() {
		t := m.tasks[id]
		a := Attempt{Task: id, Epoch: offsets.EpochID{Counter: t.ledger.Counter + 1, ProducerID: m.id, ProducerEpoch: m.epoch}, Prev: t.ledger}
		m.attempts[id] = a
		list = append(list, a)
	}
	m.order(SendOffsets{list})
}

// attempt is what the epoch would make of a task; before the offsets are sent it has no id.
func (m *Machine) attempt(id offsets.Task) Attempt {
	if a, ok := m.attempts[id]; ok {
		return a
	}
	return Attempt{Task: id, Prev: m.tasks[id].ledger}
}

// failedBy branches on a verdict that is not OK.
func (m *Machine) failedBy(v Verdict, otherwise func()) {
	switch {
	case v == Fenced && !m.faults.ignoreFencing:
		m.becomeFenced()
	case v == FencedForEver:
		m.drop()
		m.exit(false)
	default:
		otherwise()
	}
}

// becomeAborting takes the epoch back. A wished abort is our own decision over a sound
// transaction; after any other, Kafka is asked what it has.
func (m *Machine) becomeAborting(wished bool) {
	m.become(Aborting, Open, Flushing, Sending)
	m.wished = wished
	m.order(EndAbort{})
}

func (m *Machine) becomeDoubt(s stage) {
	m.become(Doubt, Idle, Beginning, Ending, Aborting, Open, Flushing, Sending)
	m.stage, m.stalled, m.restart = s, false, false
	if s == stageReinit {
		m.order(Reinit{})
		return
	}
	m.compare()
}

// becomeFenced: another one has our transactional id, or had it. Nothing of ours that is
// undecided counts; tasks start afresh from what Kafka has.
func (m *Machine) becomeFenced() {
	m.drop()
	for _, id := range m.running() {
		m.close(id, ReasonFenced)
	}
	m.becomeDoubt(stageReinit)
	m.restart = true
}

// drop settles what is undecided as having no effect here.
func (m *Machine) drop() {
	for _, id := range m.touched() {
		m.order(Settle{Dropped, m.attempt(id)})
		m.tasks[id].touched = false
	}
}

func (m *Machine) ended(v Verdict) {
	m.must(Ending)
	switch {
	case v == OK, m.faults.unknownIsCommitted && v == Unknown:
		m.commit()
		m.settled()
	case m.faults.unknownIsAborted && v == Unknown:
		m.rollBack()
		m.settled()
	default:
		// Whatever else was answered, only the positions say what happened.
		m.failedBy(v, func() { m.becomeDoubt(stageReinit) })
	}
}

func (m *Machine) aborted(v Verdict) {
	m.must(Aborting)
	switch {
	case v == OK && (m.wished || m.faults.neverCompare):
		m.rollBack()
		m.settled()
	case v == OK:
		m.becomeDoubt(stageFetch)
	default:
		m.failedBy(v, func() { m.becomeDoubt(stageReinit) })
	}
}

func (m *Machine) controlRead(stop bool) {
	switch {
	case stop:
		m.drop()
		m.exit(false)
	case m.restart:
		for _, id := range m.sorted(func(t *task) bool { return t.state == closed }) {
			m.restore(id)
		}
		m.settled()
	default:
		m.stage = stageFetch
		m.compare()
	}
}

// compare asks for the epoch ids of all tasks, not only of the touched ones: a membership
// that was lost may have given any of them to somebody else for a while.
func (m *Machine) compare() {
	if ts := m.running(); len(ts) > 0 {
		m.order(FetchOffsets{ts})
		return
	}
	m.settled()
}

// fetched decides each task by what Kafka has: our attempt, the state before it, or
// something that is not ours.
func (m *Machine) fetched(epochs map[offsets.Task]offsets.EpochID) {
	if m.stage != stageFetch {
		return
	}
	for _, id := range m.running() {
		t := m.tasks[id]
		a, sent := m.attempts[id]
		got, ok := epochs[id]
		switch {
		case ok && t.touched && sent && got == a.Epoch:
			m.adopt(id)
		case ok && got == t.ledger, m.faults.keepDiverged:
			if t.touched {
				t.touched, t.reached = false, false
				m.order(Settle{RolledBack, m.attempt(id)})
			}
		default:
			if t.touched {
				m.order(Settle{Dropped, m.attempt(id)})
			}
			m.close(id, ReasonDiverged)
			m.restore(id)
		}
	}
	m.settled()
}

// commit: Kafka has the epoch.
func (m *Machine) commit() {
	for _, id := range m.touched() {
		m.adopt(id)
	}
}

func (m *Machine) adopt(id offsets.Task) {
	t := m.tasks[id]
	a := m.attempts[id]
	t.ledger, t.touched = a.Epoch, false
	m.order(Settle{Committed, a})
}

// rollBack: Kafka does not have the epoch and never will. Its records are replayed, and
// tasks that had come to their failed record come to it again.
func (m *Machine) rollBack() {
	for _, id := range m.touched() {
		t := m.tasks[id]
		t.touched, t.reached = false, false
		m.order(Settle{RolledBack, m.attempt(id)})
	}
}

// settled ends an epoch whose fate is known for every task.
func (m *Machine) settled() {
	m.phase, m.attempts = Idle, nil
	for _, id := range m.sorted(func(t *task) bool { return t.leaving }) {
		why := m.tasks[id].reason
		delete(m.tasks, id)
		m.order(Close{id, why})
	}
	for _, id := range m.sorted(func(t *task) bool { return t.state == running && t.reached }) {
		m.close(id, ReasonFailed)
	}
	if m.stopping {
		m.exit(true)
		return
	}
	m.order(Release{})
}
