package checkpoint

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// Participant is the machine of a lane: it decides when an epoch has to end for a cut, and which cut each
// task takes with it. It is not safe for concurrent use.
//
// Invariants:
//
//	takes is the number of members with take != 0; take > cut
//	asked => takes = 0
//	met(t) = 0 or met(t) > cut(t)
type Participant struct {
	log     Log // as far as the worker has read it: it may be behind what stamps say
	members map[offsets.Task]*Member
	takes   int    // members whose cut waits for the fate of its epoch
	asked   bool   // EndEpoch with Empty is out, Closing has not come
	uploads uint64 // the last cut of which uploads were ordered

	out     []Action
	history history

	// Faults are planted by tests only, to see that the exploration finds them.
	faults participantFaults
}

// participantFaults are rules that can be taken out.
type participantFaults struct {
	keepAborted bool // a cut counts as taken although its epoch was aborted
	raiseOnly   bool // an undecided cut is taken without an acknowledgement
	dontWait    bool // a stamp is followed before the control log shows its cut
	touchedOnly bool // a task without a part in the epoch takes no cut
}

// Member is a task of the lane. The lane keeps it beside the task for the question that each record asks.
type Member struct {
	cut     uint64 // highest that the task has taken, committed
	take    uint64 // the cut that the epoch under way takes, 0: none
	ack     bool
	met     uint64 // the stamp of the record that waits, 0: none waits
	touched bool   // during Closing only
}

// Passes says whether a record with this stamp may be processed: its sender had taken no cut that this task
// has not. Else tell Met.
func (m *Member) Passes(stamp uint64) bool { return stamp <= m.cut }

// Cut is what the task's records are stamped with: the highest cut that it has taken and committed.
func (m *Member) Cut() uint64 { return m.cut }

// NewParticipant returns the machine of a lane without tasks that has seen nothing of the control log.
func NewParticipant() *Participant { return &Participant{members: map[offsets.Task]*Member{}} }

// NewParticipantAfter returns the machine of a lane without tasks that has seen what adds up to
// the log, which it takes over.
func NewParticipantAfter(l *Log) *Participant {
	p := NewParticipant()
	p.log = *l
	return p
}

// Log is what the machine has seen of the control log; to be read only.
func (p *Participant) Log() *Log { return &p.log }

// Member is that of a task which came and has not gone.
func (p *Participant) Member(t offsets.Task) *Member {
	m := p.members[t]
	if m == nil {
		panic(fmt.Sprintf("checkpoint: task %s is not here; history:\n%s", t, &p.history))
	}
	return m
}

// CutWanted says whether an epoch has to end, if need be an empty one, because a task has a cut to take. It is true
// from the order EndEpoch with Empty until Closing, also if an epoch fails in between: a lane that asks before
// each epoch and each record cannot lose the order.
func (p *Participant) CutWanted() bool { return p.asked }

// MayTrim says whether input that the task has processed may be deleted as far as undecided cuts are
// concerned. A cut that the task has taken needs what was in flight, and only who took it knows from where: the
// task may have moved since. When it is decided its manifest says so; the checkpoints of this timeline in
// Log.Completed hold what is behind their positions, a savepoint has copied it.
func (p *Participant) MayTrim(t offsets.Task) bool {
	cut := p.Member(t).cut
	undecided := p.log.undecided.ID
	return cut <= p.log.last && (undecided == 0 || cut < undecided)
}

// Ready returns the orders since the last call.
func (p *Participant) Ready() []Action {
	out := p.out
	p.out = nil
	return out
}

// Step takes one fact. Records of the control log come once each and in order. What is said of a task that
// is not here, a task that comes twice, and a closing before the fate of the one before is known, panic with
// the history; so does a record that the log cannot have there.
func (p *Participant) Step(e Event) {
	p.history.add(e)
	switch e := e.(type) {
	case Logged:
		p.logged(e.Record)
	case Came:
		if p.members[e.Task] != nil {
			panic(fmt.Sprintf("checkpoint: task %s came twice; history:\n%s", e.Task, &p.history))
		}
		p.members[e.Task] = &Member{cut: e.Cut}
	case Went:
		if p.Member(e.Task).take != 0 {
			p.takes--
		}
		delete(p.members, e.Task)
	case Met:
		p.met(e.Task, e.Stamp)
	case Closing:
		p.closing(e.Tasks)
	case Committed:
		if !p.settle(e.Task, true) {
			return // most epochs take no cut: nothing has changed
		}
	case Aborted:
		if !p.settle(e.Task, p.faults.keepAborted) {
			return
		}
	default:
		panic(fmt.Sprintf("checkpoint: a participant does not know %T", e))
	}
	p.ask()
}

func (p *Participant) order(a Action) { p.out = append(p.out, a) }

func (p *Participant) logged(r Record) {
	if err := p.log.Apply(r); err != nil {
		panic(fmt.Sprintf("checkpoint: %v; history:\n%s", err, &p.history))
	}
	if d, ok := r.(Declined); ok && d.ID == p.uploads {
		p.order(Abandon{d.ID})
	}
}

// met: a record waits in front of a task. Whatever else the epoch holds is ended for it, although the cut may
// not be known yet: what comes after it belongs to the other side.
func (p *Participant) met(t offsets.Task, stamp uint64) {
	m := p.Member(t)
	if m.Passes(stamp) {
		return
	}
	m.met = max(m.met, stamp)
	p.order(Hold{t, stamp})
	if !p.wants(m) && !p.asked {
		p.order(EndEpoch{})
	}
}

// wants says whether a member has a cut to take that the control log shows.
func (p *Participant) wants(m *Member) bool {
	return p.log.undecided.ID > m.cut || m.met != 0 && (p.log.last >= m.met || p.faults.dontWait)
}

// ask wants an epoch to end, if need be an empty one. While the fate of takes is open it waits for that.
func (p *Participant) ask() {
	if p.asked || p.takes > 0 {
		return
	}
	for _, m := range p.members {
		if p.wants(m) {
			p.asked = true
			p.order(EndEpoch{Empty: true})
			return
		}
	}
}

// closing gives each task its cut: the undecided one with an acknowledgement, or the last one without, when
// it is decided by now. For that nobody makes an epoch, unless a record waits.
func (p *Participant) closing(touched []offsets.Task) {
	if p.takes > 0 {
		panic(fmt.Sprintf("checkpoint: an epoch closes before the fate of the last is known; history:\n%s", &p.history))
	}
	p.asked = false
	for _, t := range touched {
		p.Member(t).touched = true
	}
	if !p.behind() {
		for _, t := range touched {
			p.members[t].touched = false
		}
		return
	}
	for _, t := range slices.SortedFunc(maps.Keys(p.members), offsets.Task.Compare) {
		m := p.members[t]
		take := p.pick(m)
		m.touched = false
		if take.ID == 0 {
			continue
		}
		take.Task = t
		m.take, m.ack = take.ID, take.Ack
		p.takes++
		p.order(take)
	}
}

// behind says whether a member has a cut to take, or could raise it. As a rule none does, and the epoch closes
// without more ado.
func (p *Participant) behind() bool {
	for _, m := range p.members {
		if m.cut < p.log.last || p.faults.dontWait && m.met > m.cut {
			return true
		}
	}
	return false
}

// pick chooses the cut that a member takes with the closing epoch.
func (p *Participant) pick(m *Member) Take {
	last, undecided := p.log.last, p.log.undecided.ID
	switch {
	case p.faults.touchedOnly && !m.touched:
	case undecided > m.cut:
		return Take{ID: undecided, Ack: !p.faults.raiseOnly}
	case p.faults.dontWait && m.met > last:
		return Take{ID: m.met}
	case last > m.cut && (m.touched || p.wants(m)):
		return Take{ID: last}
	}
	return Take{}
}

// settle: the fate of the epoch is known for a task. Only a committed cut is taken. False: there was none.
func (p *Participant) settle(t offsets.Task, committed bool) bool {
	m := p.Member(t)
	if m.take == 0 {
		return false
	}
	take, ack := m.take, m.ack
	m.take, m.ack = 0, false
	p.takes--
	if !committed {
		return true
	}
	m.cut = take
	if ack && p.log.undecided.ID == take {
		p.uploads = take
		p.order(Upload{t, take})
	}
	if m.met != 0 && m.Passes(m.met) {
		m.met = 0
		p.order(Resume{t})
	}
	return true
}
