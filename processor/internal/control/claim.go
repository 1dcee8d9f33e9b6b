package control

import "slices"

// Claimed is a savepoint that belongs to the application since a rewind to it, and that is not
// deleted yet.
type Claimed struct {
	Active
	// Since is the highest cut id that was used when the application last went back to it: what
	// has a higher one is newer.
	Since   uint64
	Dropped bool // it is not kept any more
}

// claim notes a Claim, or says why it cannot be one.
func (s *State) claim(r Claim) (why string) {
	before, said := s.claims[r.Timeline]
	claimed := slices.ContainsFunc(s.Rewinds(), func(a Active) bool {
		return a.Timeline == r.Timeline && a.Base.Claim != ""
	})
	switch {
	case !claimed:
		return "nothing was claimed with it"
	case said && (before.Deleted || !r.Deleted):
		return "that was said before"
	}
	if s.claims == nil {
		s.claims = make(map[uint32]Claim)
	}
	s.claims[r.Timeline] = r
	return ""
}

// Claimed are the savepoints that were claimed and are not deleted, oldest claim first.
func (s *State) Claimed() []Claimed {
	var out []Claimed
	since := map[string]uint64{} // by manifest
	for _, a := range s.rewinds {
		since[a.Base.SHA256] = max(since[a.Base.SHA256], a.Cut)
	}
	for _, a := range s.Rewinds() {
		if said := s.claims[a.Timeline]; a.Base.Claim != "" && !said.Deleted {
			out = append(out, Claimed{Active: a, Since: since[a.Base.SHA256], Dropped: said.Timeline != 0})
		}
	}
	return out
}
