package epoch

import (
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// assigned: new tasks get restored. A restore is harmless at any time: it waits for the
// stable positions, so also for whatever is undecided, our own attempt included.
func (m *Machine) assigned(ts []offsets.Task) {
	for _, id := range ts {
		switch t := m.tasks[id]; {
		case m.stopping:
		case t == nil:
			m.tasks[id] = &task{}
			m.restore(id)
		case t.leaving:
			t.back = true
		}
	}
}

func (m *Machine) restore(id offsets.Task) {
	*m.tasks[id] = task{state: restoring}
	m.order(Restore{id})
}

// taken: the group has taken tasks away. Between epochs that is all. In Doubt their
// undecided effects are dropped at once, because whoever has the task now restores what
// Kafka says. With a transaction open the epoch cannot commit any more, unless the commit
// is already out: its offsets were accepted while the task was ours.
func (m *Machine) taken(ts []offsets.Task, why Reason) {
	undecided := false
	for _, id := range ts {
		switch t := m.tasks[id]; {
		case t == nil:
		case t.leaving:
			t.back = false
		case t.touched && m.phase != Doubt:
			t.leaving, t.reason, undecided = true, why, true
		default:
			m.dropTask(id)
			m.leave(id, why)
		}
	}
	if !undecided {
		return
	}
	switch m.phase {
	case Open:
		m.becomeAborting(false, Open)
	case Flushing, Sending:
		m.suspect = true // the answer under way is followed by an abort
	}
}

// leave forgets a task that was taken away.
func (m *Machine) leave(id offsets.Task, why Reason) {
	delete(m.tasks, id)
	m.order(Close{id, why})
}

// depart lets the tasks go that were taken away while their effects were undecided.
func (m *Machine) depart() {
	for _, id := range m.sorted(func(t *task) bool { return t.leaving }) {
		t := m.tasks[id]
		m.dropTask(id)
		m.leave(id, t.reason)
		if t.back && !m.stopping {
			m.tasks[id] = &task{}
			m.restore(id)
		}
	}
}

// touch: the task takes part in the open epoch.
func (m *Machine) touch(id offsets.Task) {
	m.must(Open)
	if !m.Running(id) {
		panic(fmt.Sprintf("epoch: touched task %s does not run; history:\n%s", id, &m.history))
	}
	m.tasks[id].touched = true
}

// reached: everything before the failed record is done. What of it is undecided has to be
// committed before the task closes; if it is taken back, Reached comes again.
func (m *Machine) reached(id offsets.Task) {
	t := m.tasks[id]
	switch {
	case t == nil || t.state != running:
	case t.touched || m.phase == Doubt:
		t.reached = true
	default:
		m.close(id, ReasonFailed)
	}
}

// close ends a task that stays assigned.
func (m *Machine) close(id offsets.Task, why Reason) {
	*m.tasks[id] = task{state: closed}
	m.order(Close{id, why})
}

// leaseLost: the records in work were read under a membership that is gone. Somebody else
// may have processed them meanwhile: what Kafka has is compared with every ledger, and
// nothing of the open epoch commits.
func (m *Machine) leaseLost() {
	if m.faults.trustLease {
		return
	}
	m.suspectAll()
	switch m.phase {
	case Idle:
		m.suspect = false
		if len(m.running()) > 0 && !m.faults.neverCompare {
			m.becomeDoubt(stageFetch)
		}
	case Open:
		m.becomeAborting(false, Open)
	}
	// Else the answer under way is followed by an abort or a comparison.
}

// suspectAll: ledgers may be behind Kafka. Those of restores under way too, because they
// may have read the positions before a stranger moved them: they begin again.
func (m *Machine) suspectAll() {
	m.suspect = true
	if m.faults.keepRestoring {
		return
	}
	for _, id := range m.sorted(func(t *task) bool { return t.state == restoring }) {
		m.close(id, ReasonDiverged)
		m.restore(id)
	}
}

// stop: nothing new begins; what is open ends first.
func (m *Machine) stop() {
	m.stopping = true
	switch m.phase {
	case Idle:
		m.exit(true)
	case Open:
		m.due()
	}
}
