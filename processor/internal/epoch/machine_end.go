package epoch

import "github.com/weir-stream/weir/offsets"

// began: the transaction is open. What was learnt while Begin was out comes first.
func (m *Machine) began(e Began) {
	m.become(Open, Beginning)
	m.id, m.epoch, m.attempts = e.ProducerID, e.ProducerEpoch, nil
	if m.suspect || m.stopping {
		m.becomeAborting(true, Open)
	}
}

// due ends the open epoch. Without one the driver's bracket ends.
func (m *Machine) due() {
	switch m.phase {
	case Idle:
		m.order(Release{})
	case Open:
		touched := m.touched()
		if len(touched) == 0 {
			m.becomeAborting(true, Open)
			return
		}
		m.become(Flushing, Open)
		m.order(Flush{touched})
	}
}

func (m *Machine) flushed(v Verdict) {
	m.must(Flushing)
	switch {
	case m.isOK(v) && !m.suspect:
		m.becomeSending()
	default:
		m.failedBy(v, func() { m.becomeAborting(false, Flushing) })
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

func (m *Machine) sent(v Verdict) {
	m.must(Sending)
	if v == Lost {
		m.suspectAll()
	}
	switch {
	case m.isOK(v) && !m.suspect:
		if m.faults.adoptEarly {
			m.commit()
		}
		m.become(Ending, Sending)
		m.order(EndCommit{})
	default:
		m.failedBy(v, func() { m.becomeAborting(false, Sending) })
	}
}

func (m *Machine) ended(v Verdict) {
	m.must(Ending)
	if m.isOK(v) {
		m.commit()
		m.becomeIdle()
		return
	}
	// Whatever else was answered, only the positions say what happened.
	m.failedBy(v, func() { m.becomeDoubt(stageReinit) })
}

// isOK says whether the order was carried out.
func (m *Machine) isOK(v Verdict) bool { return v == OK || m.faults.ignoreFencing && v == Fenced }

// attempt is what the epoch would make of a task; before the offsets are sent it has no id.
func (m *Machine) attempt(id offsets.Task) Attempt {
	if a, ok := m.attempts[id]; ok {
		return a
	}
	return Attempt{Task: id, Prev: m.tasks[id].ledger}
}

// failedBy branches on a verdict that does not let the epoch go on.
func (m *Machine) failedBy(v Verdict, otherwise func()) {
	switch v {
	case Fenced:
		m.becomeFenced()
	case FencedForEver:
		m.drop()
		m.exit(false)
	default:
		otherwise()
	}
}

// becomeAborting takes the epoch back. A wished abort is our own decision over a sound
// transaction; after any other, Kafka is asked what it has.
func (m *Machine) becomeAborting(wished bool, from ...Phase) {
	m.become(Aborting, from...)
	m.wished = wished
	m.order(EndAbort{})
}

// aborted: a commit can no longer follow. A refusal may have come from a stranger's doing,
// so unless the abort was our wish the positions are compared. They cannot carry the
// attempt; if they did, fetched would take that for the truth.
func (m *Machine) aborted(v Verdict) {
	m.must(Aborting)
	switch {
	case v == OK && (m.faults.neverCompare || m.wished && !m.suspect):
		m.rollBack()
		m.suspect = false
		m.becomeIdle()
	case v == OK:
		m.becomeDoubt(stageFetch)
	default:
		m.failedBy(v, func() { m.becomeDoubt(stageReinit) })
	}
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
		m.rollBackTask(id)
	}
}

func (m *Machine) rollBackTask(id offsets.Task) {
	t := m.tasks[id]
	t.touched, t.reached = false, false
	m.order(Settle{RolledBack, m.attempt(id)})
}

// drop settles what is undecided as having no effect here.
func (m *Machine) drop() {
	for _, id := range m.touched() {
		m.dropTask(id)
	}
}

func (m *Machine) dropTask(id offsets.Task) {
	if t := m.tasks[id]; t.touched {
		t.touched = false
		m.order(Settle{Dropped, m.attempt(id)})
	}
}

// becomeIdle ends an epoch whose fate is known for every task. If somebody may have had
// the tasks meanwhile, they are compared before anything else.
func (m *Machine) becomeIdle() {
	m.become(Idle, Ending, Aborting, Doubt)
	m.attempts, m.restart = nil, false
	m.depart()
	for _, id := range m.sorted(func(t *task) bool { return t.reached }) {
		m.close(id, ReasonFailed)
	}
	if m.stopping {
		m.exit(true)
		return
	}
	suspect := m.suspect && !m.faults.neverCompare && len(m.running()) > 0
	if m.suspect = false; suspect {
		m.becomeDoubt(stageFetch)
		return
	}
	m.order(Release{})
}

// exit closes everything. The undecided was settled before.
func (m *Machine) exit(clean bool) {
	for _, id := range m.all() {
		m.order(Close{id, ReasonStopped})
	}
	clear(m.tasks)
	m.attempts, m.suspect = nil, false
	m.phase = Exited
	m.order(Exit{clean})
}
