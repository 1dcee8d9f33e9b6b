package changelog

import "time"

// Follow begins a restore that has no end yet: that of a standby, which takes in what the
// owner of the task commits until it is the owner itself. Restored gets each record, Reaches
// goes before it, FollowedTo comes behind those of one look at the changelog, and Finish ends
// it, with Restoring before the last records if there are any. Meanwhile rows go to disk as
// in any restore that lasts, and make room for others.
func (s *Store) Follow() {
	s.following = true
	s.next, s.last, s.marked = s.end, s.db.now(), false
}

// Reaches says that the next row given to Restored is committed and below end: no later
// start may take for newer than Kafka what is on disk.
func (s *Store) Reaches(end int64) { s.target = end }

// FollowedTo says that end is behind the last record given to Restored, and that at the
// time seen the changelog had no other: a base that is as young has all tombstones up to then.
// It waits while Badger is behind.
func (s *Store) FollowedTo(end int64, seen time.Time) error {
	if !s.memory {
		s.db.lag.Add(end - s.end)
	}
	s.end, s.wall = end, max(s.wall, seen.UnixMilli())
	return s.RestoredTo(end)
}
