package changelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-stream/weir/offsets"
)

// Cut is the committed rows of a store as they were at one moment, whatever becomes of the
// store since. It is taken by the lane (Store.Cut); its own methods are for any goroutine.
//
// A cut that is not released costs disk: Badger keeps every version that any store of the
// directory has written since the oldest of them. A cut of a store in memory costs memory
// instead, as much as the rows have, and leaves the disk alone.
type Cut struct {
	store *Store // whose it is; nothing of it is read here
	db    *DB
	id    StoreID
	inc   incarnation // 0: of a store in memory
	epoch offsets.EpochID
	end   int64
	taken time.Time
	ended chan struct{} // closed with err or ts set

	mu       sync.Mutex // guards what follows
	ts       uint64     // reading Badger there gives the rows
	err      error
	released bool
	readers  int
	copied   []*batch // of a store in memory
	bytes    int64    // of them, part of db.pinned

	sorted sync.Once // copied is, by the first who reads it
}

var (
	errReset    = errors.New("the store was reset")
	errReleased = errors.New("the cut is released")
)

// Cut freezes the committed rows as they are now, in a time that does not depend on their
// number: it begins a wave of exactly the rows that Badger does not have as they are. The
// wave goes on with each Apply, at most 4 MiB of it, and the lane must go on calling it.
// Meanwhile the first change of a row that is still to be written copies its old value,
// so memory grows by at most the rows that were unapplied.
//
// It is called between epochs. A store has one cut under way: while the former one is, Cut
// fails with ErrCutPending, unless that one was released; then it takes its place.
func (s *Store) Cut() (*Cut, error) {
	if len(s.undo) > 0 {
		panic(fmt.Sprintf("changelog: store %s: cut inside an epoch of %d rows", s.id, len(s.undo)))
	}
	if err := s.check(nil, nil); err != nil {
		return nil, err
	}
	if err := s.failed(); err != nil {
		return nil, err
	}
	if !s.settled {
		return nil, s.wrap("cut", errors.New("its restore has not ended"))
	}
	if s.cut != nil {
		if !s.cut.givenUp() {
			return nil, s.wrap("cut", fmt.Errorf("that of epoch %s: %w", s.cut.epoch, ErrCutPending))
		}
		s.endCut(errReleased)
	}
	c := &Cut{
		store: s, db: s.db, id: s.id, inc: s.inc, epoch: s.epoch, end: s.end,
		taken: s.db.now(), ended: make(chan struct{}),
	}
	for i := range s.shards {
		s.shards[i].due = len(s.shards[i].unapplied)
	}
	s.cut, s.later = c, s.open
	s.startWave() // one that is under way has its rows in this one
	return c, nil
}

// save copies the committed value of a row that the pending cut still needs, before its first
// change after the cut.
func (s *Store) save(shard int, row []byte) {
	if shard < s.wave.shard { // of a store in memory, whose rows stay unapplied: copied already
		return
	}
	if s.saved == nil {
		s.saved = s.db.newBatch(s)
	}
	s.saved.take(row)
	if len(s.saved.buf) >= sliceBytes { // what it holds is committed, so also within an epoch
		_ = s.give(s.saved) // an error has failed the cut, and the next Apply meets it
		s.saved = nil
	}
}

// endCut gives up the pending cut. The rows it wanted are still unapplied, so the values saved
// for it are not missed.
func (s *Store) endCut(err error) {
	if s.cut == nil {
		return
	}
	s.cut.fail(err)
	s.cut, s.later, s.saved = nil, 0, nil
}

// renumber begins anew after 2^32 epochs; what is later than the pending cut stays so.
func (s *Store) renumber() {
	for i := range s.shards {
		slab := s.shards[i].slab
		for at := 0; at < len(slab); {
			row := slab[at:]
			at += rowSize(keyLen(row), valueCap(row))
			epoch := uint32(0)
			if s.later > 0 && rowEpoch(row) >= s.later {
				epoch = 1
			}
			setEpoch(row, epoch)
		}
	}
	s.later, s.open = min(s.later, 1), 2
}

// End is the changelog offset that the rows are the fold below.
func (c *Cut) End() int64 { return c.end }

// Epoch is the last one in it.
func (c *Cut) Epoch() offsets.EpochID { return c.epoch }

// Taken is the time of the cut: deletes after it may be missing in what is restored from it
// if their tombstones are gone from the changelog.
func (c *Cut) Taken() time.Time { return c.taken }

// Increments says whether a later cut of the same store can be read since this one. If not,
// there is no use in keeping it.
func (c *Cut) Increments() bool { return c.inc != 0 }

func (c *Cut) wrap(err error) error {
	return fmt.Errorf("cut of store %s at end %d: %w", c.id, c.end, err)
}

// Wait waits until every row can be read. It fails if the store failed, was reset or was
// closed before.
func (c *Cut) Wait(ctx context.Context) error {
	select {
	case <-c.ended:
	case <-ctx.Done():
		return c.wrap(ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends a cut whose last rows are not there.
func (c *Cut) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver() {
		return
	}
	c.err = c.wrap(err)
	close(c.ended)
	c.free()
}

// complete is called by the applier when the last rows are written, before it goes on: no
// later version is there yet. For a store in memory ts is 0.
func (c *Cut) complete(ts uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOver() {
		return
	}
	if c.ts = ts; ts > 0 {
		c.db.applier.pin(ts)
	}
	close(c.ended)
	c.free()
}

// keep takes a batch of a store in memory.
func (c *Cut) keep(b *batch) {
	c.mu.Lock()
	if len(b.rows) > 0 {
		if len(b.buf) < cap(b.buf)/2 {
			b.buf = slices.Clone(b.buf)
		}
		c.copied = append(c.copied, b)
		c.bytes += b.size()
		c.db.pinned.Add(b.size())
	}
	c.mu.Unlock()
	if b.last {
		c.complete(0)
	}
}

func (c *Cut) isOver() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// Release lets go of the rows: nobody will read this cut, or a later one since it. Who reads
// it now may go on to the end.
func (c *Cut) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released = true
	c.free()
}

func (c *Cut) givenUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.released
}

// free gives back what the cut holds once nobody wants it. Called with mu held.
func (c *Cut) free() {
	if !c.isOver() || c.readers > 0 || !c.released && c.err == nil {
		return
	}
	if c.ts > 0 {
		c.db.applier.unpin(c.ts)
	}
	c.db.pinned.Add(-c.bytes)
	c.ts, c.copied, c.bytes = 0, nil, 0
}

// use keeps the rows there until over is called.
func (c *Cut) use() (over func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.isOver():
		return nil, c.wrap(ErrCutPending)
	case c.err != nil:
		return nil, c.err
	case c.released:
		return nil, c.wrap(errReleased)
	}
	closed, err := c.db.reader()
	if err != nil {
		return nil, c.wrap(err)
	}
	c.readers++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.readers--
		c.free()
		closed()
	}, nil
}
