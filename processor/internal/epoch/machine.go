package epoch

import (
	"fmt"
	"maps"
	"slices"

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
	closed // assigned, waiting for Retry, or after a fencing for ControlRead
)

// task is one that the group gave to the lane.
type task struct {
	state   taskState
	ledger  offsets.EpochID // id of its last committed epoch, while running
	touched bool            // in the open or undecided epoch
	asked   bool            // the FetchOffsets that is out asks for it
	reached bool            // its replay came to the failed record: closes when the epoch commits
	fenced  bool            // closed by a fencing: restored when control is read
	leaving bool            // taken away while touched: closes when the epoch is settled
	back    bool            // assigned again while leaving: starts afresh then
	reason  Reason          // of leaving
}

// Machine is the state machine of one lane. It is not safe for concurrent use.
//
// Invariants:
//
//	touched(t) => running(t) and phase in Open..Doubt
//	leaving(t) => touched(t) and phase in Flushing..Aborting
//	asked(t)   => running(t) and phase = Doubt at stage fetch
//	reached(t) => running(t)
//	phase in Idle, Exited => nothing is touched and nobody is suspected
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
	// suspect: somebody else may have had our tasks since their ledgers were last known to
	// be Kafka's. Nothing commits until they are compared.
	suspect bool
	out     []Action
	history history

	// Faults are planted by tests only, to see that the exploration finds them.
	faults faults
}

// faults are rules that can be taken out.
type faults struct {
	unknownIsCommitted bool // EndTxn without answer counts as committed, without asking
	unknownIsAborted   bool // EndTxn without answer counts as aborted, without asking
	neverCompare       bool // positions are compared only after an initialisation
	trustLease         bool // a lost lease is not noted
	keepRestoring      bool // a restore that began under a lost lease goes on
	ignoreFencing      bool // "fenced" is taken for done
	adoptEarly         bool // effects are adopted when the offsets are accepted
	keepDiverged       bool // a task whose positions moved goes on
	skipControl        bool // the control topic is not read after an initialisation
}

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

// Step takes one fact. Answers come in the phase that waits for them, Touched in Open and
// Failed in Open or Flushing: there everything else is a broken driver, and panics with
// the history. All other facts may come in any phase, late or twice.
func (m *Machine) Step(e Event) {
	m.history.add(m.phase, e)
	if m.phase == Exited {
		return
	}
	switch e := e.(type) {
	case Assigned:
		m.assigned(e.Tasks)
	case Revoked:
		m.taken(e.Tasks, ReasonRevoked)
	case MembershipLost:
		m.taken(m.all(), ReasonLost)
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
		if m.phase == Idle && len(m.running()) > 0 {
			m.become(Beginning, Idle)
			m.order(Begin{})
		}
	case Began:
		m.began(e)
	case BeginFailed:
		m.must(Beginning)
		m.failedBy(e.Verdict, func() { m.becomeDoubt(stageReinit) })
	case Touched:
		m.touch(e.Task)
	case Failed:
		// Before the answer of Flush, or instead of it.
		m.becomeAborting(true, Open, Flushing)
	case Reached:
		m.reached(e.Task)
	case LeaseLost:
		m.leaseLost()
	case Due:
		m.due()
	case Flushed:
		m.flushed(e.Verdict)
	case Sent:
		m.sent(e.Verdict)
	case Ended:
		m.ended(e.Verdict)
	case Aborted:
		m.aborted(e.Verdict)
	case ProducerReady:
		m.producerReady()
	case ControlRead:
		m.controlRead(e.Stop)
	case Fetched:
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

func (m *Machine) must(p Phase) {
	if m.phase != p {
		panic(fmt.Sprintf("epoch: impossible in phase %s, want %s; history:\n%s", m.phase, p, &m.history))
	}
}

// at is must for an answer within Doubt.
func (m *Machine) at(s stage) {
	m.must(Doubt)
	if m.stage != s {
		panic(fmt.Sprintf("epoch: impossible at stage %d of doubt, want %d; history:\n%s", m.stage, s, &m.history))
	}
}

func (m *Machine) become(to Phase, from ...Phase) {
	if !slices.Contains(from, m.phase) {
		panic(fmt.Sprintf("epoch: cannot go from %s to %s; history:\n%s", m.phase, to, &m.history))
	}
	m.phase = to
}

func (m *Machine) order(as ...Action) { m.out = append(m.out, as...) }

// sorted returns the tasks that f picks, in order: equal facts give equal orders.
func (m *Machine) sorted(f func(*task) bool) []offsets.Task {
	var out []offsets.Task
	for id, t := range m.tasks {
		if f(t) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, offsets.Task.Compare)
	return out
}

func (m *Machine) all() []offsets.Task {
	return slices.SortedFunc(maps.Keys(m.tasks), offsets.Task.Compare)
}

func (m *Machine) running() []offsets.Task {
	return m.sorted(func(t *task) bool { return t.state == running })
}

func (m *Machine) touched() []offsets.Task {
	return m.sorted(func(t *task) bool { return t.touched })
}
