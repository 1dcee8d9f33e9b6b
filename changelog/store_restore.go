package changelog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/weir-stream/weir/offsets"
)

// restoreTick is the number of restored rows between two looks at memory.
const restoreTick = 8192

// behindPause is the time between two looks at what the applier has written.
const behindPause = 5 * time.Millisecond

// progressAfter is how long a restore lasts before it notes on disk how far it is: the
// rows cost as much to write as to read, and a short restore is simply done again.
const progressAfter = 2 * time.Second

// Restoring begins a restore to the committed end target. It is optional; said, what the
// restore writes to make room has its reach in front of it, and a long restore notes its
// progress (see RestoredTo).
func (s *Store) Restoring(target int64) {
	if !s.following {
		s.next = s.end
	}
	s.target, s.last, s.marked, s.following = target, s.db.now(), false, false
}

// RestoredTo says that every record of the changelog below next was given to Restored. A
// restore that lasts longer than 2 s writes its rows, and behind them a marker that says
// Restoring, then and at each ApplyInterval: after a kill the next one continues from it.
func (s *Store) RestoredTo(next int64) error {
	s.next = next
	return s.restored()
}

// restored looks after memory. A changelog is read faster than rows are written, so it waits
// while the store is behind.
func (s *Store) restored() error {
	for {
		if err := s.failed(); err != nil {
			return err
		}
		if err := s.service(); err != nil || !s.Behind() {
			return err
		}
		time.Sleep(behindPause)
	}
}

// progress is the marker of a restore under way; ok is false if it would tell nothing.
func (s *Store) progress() (m Marker, ok bool) {
	if s.settled || s.next >= s.target && !s.following || s.next <= max(0, s.markerEnd.Load()) {
		return m, false
	}
	return Marker{
		Timeline: s.id.Timeline, TopicID: s.id.TopicID, Epoch: s.epoch, End: s.next, Wall: s.wall, Restoring: true,
	}, true
}

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
	return s.restored()
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
	s.reach, s.target, s.following = 0, 0, false
	s.committed(epoch, end)
	return s.failed()
}

// Load takes in a snapshot as the base of a restore: next gives the rows of a Cut in key
// order, and io.EOF behind the last; epoch, end and taken are those of the cut. Increments
// follow, each in a Load of its own, on the full snapshot that they begin with. The store must
// be as after Reset. Behind the last Load it is as one that was opened with a marker of that
// end: Restoring, the records of the changelog from there on, and Finish bring it up to date.
//
// Restored alone would do for the rows, but not for a kill on the way: the progress that is
// noted then would promise every tombstone since the restore began, and the rows have them up
// to taken only.
//
// Any error resets the store, also one of next that has found a wrong checksum: a part of a
// snapshot is never taken for all of it.
func (s *Store) Load(epoch offsets.EpochID, end int64, taken time.Time, next func() (key, value []byte, deleted bool, err error)) error {
	if s.settled || s.markerEnd.Load() >= 0 || end < s.end {
		return s.wrap("load snapshot", fmt.Errorf("it ends at %d, and there are rows up to %d already: reset the store first", end, s.end))
	}
	if err := s.loadRows(end, next); err != nil {
		return errors.Join(s.wrap("load snapshot", err), s.Reset())
	}
	if !s.memory {
		s.db.lag.Add(end - s.end)
	}
	s.epoch, s.end, s.wall, s.target = epoch, end, taken.UnixMilli(), 0
	return s.restored()
}

func (s *Store) loadRows(end int64, next func() (key, value []byte, deleted bool, err error)) error {
	s.reach, s.target, s.next = end, end, 0 // the reach of what is written to make room
	var last []byte
	for n := 0; ; n++ {
		key, value, deleted, err := next()
		if err == io.EOF { // as it is: one inside of another error is a file that ends too soon
			return nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("row %d: %w", n, err)
		case n > 0 && bytes.Compare(last, key) >= 0:
			return fmt.Errorf("row %d: key %q comes behind %q: %w", n, key, last, ErrSnapshot)
		case deleted && value != nil:
			return fmt.Errorf("row %d: key %q is deleted and has a value: %w", n, key, ErrSnapshot)
		case !deleted && value == nil:
			value = []byte{}
		}
		if err := s.Restored(key, value); err != nil {
			return fmt.Errorf("row %d: %w", n, err)
		}
		last = append(last[:0], key...)
	}
}
