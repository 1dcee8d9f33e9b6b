package epoch

import "github.com/weir-stream/weir/offsets"

// becomeDoubt asks Kafka. Tasks that were taken away meanwhile do not wait for its answer:
// whoever has them restores from it.
func (m *Machine) becomeDoubt(s stage) {
	m.become(Doubt, Idle, Beginning, Open, Flushing, Sending, Ending, Aborting)
	m.stage, m.stalled, m.restart = s, false, false
	m.depart()
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
	m.depart()
	for _, id := range m.running() {
		m.close(id, ReasonFenced)
		m.tasks[id].fenced = true
	}
	m.becomeDoubt(stageReinit)
	m.restart = true
}

func (m *Machine) producerReady() {
	m.at(stageReinit)
	m.stage = stageControl
	if m.faults.skipControl {
		m.controlRead(false)
		return
	}
	m.order(ReadControl{})
}

func (m *Machine) controlRead(stop bool) {
	m.at(stageControl)
	switch {
	case stop:
		m.drop()
		m.exit(false)
	case m.restart:
		for _, id := range m.sorted(func(t *task) bool { return t.fenced }) {
			if m.tasks[id].fenced = false; !m.stopping {
				m.restore(id)
			}
		}
		m.becomeIdle()
	case m.faults.unknownIsCommitted && m.attempts != nil:
		m.commit()
		m.becomeIdle()
	case m.faults.unknownIsAborted:
		m.rollBack()
		m.becomeIdle()
	default:
		m.compare()
	}
}

// compare asks for the epoch ids of all running tasks, not only of the touched ones: a
// membership that was lost may have given any of them to somebody else for a while.
// What is suspected later needs another answer.
func (m *Machine) compare() {
	m.stage, m.suspect = stageFetch, false
	ts := m.running()
	if len(ts) == 0 {
		m.becomeIdle()
		return
	}
	for _, id := range ts {
		m.tasks[id].asked = true
	}
	m.order(FetchOffsets{ts})
}

// fetched decides each task by what Kafka has: our attempt, the state before it, or
// something that is not ours. Tasks that came after the question are not judged by it.
func (m *Machine) fetched(epochs map[offsets.Task]offsets.EpochID) {
	m.at(stageFetch)
	for _, id := range m.sorted(func(t *task) bool { return t.asked }) {
		t := m.tasks[id]
		t.asked = false
		a, sent := m.attempts[id]
		got, ok := epochs[id]
		switch {
		case ok && t.touched && sent && got == a.Epoch:
			m.adopt(id)
		case ok && got == t.ledger, m.faults.keepDiverged:
			if t.touched {
				m.rollBackTask(id)
			}
		default:
			m.dropTask(id)
			m.close(id, ReasonDiverged)
			if !m.stopping {
				m.restore(id)
			}
		}
	}
	m.becomeIdle()
}
