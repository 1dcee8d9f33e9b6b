package changelog

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/weir-stream/weir/offsets"
)

// Limits of one row. A key is bounded by Badger, a value by the size of its value log.
const (
	MaxKey   = 64_000
	MaxValue = 32 << 20
)

const shardCount = 256

// Store is the byte store of one task. All methods but Stats are for one goroutine at a
// time (the lane, or the restore that runs before it).
//
// Numbers: marker end <= wave end <= committed end <= reach of what was handed over by
// the last Apply. Rows in memory are the truth for their keys; a key without a row is
// absent if the store is complete, and as Badger says if not.
type Store struct {
	db     *DB
	id     StoreID
	inc    incarnation
	key    []byte // scratch: prefix + key
	read   *badger.Txn
	seed   maphash.Seed
	shards [shardCount]shard
	memo   place // of the last Get
	loaded byte  // see touchRow
	order  *order
	empty  gap

	// complete: every present row is in memory. True for a store born empty, until the
	// first eviction of a present row. persisted: Badger may have rows. memory: it never
	// has any; rows stay unapplied, and complete stays true.
	complete, persisted, memory bool

	open       uint32 // number of the open epoch, stamped on rows it touched
	undo       []undo // one for each row touched in it
	undoBytes  []byte // the values they had
	epochBytes int64

	settled   bool // committed is set: by Finish, or by the first Commit
	epoch     offsets.EpochID
	end       int64
	reach     int64 // of the base; Finish must not end below
	target    int64 // of the restore under way; 0: not said
	next      int64 // every record of the restore below is in the rows
	marked    bool  // a wave has begun in it
	following bool  // it has no end yet, see Follow
	wall      int64 // ms: tombstones from this time on may be missing from the rows

	wave    wave
	cut     *Cut   // whose wave is under way
	later   uint32 // epochs from this one on are not in it; 0: no cut is
	saved   *batch // what its rows were before they changed
	warm    warm
	last    time.Time // start of the last wave
	changed int64     // bytes committed since then
	clock   int       // next shard to look at for eviction
	held    int64     // part of db.used, or of db.pinned
	tick    int       // rows restored since the last housekeeping
	handed  uint64    // number of the last batch handed over

	done      atomic.Uint64 // number of the last batch finished by the applier
	queued    atomic.Int64  // bytes handed over and not finished
	markerEnd atomic.Int64  // End of the marker on disk; -1: none
	restoring atomic.Bool   // and it is one of a restore under way; set before markerEnd
	failure   atomic.Pointer[error]
	figures   figures
	closed    bool
}

// place is where a key was found.
type place struct {
	ok    bool
	shard int
	unit  uint32
	tag   uint32
}

// undo is what a row touched in the open epoch was before.
type undo struct {
	shard, unit uint32
	n           uint32 // bytes of its value in undoBytes
	state       byte   // its known bits
}

// figures are counted by the lane and read by Stats.
type figures struct {
	rows, bytes, reads, evicted, applied, waves atomic.Int64
}

func (s *Store) hash(key []byte) (shard int, tag uint32) {
	h := maphash.Bytes(s.seed, key)
	return int(h >> 56), uint32(h >> 24)
}

func (s *Store) tag(key []byte) uint32 {
	_, tag := s.hash(key)
	return tag
}

// locate finds key. A Put after a Get of the same key does not search again.
func (s *Store) locate(key []byte) place {
	if s.memo.ok {
		if row := s.shards[s.memo.shard].row(s.memo.unit); keyLen(row) == len(key) && string(rowKey(row)) == string(key) {
			return s.memo
		}
	}
	p := place{}
	p.shard, p.tag = s.hash(key)
	_, p.unit, p.ok = s.shards[p.shard].find(key, p.tag)
	s.memo = p
	return p
}

// insert makes a row for a key that has none in memory.
func (s *Store) insert(p place, key []byte, capacity int) place {
	var fl byte
	if s.complete {
		fl = absent | fresh
	}
	p.unit = s.shards[p.shard].insert(key, p.tag, capacity, fl)
	p.ok = true
	s.memo = p
	return p
}

// Get returns the value of key, valid until the next call on the store.
func (s *Store) Get(key []byte) (value []byte, ok bool, err error) {
	p := s.locate(key)
	if p.ok {
		row := s.shards[p.shard].row(p.unit)
		switch fl := flags(row); {
		case fl&present != 0:
			if fl&used == 0 {
				row[2] = fl | used
			}
			return rowValue(row), true, nil
		case fl&absent != 0:
			if fl&used == 0 {
				row[2] = fl | used
			}
			return nil, false, nil
		}
	} else if s.complete {
		return nil, false, nil
	}
	return s.load(p, key)
}

// load reads key from Badger and remembers what it found, also when that is nothing.
func (s *Store) load(p place, key []byte) ([]byte, bool, error) {
	if err := s.check(key, nil); err != nil {
		return nil, false, err
	}
	if !s.persisted {
		return s.remember(p, key, nil, absent|fresh)
	}
	s.figures.reads.Add(1)
	s.key = append(s.key[:prefixLen], key...)
	item, err := s.read.Get(s.key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return s.remember(p, key, nil, absent|fresh)
	}
	if err != nil {
		return nil, false, s.wrap("read", err)
	}
	var value []byte
	err = item.Value(func(v []byte) error {
		value, _, _ = s.remember(p, key, v, present)
		return nil
	})
	if err != nil {
		return nil, false, s.wrap("read", err)
	}
	return value, true, nil
}

// remember puts a clean row into memory.
func (s *Store) remember(p place, key, value []byte, state byte) ([]byte, bool, error) {
	if !p.ok {
		p = s.insert(p, key, len(value))
	}
	row := s.fill(&p, value)
	row[2] = row[2]&^(known|fresh) | state | used
	return rowValue(row), state&present != 0, nil
}

// fill sets the value bytes of a row, which may move.
func (s *Store) fill(p *place, value []byte) []byte {
	sh := &s.shards[p.shard]
	row := sh.row(p.unit)
	if len(value) > valueCap(row) {
		p.unit = sh.room(p.unit, p.tag, len(value))
		s.memo = *p
		row = sh.row(p.unit)
	}
	setValueLen(row, len(value))
	copy(row[rowHeader+keyLen(row):], value)
	return row
}

// Put sets the value of key in the open epoch. Both are copied.
func (s *Store) Put(key, value []byte) error { return s.write(key, value, present) }

// Delete removes key in the open epoch. It is a change, and a tombstone in the
// changelog, also when the key was not there.
func (s *Store) Delete(key []byte) error { return s.write(key, nil, absent) }

func (s *Store) write(key, value []byte, state byte) error {
	if s.closed || len(key) > MaxKey || len(value) > MaxValue {
		return s.check(key, value)
	}
	p := s.locate(key)
	if !p.ok {
		p = s.insert(p, key, len(value))
	}
	sh := &s.shards[p.shard]
	row := sh.row(p.unit)
	fl := flags(row)
	if last := rowEpoch(row); last != s.open {
		if last < s.later && fl&unapplied != 0 && !planted("cut without copy-on-write") {
			s.save(p.shard, row)
		}
		u := undo{shard: uint32(p.shard), unit: p.unit, state: fl & known}
		if fl&present != 0 {
			old := rowValue(row)
			u.n = uint32(len(old))
			s.undoBytes = append(s.undoBytes, old...)
		}
		s.undo = append(s.undo, u)
		setEpoch(row, s.open)
		s.epochBytes += int64(rowHeader + len(key) + len(value))
	} else if grown := len(value) - valueLen(row); grown > 0 {
		s.epochBytes += int64(grown)
	}
	s.touch(&p, row)
	row = s.fill(&p, value)
	row[2] = row[2]&^known | state | used
	if state == absent {
		sh.dead++
	}
	return nil
}

// touch notes that a row differs from what Badger was given.
func (s *Store) touch(p *place, row []byte) {
	if flags(row)&unapplied == 0 {
		row[2] |= unapplied
		sh := &s.shards[p.shard]
		sh.unapplied = append(sh.unapplied, p.unit)
	}
	if s.order != nil {
		s.order.add(p.shard, p.unit, row)
		s.empty.put(rowKey(row))
	}
}

// check says why a row is refused.
func (s *Store) check(key, value []byte) error {
	switch {
	case s.closed || s.db.closing.Load():
		return s.wrap("use", ErrClosed)
	case len(key) > MaxKey:
		return s.wrap("put", &TooLargeError{What: "key", Size: len(key), Most: MaxKey})
	case len(value) > MaxValue:
		return s.wrap("put", &TooLargeError{What: "value", Size: len(value), Most: MaxValue})
	}
	return nil
}

// Changes calls f for each key touched in the open epoch, once, in order of first touch,
// with its last value; nil is a delete (a tombstone, also for a key that was put first in
// the same epoch). The bytes stay valid and unchanged until the next Put, Delete, Commit
// or Rollback.
func (s *Store) Changes(f func(key, value []byte) error) error {
	for i, u := range s.undo {
		if i%ahead == 0 {
			s.touchRows(s.undo[i:min(i+ahead, len(s.undo))])
		}
		sh := &s.shards[u.shard]
		row := sh.row(sh.follow(u.unit))
		var value []byte
		if flags(row)&present != 0 {
			value = rowValue(row)
		}
		if err := f(rowKey(row), value); err != nil {
			return err
		}
	}
	return nil
}

// EpochBytes is about the size of Changes.
func (s *Store) EpochBytes() int64 { return s.epochBytes }

// Commit makes the open epoch part of the committed rows; end is the changelog offset
// behind its records. It costs the same whatever the size of the epoch.
func (s *Store) Commit(epoch offsets.EpochID, end int64) {
	if end < s.end {
		panic(fmt.Sprintf("changelog: store %s: commit of epoch %s with end %d below the committed end %d", s.id, epoch, end, s.end))
	}
	s.committed(epoch, end)
	s.changed += s.epochBytes
	s.nextEpoch()
}

func (s *Store) committed(epoch offsets.EpochID, end int64) {
	if !s.memory {
		s.db.lag.Add(end - s.end)
	}
	s.settled, s.epoch, s.end = true, epoch, end
}

// Rollback goes back to the last Commit.
func (s *Store) Rollback() {
	at := 0
	for _, u := range s.undo {
		old := s.undoBytes[at : at+int(u.n)]
		at += int(u.n)
		sh := &s.shards[u.shard]
		unit := sh.follow(u.unit)
		row := sh.row(unit)
		setValueLen(row, len(old)) // fits: a capacity never shrinks
		copy(row[rowHeader+keyLen(row):], old)
		// It keeps flag unapplied: to write the committed value once too often is harmless.
		row[2] = row[2]&^known | u.state
		if u.state == absent {
			sh.dead++
		}
	}
	s.nextEpoch()
}

func (s *Store) nextEpoch() {
	if s.open++; s.open == 0 {
		s.renumber()
	}
	s.epochBytes = 0
	s.undo, s.undoBytes = shrunk(s.undo), shrunk(s.undoBytes)
}

// shrunk empties a scratch slice; one that was large once is not kept for ever.
func shrunk[T any](b []T) []T {
	if cap(b) > 1<<16 && len(b) < cap(b)/8 {
		return make([]T, 0, cap(b)/2)
	}
	return b[:0]
}

func (s *Store) wrap(op string, err error) error {
	return fmt.Errorf("store %s: %s: %w", s.id, op, err)
}

// fail remembers the applier's first error; the next Apply returns it.
func (s *Store) fail(err error) {
	err = s.wrap("apply", err)
	s.failure.CompareAndSwap(nil, &err)
}

func (s *Store) failed() error {
	if e := s.failure.Load(); e != nil {
		return *e
	}
	return nil
}

// Close gives the store back, so that the next OpenStore gets it. With apply, committed
// rows and their marker are written first (a clean stop); without, they are dropped and
// the changelog covers them. Rows of the open epoch are dropped. A cut under way fails, unless
// apply completes it. When ctx ends first the lease is released later, as soon as nothing of
// this store is under way.
func (s *Store) Close(ctx context.Context, apply bool) error {
	if s.closed {
		return nil
	}
	var err error
	if len(s.undo) > 0 {
		s.Rollback()
	}
	if apply && s.settled && !s.memory {
		err = s.handAll()
	}
	s.endCut(ErrClosed)
	s.closed, s.complete = true, false // so that Get asks whether it is closed
	finished := make(chan struct{})
	s.db.release(s, finished)
	select {
	case <-finished:
		err = errors.Join(err, s.failed())
	case <-ctx.Done():
		err = errors.Join(err, s.wrap("close", ctx.Err()))
	}
	s.account(-s.held)
	s.shards, s.order, s.memo, s.held = [shardCount]shard{}, nil, place{}, 0
	s.undo, s.undoBytes = nil, nil
	return err
}

// Stats is a picture of a store for status and metrics, safe to take at any time.
type Stats struct {
	ID        StoreID
	Rows      int64 // in memory
	Bytes     int64 // of memory
	Reads     int64 // from Badger
	Evicted   int64 // rows
	Applied   int64 // rows handed to Badger
	Waves     int64 // finished
	MarkerEnd int64 // -1: no marker
}

// Stats may be called by any goroutine; Rows and Bytes are those of the last Apply.
func (s *Store) Stats() Stats {
	return Stats{
		ID: s.id, Rows: s.figures.rows.Load(), Bytes: s.figures.bytes.Load(), Reads: s.figures.reads.Load(),
		Evicted: s.figures.evicted.Load(), Applied: s.figures.applied.Load(), Waves: s.figures.waves.Load(),
		MarkerEnd: s.markerEnd.Load(),
	}
}
