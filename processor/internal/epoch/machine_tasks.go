package epoch

import "github.com/weir-stream/weir/offsets"

// assigned: new tasks get restored. A restore is harmless at any time: it waits for the
// stable positions, so also for whatever is undecided.
func (m *Machine) assigned(ts []offsets.Task) {
	for _, id := range ts {
		if m.tasks[id] == nil {
			m.tasks[id] = &task{}
			m.restore(id)
		}
	}
}

func (m *Machine) restore(id offsets.Task) {
	*m.tasks[id] = task{state: restoring}
	m.order(Restore{id})
}

// taken: the group has taken tasks away. Between epochs that is all; undecided effects of
// theirs are dropped, because whoever has the task now restores what Kafka says. With a
// transaction open, which the bracket should prevent, the epoch is aborted first.
func (m *Machine) taken(ts []offsets.Task, why Reason) {
	abort := false
	for _, id := range ts {
		t := m.tasks[id]
		if t == nil {
			continue
		}
		if t.touched && m.phase != Doubt {
			t.leaving, t.reason, abort = true, why, true
			continue
		}
		if t.touched {
			m.order(Settle{Dropped, m.attempt(id)})
		}
		delete(m.tasks, id)
		m.order(Close{id, why})
	}
	if abort && (m.phase == Open || m.phase == Flushing) {
		m.becomeAborting(false)
	}
}

// touch: the task takes part in the open epoch.
func (m *Machine) touch(id offsets.Task) {
	m.must(Open)
	if !m.Running(id) {
		panic("epoch: touched task " + id.String() + " does not run")
	}
	m.tasks[id].touched = true
}

// failed: a record could not be processed. The whole epoch is taken back, and replayed up
// to that record.
func (m *Machine) failed(id offsets.Task) {
	if m.phase == Open || m.phase == Flushing {
		m.becomeAborting(true)
	}
}

// reached: everything before the failed record is done. What of it is in the open epoch
// has to be committed before the task closes.
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

// close ends a running task that stays assigned.
func (m *Machine) close(id offsets.Task, why Reason) {
	*m.tasks[id] = task{state: closed}
	m.order(Close{id, why})
}

// leaseLost: the records in work were read under a membership that is gone. Somebody else
// may have processed them meanwhile: what Kafka has is compared with every ledger.
func (m *Machine) leaseLost() {
	switch m.phase {
	case Idle:
		if len(m.running()) > 0 {
			m.becomeDoubt(stageFetch)
		}
	case Open:
		m.becomeAborting(false)
	}
	// Else the answer under way decides: Sending finds out by itself, Doubt compares anyway.
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

// exit closes everything. The undecided was settled before.
func (m *Machine) exit(clean bool) {
	for _, id := range m.sorted(func(*task) bool { return true }) {
		m.order(Close{id, ReasonStopped})
	}
	clear(m.tasks)
	m.phase = Exited
	m.order(Exit{clean})
}
