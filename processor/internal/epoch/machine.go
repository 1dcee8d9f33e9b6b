package epoch

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

// Phase is where the lane stands in the cycle.
type Phase uint8

const (
	Idle      Phase = iota // no transaction; tasks come and go here
	Beginning              // Begin is out
	Open                   // records are being processed
	Flushing               // Flush is out
	Sending                // SendOffsets is out
	Ending                 // EndCommit is out
	Aborting               // EndAbort is out
	Doubt                  // Kafka is being asked
	Exited                 // nothing is answered any more
)

func (p Phase) String() string {
	return [...]string{"idle", "beginning", "open", "flushing", "sending", "ending", "aborting", "doubt", "exited"}[p]
}

// stage of a Doubt: reinit -> control -> fetch. An abort that nobody wished for enters at
// fetch, because the producer is sound.
type stage uint8

const (
	stageReinit stage = iota
	stageControl
	stageFetch
)

type taskState uint8

const (
	restoring taskState = iota
	running
	closed // assigned, waiting for Retry
)

// task is one that the group gave to the lane.
type task struct {
	state   taskState
	ledger  offsets.EpochID // id of its last committed epoch, while running
	touched bool            // in the open or undecided epoch
	reached bool            // its replay came to the failed record: closes when the epoch commits
	leaving bool            // taken away while touched: closes when the epoch is settled
	reason  Reason          // of leaving
}

// Machine is the state machine of one lane. It is not safe for concurrent use.
//
// Invariants:
//
//	touched(t) => running(t) and phase in Open..Doubt
//	phase in Idle, Exited => nothing is touched
//	attempts != nil => SendOffsets of this epoch was ordered
type Machine struct {
	phase    Phase
	stage    stage
	tasks    map[offsets.Task]*task
	attempts map[offsets.Task]Attempt
	id       int64 // producer id and epoch of the open transaction
	epoch    int16
	wished   bool // the abort under way is ours: nothing can have happened meanwhile
	restart  bool // the doubt follows a fencing: all tasks start afresh
	stalled  bool
	stopping bool
	out      []Action
	history  []string

	// Faults are planted by tests only, to see that the exploration finds them.
	faults faults
}

// faults are rules that can be taken out.
type faults struct {
	unknownIsCommitted bool // EndTxn without answer counts as committed
	unknownIsAborted   bool // EndTxn without answer counts as aborted
	neverCompare       bool // positions are not compared after an abort nobody wished for
	ignoreFencing      bool // a fenced producer goes on
	adoptEarly         bool // effects are adopted when the offsets are accepted
	keepDiverged       bool // a task whose positions moved goes on
	skipControl        bool // the control topic is not read after an initialisation
}

const historyKept = 64

// New returns the machine of a lane without tasks.
func New() *Machine { return &Machine{tasks: map[offsets.Task]*task{}} }

// Phase tells where the lane stands.
func (m *Machine) Phase() Phase { return m.phase }

// Running says whether records of the task may be processed.
func (m *Machine) Running(t offsets.Task) bool {
	s := m.tasks[t]
	return s != nil && s.state == running
}

// Ready returns the orders since the last call.
func (m *Machine) Ready() []Action {
	out := m.out
	m.out = nil
	return out
}

// Step takes one fact. A fact that is impossible in the phase panics with the history; one
// that is merely late is ignored.
func (m *Machine) Step(e Event) {
	m.remember(fmt.Sprintf("%s: %s", m.phase, Text(e)))
	if m.phase == Exited {
		return
	}
	switch e := e.(type) {
	case Assigned:
		m.assigned(e.Tasks)
	case Revoked:
		m.taken(e.Tasks, ReasonRevoked)
	case MembershipLost:
		m.taken(m.sorted(func(*task) bool { return true }), ReasonLost)
	case Restored:
		if t := m.tasks[e.Task]; t != nil && t.state == restoring {
			t.state, t.ledger = running, e.Epoch
		}
	case RestoreFailed:
		if t := m.tasks[e.Task]; t != nil && t.state == restoring {
			t.state = closed
		}
	case Retry:
		if t := m.tasks[e.Task]; t != nil && t.state == closed && !m.stopping {
			m.restore(e.Task)
		}
	case Stop:
		m.stop()
	case Wanted:
		if m.phase == Idle && !m.stopping && len(m.running()) > 0 {
			m.become(Beginning, Idle)
			m.order(Begin{})
		}
	case Began:
		m.become(Open, Beginning)
		m.id, m.epoch, m.attempts = e.ProducerID, e.ProducerEpoch, nil
	case BeginFailed:
		m.must(Beginning)
		m.failedBy(e.Verdict, func() { m.becomeDoubt(stageReinit) })
	case Touched:
		m.touch(e.Task)
	case Failed:
		m.failed(e.Task)
	case Reached:
		m.reached(e.Task)
	case LeaseLost:
		m.leaseLost()
	case Due:
		m.due()
	case Flushed:
		m.must(Flushing)
		if e.Verdict == OK {
			m.becomeSending()
			return
		}
		m.failedBy(e.Verdict, func() { m.becomeAborting(false) })
	case Sent:
		m.must(Sending)
		if e.Verdict == OK {
			if m.faults.adoptEarly {
				m.commit()
			}
			m.become(Ending, Sending)
			m.order(EndCommit{})
			return
		}
		m.failedBy(e.Verdict, func() { m.becomeAborting(false) })
	case Ended:
		m.ended(e.Verdict)
	case Aborted:
		m.aborted(e.Verdict)
	case ProducerReady:
		m.must(Doubt)
		if m.faults.skipControl {
			m.controlRead(false)
			return
		}
		m.stage = stageControl
		m.order(ReadControl{})
	case ControlRead:
		m.must(Doubt)
		m.controlRead(e.Stop)
	case Fetched:
		m.must(Doubt)
		m.fetched(e.Epochs)
	case Stalled:
		if m.phase == Doubt && !m.stalled {
			m.stalled = true
			m.order(Release{})
		}
	default:
		panic(fmt.Sprintf("epoch: unknown event %T", e))
	}
}

func (m *Machine) remember(s string) {
	if len(m.history) == historyKept {
		m.history = append(m.history[:0], m.history[1:]...)
	}
	m.history = append(m.history, s)
}

func (m *Machine) must(p Phase) {
	if m.phase != p {
		panic(fmt.Sprintf("epoch: impossible in phase %s, want %s; history:\n%s", m.phase, p, strings.Join(m.history, "\n")))
	}
}

func (m *Machine) become(to Phase, from ...Phase) {
	if !slices.Contains(from, m.phase) {
		panic(fmt.Sprintf("epoch: cannot go from %s to %s; history:\n%s", m.phase, to, strings.Join(m.history, "\n")))
	}
	m.phase = to
}

func (m *Machine) order(as ...Action) { m.out = append(m.out, as...) }

// sorted returns the tasks that f picks, in order: equal facts give equal orders.
func (m *Machine) sorted(f func(*task) bool) []offsets.Task {
	var out []offsets.Task
	for _, id := range slices.SortedFunc(maps.Keys(m.tasks), offsets.Task.Compare) {
		if f(m.tasks[id]) {
			out = append(out, id)
		}
	}
	return out
}

func (m *Machine) running() []offsets.Task {
	return m.sorted(func(t *task) bool { return t.state == running })
}

func (m *Machine) touched() []offsets.Task {
	return m.sorted(func(t *task) bool { return t.touched })
}
