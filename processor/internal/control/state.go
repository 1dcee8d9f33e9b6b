package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// State is what the records of the topic add up to, read in order from the first. The zero
// value is an application that was never born.
//
// Invariants:
//
//	active <= named; every pending intent is newer than active
//	kept has the cuts that cuts has as completed
type State struct {
	named   uint32 // highest timeline in any record: never used again
	active  uint32 // the timeline that counts, 0: none
	cuts    checkpoint.Log
	born    map[uint32]Born
	pending map[uint32]Intent
	rewinds map[string]Active   // by the id of the rewind
	claims  map[uint32]Claim    // what became of savepoints that were claimed, by the timeline
	asked   map[string]Request  // by id
	trigger Trigger             // the last
	kept    map[uint64]Complete // completed and not dropped
	dropped map[uint64]Complete // and not forgotten
	points  savepoints
	quiet   uint32 // the last timeline whose loops have ended
}

// OrderError is returned by Apply when a record cannot follow the ones before it: two
// programs gave birth or rewound at once, or somebody else wrote to the topic.
type OrderError struct {
	Kind, Name       string
	Timeline, Active uint32
	Why              string
}

func (e *OrderError) Error() string {
	return fmt.Sprintf("control record %s.%s of timeline %d after active timeline %d: %s: the control topic was written by something else than weir, or was truncated",
		e.Kind, e.Name, e.Timeline, e.Active, e.Why)
}

// ApplyRecord adds the next record of the topic, as it stands there.
func (s *State) ApplyRecord(key, value []byte) error {
	r, err := Decode(key, value)
	if err != nil {
		return err
	}
	return s.Apply(r)
}

// Apply adds the next record of the topic.
func (s *State) Apply(r Record) error {
	l := r.timeline()
	refuse := func(why string) error {
		return &OrderError{Kind: r.kind(), Name: r.name(), Timeline: l, Active: s.active, Why: why}
	}
	switch r := r.(type) {
	case Request, Trigger, Declined, Complete, Dropped, Forgotten:
		if l > s.active {
			return refuse("this timeline is not active")
		}
		answered := false
		if r, ok := r.(Request); ok {
			_, answered = s.cuts.Taken(r.ID)
		}
		if err := s.cuts.Apply(Fact(r)); err != nil {
			return err
		}
		if !answered { // otherwise it is said again, and says nothing
			s.note(r)
		}
	case Stop:
		if l > s.active {
			return refuse("this timeline is not active")
		}
	case Born:
		if _, twice := s.born[l]; twice {
			return refuse("it is born already")
		}
		// The first birth activates; later timelines are activated by a rewind before.
		if s.active != 0 && l != s.active {
			return refuse("this timeline is not active")
		}
		if s.active == 0 && l <= s.named {
			return refuse("the number was used before")
		}
		if s.born == nil {
			s.born = make(map[uint32]Born)
		}
		s.born[l] = r
		s.active = l
	case Intent:
		if l <= s.named {
			return refuse("the number was used before")
		}
		if s.pending == nil {
			s.pending = make(map[uint32]Intent)
		}
		s.pending[l] = r
	case Active:
		if _, intended := s.pending[l]; !intended {
			return refuse("no intent is pending")
		}
		if r.From != s.active {
			return refuse(fmt.Sprintf("it was made after timeline %d", r.From))
		}
		if err := s.cuts.Apply(Fact(r)); err != nil {
			return err
		}
		s.active = l
		if s.rewinds == nil {
			s.rewinds = make(map[string]Active)
		}
		s.rewinds[r.Base.Rewind] = r
		// Each attempt takes a fresh number: the older ones died.
		maps.DeleteFunc(s.pending, func(intent uint32, _ Intent) bool { return intent <= l })
	case Cancelled:
		if _, intended := s.pending[l]; !intended {
			return refuse("no intent is pending")
		}
		delete(s.pending, l)
	case Claim:
		if why := s.claim(r); why != "" {
			return refuse(why)
		}
	case Quiet:
		if l > s.active {
			return refuse("this timeline is not active")
		}
		s.quiet = max(s.quiet, l)
	default:
		return refuse("unknown record")
	}
	s.named = max(s.named, l)
	return nil
}

// Active is the timeline that counts, 0 before the first birth. It may still have to be born
// (Newest says no) when a rewind died between activation and birth.
func (s *State) Active() uint32 { return s.active }

// Newest is the birth of the active timeline.
func (s *State) Newest() (Born, bool) {
	b, ok := s.born[s.active]
	return b, ok
}

// Birth is that of any timeline.
func (s *State) Birth(timeline uint32) (Born, bool) {
	b, ok := s.born[timeline]
	return b, ok
}

// Next is a number for a timeline that was never used.
func (s *State) Next() uint32 { return s.named + 1 }

// Cuts are what became of all cuts; to be read only.
func (s *State) Cuts() *checkpoint.Log { return &s.cuts }

// note keeps what the machines do not need of a record about a cut.
func (s *State) note(r Record) {
	s.points.note(r)
	switch r := r.(type) {
	case Request:
		s.ask(&r)
	case Trigger:
		s.ask(r.Asked)
		s.trigger = r
	case Declined:
		s.ask(r.Asked)
	case Complete:
		s.ask(r.Asked)
		s.kept = with(s.kept, r)
	case Dropped:
		s.ask(r.Asked)
		delete(s.kept, r.ID)
		s.dropped = with(s.dropped, r.Complete)
	case Forgotten:
		delete(s.kept, r.ID)
		delete(s.dropped, r.ID)
	}
}

func with(m map[uint64]Complete, c Complete) map[uint64]Complete {
	if m == nil {
		m = make(map[uint64]Complete)
	}
	m[c.ID] = c
	return m
}

func (s *State) ask(r *Request) {
	if r == nil {
		return
	}
	if s.asked == nil {
		s.asked = make(map[string]Request)
	}
	s.asked[r.ID] = *r
}

// Request is the last one with this id before it got a cut.
func (s *State) Request(id string) (Request, bool) {
	r, ok := s.asked[id]
	return r, ok
}

// Undecided is the trigger of the cut that was neither completed nor declined.
func (s *State) Undecided() (Trigger, bool) {
	c, ok := s.cuts.Undecided()
	return s.trigger, ok && s.trigger.ID == c.ID
}

// Complete is a cut that was completed and not dropped.
func (s *State) Complete(id uint64) (Complete, bool) {
	c, ok := s.kept[id]
	return c, ok
}

// Dropped is a checkpoint that was complete and is not kept any more.
func (s *State) Dropped(id uint64) (Complete, bool) {
	c, ok := s.dropped[id]
	return c, ok
}

// Kept are the completed cuts that were not dropped, of all timelines, oldest first.
func (s *State) Kept() []Complete {
	return slices.SortedFunc(maps.Values(s.kept), func(a, b Complete) int { return cmp.Compare(a.ID, b.ID) })
}

// Rewound is the timeline that a rewind has made, also if others came after it.
func (s *State) Rewound(rewind string) (Active, bool) {
	a, ok := s.rewinds[rewind]
	return a, ok
}

// Rewinds are all that were carried out, oldest first.
func (s *State) Rewinds() []Active {
	return slices.SortedFunc(maps.Values(s.rewinds), func(a, b Active) int { return cmp.Compare(a.Timeline, b.Timeline) })
}

// Pending are the intents that were neither activated nor cancelled, oldest first.
func (s *State) Pending() []Intent {
	intents := make([]Intent, 0, len(s.pending))
	for _, l := range slices.Sorted(maps.Keys(s.pending)) {
		intents = append(intents, s.pending[l])
	}
	return intents
}

// StopError is returned by Check: lanes of the timeline must not begin a transaction.
type StopError struct {
	Timeline uint32 // of the lane
	Newer    uint32
	Intended bool   // it is prepared but does not count yet
	By       string // who prepares it
}

func (e *StopError) Error() string {
	if e.Intended {
		return fmt.Sprintf("stop: timeline %d is intended by %q, this worker runs timeline %d: start it again when the rewind is done; if it died, run it again or cancel it", e.Newer, e.By, e.Timeline)
	}
	return fmt.Sprintf("stop: timeline %d is newer, this worker runs timeline %d: start it again to join the new one", e.Newer, e.Timeline)
}

// Check says whether a lane of the timeline may go on: nil, or *StopError.
func (s *State) Check(timeline uint32) error {
	if s.active > timeline {
		return &StopError{Timeline: timeline, Newer: s.active}
	}
	for _, intent := range s.Pending() {
		if intent.Timeline > timeline {
			return &StopError{Timeline: timeline, Newer: intent.Timeline, Intended: true, By: intent.By}
		}
	}
	return nil
}
