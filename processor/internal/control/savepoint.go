package control

import (
	"cmp"
	"slices"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// Savepoint is what became of a savepoint that was asked for.
type Savepoint struct {
	Request   Request   // the last with its id before it got a cut
	Cut       uint64    // 0: it waits for its turn
	Triggered int64     // ms: when it got the cut
	Declined  *Declined // why there is none
	Complete  *Complete // where it is
}

// savepoints are those that were asked for, in that order.
type savepoints struct {
	all       []*Savepoint
	byRequest map[string]*Savepoint
}

// noteRequest: of several with one id, and no cut, the last counts, and its place in the order.
func (s *savepoints) noteRequest(r Request) {
	if p := s.byRequest[r.ID]; p == nil {
		s.add(r)
	} else if p.Cut == 0 {
		s.all = slices.DeleteFunc(s.all, func(q *Savepoint) bool { return q == p })
		s.add(r)
	}
}

func (s *savepoints) add(r Request) *Savepoint {
	if s.byRequest == nil {
		s.byRequest = make(map[string]*Savepoint)
	}
	p := &Savepoint{Request: r}
	s.byRequest[r.ID] = p
	s.all = append(s.all, p)
	return p
}

// of is the savepoint that the cut is, nil: it is none. The records of its request may come
// behind it, or not at all.
func (s *savepoints) of(c Cut) *Savepoint {
	if c.Kind != checkpoint.Savepoint || c.Asked == nil {
		return nil
	}
	p := s.byRequest[c.Asked.ID]
	if p == nil {
		p = s.add(*c.Asked)
	}
	p.Request, p.Cut = *c.Asked, c.ID
	return p
}

func (s *savepoints) note(r Record) {
	switch r := r.(type) {
	case Request:
		if r.Kind == checkpoint.Savepoint {
			s.noteRequest(r)
		}
	case Trigger:
		if p := s.of(r.Cut); p != nil {
			p.Triggered = r.Wall
		}
	case Declined:
		if p := s.of(r.Cut); p != nil {
			p.Triggered, p.Declined = r.Triggered, &r
		}
	case Complete:
		if p := s.of(r.Cut); p != nil {
			p.Triggered, p.Complete = r.Triggered, &r
		}
	}
}

// Savepoints are all that were asked for, in the order of their cuts, behind them those that
// have none yet, in the order in which they were asked for.
func (s *State) Savepoints() []Savepoint {
	out := make([]Savepoint, 0, len(s.points.all))
	for _, p := range s.points.all {
		out = append(out, *p)
	}
	slices.SortStableFunc(out, func(a, b Savepoint) int { return cmp.Compare(a.Cut-1, b.Cut-1) })
	return out
}

// Savepoint is the one that a request asked for.
func (s *State) Savepoint(request string) (Savepoint, bool) {
	if p := s.points.byRequest[request]; p != nil {
		return *p, true
	}
	return Savepoint{}, false
}

// Draining says whether the time of the timeline is to end, or has.
func (s *State) Draining(timeline uint32) bool {
	for _, r := range s.asked {
		if r.Drain && r.Timeline == timeline {
			return true
		}
	}
	return false
}

// Quiet says whether the loops of a timeline that is drained have ended.
func (s *State) Quiet(timeline uint32) bool { return s.quiet == timeline && timeline != 0 }

// Drained is the savepoint with which the timeline has ended, if it was drained.
func (s *State) Drained(timeline uint32) (Complete, bool) {
	for _, p := range s.points.all {
		if p.Request.Drain && p.Request.Timeline == timeline && p.Complete != nil {
			return *p.Complete, true
		}
	}
	return Complete{}, false
}

// StopsAt says whether the record makes the workers stop that run when it is written.
func StopsAt(r Record) bool {
	switch r := r.(type) {
	case Stop:
		return true
	case Complete:
		return r.Asked != nil && r.Asked.Stop
	}
	return false
}
