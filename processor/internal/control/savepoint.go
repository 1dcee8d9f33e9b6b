package control

import "github.com/weir-stream/weir/processor/internal/checkpoint"

// Savepoint is what became of a savepoint that was asked for.
type Savepoint struct {
	Request  Request   // the first with its id
	Trigger  *Trigger  // nil: it waits for its turn
	Declined *Declined // why there is none
	Complete *Complete // where it is
}

// savepoints are those that were asked for, in that order.
type savepoints struct {
	all       []*Savepoint
	byRequest map[string]*Savepoint
}

func (s *savepoints) note(r Record) {
	switch r := r.(type) {
	case Request:
		if r.Kind == checkpoint.Savepoint && s.byRequest[r.ID] == nil {
			if s.byRequest == nil {
				s.byRequest = make(map[string]*Savepoint)
			}
			p := &Savepoint{Request: r}
			s.byRequest[r.ID] = p
			s.all = append(s.all, p)
		}
	case Trigger:
		if p := s.byRequest[r.Request]; p != nil && p.Trigger == nil {
			p.Trigger = &r
		}
	case Declined:
		if p := s.byRequest[r.Request]; p != nil {
			p.Declined = &r
		}
	case Complete:
		if p := s.byRequest[r.Request]; p != nil {
			p.Complete = &r
		}
	}
}

// Savepoints are all that were asked for, in that order.
func (s *State) Savepoints() []Savepoint {
	out := make([]Savepoint, 0, len(s.points.all))
	for _, p := range s.points.all {
		out = append(out, *p)
	}
	return out
}

// Savepoint is the one that a request asked for.
func (s *State) Savepoint(request string) (Savepoint, bool) {
	if p := s.points.byRequest[request]; p != nil {
		return *p, true
	}
	return Savepoint{}, false
}

// StopsAt says whether the record makes the workers stop that run when it is written.
func (s *State) StopsAt(r Record) bool {
	switch r := r.(type) {
	case Stop:
		return true
	case Complete:
		p, ok := s.Savepoint(r.Request)
		return ok && p.Request.Stop
	}
	return false
}
