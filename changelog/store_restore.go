package changelog

import (
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// restoreTick is the number of restored rows between two looks at memory.
const restoreTick = 8192

// Restored takes one record of the changelog into the committed rows; value nil is a
// delete. The open epoch must be empty.
func (s *Store) Restored(key, value []byte) error {
	if len(s.undo) > 0 {
		panic(fmt.Sprintf("changelog: store %s: restore inside an epoch of %d rows", s.id, len(s.undo)))
	}
	if s.closed || len(key) > MaxKey || len(value) > MaxValue {
		return s.check(key, value)
	}
	var state byte = present
	if value == nil {
		state = absent
	}
	p := place{}
	p.shard, p.tag = s.hash(key)
	sh := &s.shards[p.shard]
	if _, p.unit, p.ok = sh.find(key, p.tag); !p.ok {
		if value == nil && s.complete {
			return nil
		}
		p = s.insert(p, key, len(value))
	}
	s.touch(&p, sh.row(p.unit))
	row := s.fill(&p, value)
	row[2] = row[2]&^known | state | used
	if state == absent {
		sh.dead++
	}
	if s.tick++; s.tick < restoreTick {
		return nil
	}
	s.tick = 0
	if err := s.failed(); err != nil {
		return err
	}
	return s.service()
}

// Finish ends a restore: the rows are those of epoch, whose changelog ends at end.
func (s *Store) Finish(epoch offsets.EpochID, end int64) error {
	if len(s.undo) > 0 {
		panic(fmt.Sprintf("changelog: store %s: end of restore inside an epoch of %d rows", s.id, len(s.undo)))
	}
	if end < s.end {
		return s.wrap("finish restore", fmt.Errorf("end %d is below the base's %d", end, s.end))
	}
	if end < s.reach {
		return s.wrap("finish restore", fmt.Errorf("rows on disk may be as new as changelog offset %d, but only %d is committed: reset the store and restore it from the changelog", s.reach, end))
	}
	s.reach = 0
	s.committed(epoch, end)
	return s.failed()
}
