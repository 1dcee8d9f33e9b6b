package changelog

import (
	"time"

	"github.com/dgraph-io/badger/v4"
)

// After a restart from a base, memory has only what the changelog tail brought. To read
// the rest key by key as records come costs about 6 us a key; to walk over it costs a
// tenth of that. So a store that may fit its memory is read in, a slice at each Apply,
// and is complete at the end of the walk.
const (
	warmRows  = 4096
	warmPause = 20 * time.Millisecond
)

type warm struct {
	on   bool
	next []byte // key to go on from
	last time.Time
}

// warmUp reads the next slice. What it finds in memory already is newer than the disk or
// the same.
//
// Complete at the end: every row that Badger had when its key was passed is in memory, or
// was already; rows written behind the walk come from memory; and an eviction of a
// present row ends the walk.
func (s *Store) warmUp(now time.Time) error {
	if s.db.used.Load() > s.db.opt.CacheBytes/5*4 {
		s.warm.on = false
	}
	if !s.warm.on || now.Sub(s.warm.last) < warmPause {
		return nil
	}
	s.warm.last = now
	it := s.read.NewIterator(badger.IteratorOptions{Prefix: s.key[:prefixLen:prefixLen]})
	defer it.Close()
	n := 0
	s.key = append(s.key[:prefixLen], s.warm.next...)
	for it.Seek(s.key); it.Valid(); it.Next() {
		key := it.Item().Key()[prefixLen:]
		if n++; n > warmRows {
			s.warm.next = append(s.warm.next[:0], key...)
			return nil
		}
		p := place{}
		p.shard, p.tag = s.hash(key)
		sh := &s.shards[p.shard]
		if _, p.unit, p.ok = sh.find(key, p.tag); p.ok && flags(sh.row(p.unit))&known != 0 {
			continue
		}
		err := it.Item().Value(func(v []byte) error {
			_, _, _ = s.remember(p, key, v, present)
			return nil
		})
		if err != nil {
			return s.wrap("warm up", err)
		}
	}
	s.warm, s.complete = warm{}, true
	return nil
}
