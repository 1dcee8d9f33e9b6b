package changelog

import (
	"time"
)

// wave is one pass over the unapplied rows. Rows changed while it goes on are written in
// it or in the next one, whichever meets them; only those unapplied at its start decide
// about its marker. The wave of a cut writes exactly those, as they were at its start. That
// of a store in memory copies them, and they stay unapplied.
type wave struct {
	active bool
	mark   bool   // write marker at the end
	shard  int    // next to hand over
	marker Marker // {epoch, end} committed when it started
}

const (
	sliceBytes = 4 << 20 // one store hands over at most this much in one Apply
	sliceRows  = 1 << 16 // rows, for those that are passed over
	queueBytes = 8 << 20 // and not when it has this much under way
	tidyBytes  = 2 << 20 // slab bytes rebuilt in one Apply when nothing presses

	// tailBytes bounds what a restart replays, of all stores together, where rows are large: MaxLag
	// counts them. It is read in a second or two.
	tailBytes = 512 << 20
)

// Apply is called between epochs, at each of them if possible. It hands a bounded part
// of the committed, not yet applied rows to the background applier if a wave is due, and
// keeps memory within its bounds; it does not wait for the disk. It returns the error of
// an earlier hand-over: the store must be closed then, Kafka has everything.
func (s *Store) Apply() error {
	if err := s.failed(); err != nil {
		return err
	}
	if s.closed {
		return s.wrap("apply", ErrClosed)
	}
	if len(s.undo) > 0 {
		return nil
	}
	return s.service()
}

// service does what Apply says; restore calls it too.
func (s *Store) service() error {
	now := s.db.now()
	if !s.wave.active && !s.memory && s.due(now) {
		s.startWave()
	}
	if s.wave.active && s.queued.Load() < queueBytes {
		if !s.memory {
			if err := s.db.checkFree(); err != nil {
				return s.wrap("apply", err)
			}
		}
		if err := s.handOver(sliceBytes); err != nil {
			return err
		}
	}
	if s.warm.on && s.settled {
		if err := s.warmUp(now); err != nil {
			return err
		}
	}
	s.tidy()
	return nil
}

// due says whether a wave should start: after the interval, or when the changelog tail
// behind the marker, the changed bytes, or memory as a whole have grown too much.
func (s *Store) due(now time.Time) bool {
	stores := max(1, s.db.stores.Load())
	pressed := s.db.used.Load() > s.db.opt.CacheBytes && s.pending()
	if !s.settled {
		// Restore: rows are written to make room, and to note the progress of a long one.
		wait := s.db.opt.ApplyInterval
		if !s.marked {
			wait = min(wait, progressAfter)
		}
		if _, ok := s.progress(); ok && now.Sub(s.last) >= wait {
			return true
		}
		return pressed
	}
	if s.applied() {
		return false
	}
	lag := s.db.lag.Load() // of all stores; this one is in turn if it has its share of it
	return pressed ||
		now.Sub(s.last) >= s.db.opt.ApplyInterval ||
		lag >= s.db.opt.MaxLag*2/3 && s.lag()*stores >= lag ||
		s.changed >= tailBytes/stores
}

// Behind says that the rows of this store come faster than Badger takes them: memory is a
// quarter above CacheBytes, the store has more than its share of it, and what would let
// rows go is being written. Whoever adds to it waits, and calls Apply meanwhile.
func (s *Store) Behind() bool {
	most := s.db.opt.CacheBytes
	return s.db.used.Load() > most+most/4 && s.held*max(1, s.db.stores.Load()) > most && s.queued.Load() > 0
}

// lag is the length of the changelog tail that a restart would replay.
func (s *Store) lag() int64 {
	if s.memory {
		return 0
	}
	return s.end - max(0, s.markerEnd.Load())
}

func (s *Store) pending() bool {
	for i := range s.shards {
		if len(s.shards[i].unapplied) > 0 {
			return true
		}
	}
	return false
}

// applied says that Badger has all that is committed, and a marker that says so. That of a
// restore under way does not, also where nothing was left to restore behind it.
func (s *Store) applied() bool {
	return s.end == s.markerEnd.Load() && !s.restoring.Load() && !s.pending()
}

func (s *Store) startWave() {
	s.last = s.db.now()
	s.changed = 0
	s.wave = wave{active: true}
	if s.settled {
		s.wave.mark = !s.memory
		s.wave.marker = Marker{Timeline: s.id.Timeline, TopicID: s.id.TopicID, Epoch: s.epoch, End: s.end}
		return
	}
	s.marked = true
	s.wave.marker, s.wave.mark = s.progress()
}

// handOver gives the applier the next rows of the wave, about limit bytes of them, and
// after the last ones the marker.
func (s *Store) handOver(limit int) error {
	b := s.saved // for the cut: first, and perhaps more than limit
	if s.saved = nil; b == nil {
		b = s.db.newBatch(s)
	}
	for looked := 0; s.wave.shard < shardCount && len(b.buf) < limit; s.wave.shard++ {
		sh := &s.shards[s.wave.shard]
		if s.cut == nil {
			sh.due = len(sh.unapplied)
		}
		for sh.due > 0 && len(b.buf) < limit && looked < sliceRows {
			looked++
			sh.due--
			row := sh.row(sh.follow(sh.unapplied[sh.due]))
			if s.later > 0 && rowEpoch(row) >= s.later && !planted("cut with rows changed after it") {
				continue // what it was is saved, if it is in the cut at all
			}
			b.take(row)
			if s.memory {
				continue
			}
			row[2] &^= unapplied
			last := len(sh.unapplied) - 1
			sh.unapplied[sh.due] = sh.unapplied[last]
			sh.unapplied = sh.unapplied[:last]
			sh.handed = s.handed + 1
		}
		if sh.due > 0 {
			break
		}
	}
	if s.wave.shard == shardCount {
		s.wave.active = false
		b.last = true
		if s.wave.mark {
			m := s.wave.marker // a copy: the next wave may start before this is written
			b.marker = &m
		}
	}
	return s.give(b)
}

// give passes a batch on to the applier, that of a store in memory to its cut.
func (s *Store) give(b *batch) error {
	if b.cut = s.cut; b.last {
		s.cut, s.later = nil, 0
	}
	if s.memory {
		b.cut.keep(b)
		return nil
	}
	b.reach = -1
	switch {
	case s.settled:
		b.reach = s.end
	case s.target > 0:
		b.reach = max(s.reach, s.target)
	}
	if len(b.rows) > 0 {
		s.persisted = true
	}
	s.handed++
	b.number = s.handed
	s.queued.Add(int64(len(b.buf)))
	s.figures.applied.Add(int64(len(b.rows)))
	err := s.db.submit(b.job())
	if err != nil && b.cut != nil {
		b.cut.fail(err)
	}
	return err
}

// handAll hands over everything that is committed, with its marker.
func (s *Store) handAll() error {
	for {
		if err := s.db.checkFree(); err != nil {
			return s.wrap("apply", err)
		}
		if !s.wave.active {
			if s.applied() {
				return nil
			}
			s.startWave()
		}
		whole := s.wave.marker.End == s.end && s.wave.mark && !s.wave.marker.Restoring
		for s.wave.active {
			if err := s.handOver(sliceBytes); err != nil {
				return err
			}
		}
		if whole && !s.pending() {
			return nil
		}
	}
}

// account adds to what is held in memory.
func (s *Store) account(delta int64) {
	s.held += delta
	if s.memory {
		s.db.pinned.Add(delta)
	} else {
		s.db.used.Add(delta)
	}
}

// tidy keeps memory within bounds, a few shards at a time: it takes the waste out of
// slabs, and when all stores together hold more than CacheBytes it drops clean rows that
// were not used since the last walk. Of a store in memory it only drops deleted rows.
func (s *Store) tidy() {
	held := int64(cap(s.undo)*16 + cap(s.undoBytes))
	rows := 0
	for i := range s.shards {
		held += int64(s.shards[i].bytes())
		rows += s.shards[i].used
	}
	if s.order != nil {
		held += s.order.bytes()
	}
	if s.saved != nil {
		held += s.saved.size()
	}
	s.account(held - s.held)
	s.figures.rows.Store(int64(rows))
	s.figures.bytes.Store(held)
	if s.order != nil {
		s.order.purge(s)
	}
	over := s.db.used.Load() - s.db.opt.CacheBytes
	limit := max(tidyBytes, 4*int(over)/int(max(1, s.db.stores.Load())))
	for looked, work := 0, 0; looked < shardCount && work < limit; looked++ {
		i := s.clock
		s.clock = (s.clock + 1) % shardCount
		sh := &s.shards[i]
		evict := !s.memory && s.db.used.Load() > s.db.opt.CacheBytes && sh.handed <= s.done.Load() && len(sh.unapplied)*8 < sh.used*7
		dead := s.memory && sh.dead*4 > sh.used+16
		if !evict && !dead && (sh.waste < 4096 || sh.waste*4 < len(sh.slab)) {
			continue
		}
		before := sh.bytes()
		work += len(sh.slab)
		s.rebuild(i, evict)
		s.account(int64(sh.bytes() - before))
	}
}

// rebuild makes one shard compact. A clean row may go only when the batch that wrote it
// is finished: until then Badger does not have it.
func (s *Store) rebuild(i int, evict bool) {
	sh := &s.shards[i]
	settled := sh.handed <= s.done.Load()
	dropped := 0
	old := sh.rebuild(s.tag, func(row []byte) bool {
		fl := flags(row)
		switch {
		case s.memory:
			return fl&present != 0
		case fl&unapplied != 0:
			return true
		case fl&known == 0:
			return false
		case !settled:
			return true
		case fl&absent != 0 && s.complete:
			return false
		case !evict:
			return true
		case fl&used != 0:
			row[2] = fl &^ used
			return true
		}
		if fl&present != 0 {
			s.complete, s.warm.on = false, false
		}
		dropped++
		return false
	})
	s.memo = place{}
	s.figures.evicted.Add(int64(dropped))
	if s.order != nil {
		s.order.moved(i, old)
	}
}
