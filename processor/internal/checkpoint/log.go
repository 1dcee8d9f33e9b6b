package checkpoint

import (
	"fmt"
	"maps"
	"slices"
)

// Log is what the records of the control log add up to, read from the first: which ids were used, which
// cut is undecided, what may be restored, what is asked for. The zero value is an empty log.
//
// Whoever reads the topic keeps one and refuses what Apply refuses; the machines keep theirs and take that
// for granted. A log that was compacted by cut, so that only the last record of each is left, adds up to
// the same.
//
// Invariants:
//
//	undecided.ID != 0 => undecided.ID <= last, and it is in neither completed nor garbage
//	completed is in the order of ids
//	a request is in queue or in taken, not in both
type Log struct {
	last      uint64
	before    uint64 // highest id that was used before the timeline that counts
	undecided Cut
	completed []Cut             // and not dropped
	queue     []Requested       // asked for and not triggered, oldest first
	taken     map[string]uint64 // request -> its cut
	garbage   []uint64          // the last cuts that were declined or dropped: their objects may still be there
	started   int64             // wall time of the last checkpoint's trigger
	ended     int64             // wall time of the last decision
}

// garbageKept is for how many cuts a coordinator repeats the deletion that its predecessor may not have
// finished. Deletions that lag behind further are left to whoever audits the store.
const garbageKept = 16

// OrderError is returned by Apply when a record cannot follow the ones before it: two coordinators have
// written at once, or somebody else has.
type OrderError struct {
	Record string // as in a script
	Why    string
}

func (e *OrderError) Error() string {
	return fmt.Sprintf("control record %q: %s: the control topic was written by something else than weir, or was truncated", e.Record, e.Why)
}

// Clone gives a log that shares nothing with l.
func (l *Log) Clone() *Log {
	c := *l
	c.completed, c.queue, c.garbage, c.taken = slices.Clone(l.completed), slices.Clone(l.queue), slices.Clone(l.garbage), maps.Clone(l.taken)
	return &c
}

// Last is the highest id ever used.
func (l *Log) Last() uint64 { return l.last }

// Before is the highest id that was used before the timeline that counts: the positions of cuts up to it are
// those of other topics.
func (l *Log) Before() uint64 { return l.before }

// Undecided is the cut that was triggered and neither declined nor completed.
func (l *Log) Undecided() (Cut, bool) { return l.undecided, l.undecided.ID != 0 }

// Completed are the cuts that may be restored, oldest first.
func (l *Log) Completed() []Cut { return slices.Clone(l.completed) }

// Taken is the cut that a request got.
func (l *Log) Taken(request string) (uint64, bool) {
	id, ok := l.taken[request]
	return id, ok
}

// Apply adds the next record of the log, or returns *OrderError and changes nothing.
func (l *Log) Apply(r Record) error {
	why := ""
	switch r := r.(type) {
	case Requested:
		why = l.requested(r)
	case Triggered:
		why = l.triggered(r)
	case Declined:
		if why = l.decided(r.Cut, r.Wall); why == "" {
			l.discard(r.ID)
		}
	case Completed:
		if why = l.decided(r.Cut, r.Wall); why == "" {
			l.completed = append(l.completed, r.Cut)
		}
	case Dropped:
		why = l.dropped(r.ID)
	case Activated:
		// An undecided cut of the timeline before stays so until it is declined.
		l.last, l.before = max(l.last, r.ID), max(l.before, r.ID)
	}
	if why != "" {
		return &OrderError{Record: recordText(r), Why: why}
	}
	return nil
}

func (l *Log) requested(r Requested) string {
	if r.Request == "" {
		return "a request needs an id"
	}
	_, taken := l.taken[r.Request]
	if !taken && !slices.ContainsFunc(l.queue, func(q Requested) bool { return q.Request == r.Request }) {
		l.queue = append(l.queue, r)
	}
	return ""
}

func (l *Log) triggered(r Triggered) string {
	switch {
	case l.undecided.ID != 0:
		return fmt.Sprintf("cut %d is undecided", l.undecided.ID)
	case r.ID <= l.last:
		return fmt.Sprintf("ids up to %d were used before", l.last)
	}
	l.last, l.undecided = r.ID, r.Cut
	if r.Kind == Checkpoint {
		l.started = r.Wall
	}
	l.take(r.Cut)
	return ""
}

func (l *Log) decided(c Cut, wall int64) string {
	switch {
	case c.ID == l.undecided.ID && c.ID != 0:
		l.undecided = Cut{}
	case l.undecided.ID != 0:
		return fmt.Sprintf("cut %d is undecided", l.undecided.ID)
	case c.ID <= l.last:
		return "it was decided before"
	default:
		l.last = c.ID // compacted: the trigger is gone
		l.take(c)
	}
	l.ended = wall
	return ""
}

// take notes which cut a request got.
func (l *Log) take(c Cut) {
	if c.Request == "" {
		return
	}
	if l.taken == nil {
		l.taken = map[string]uint64{}
	}
	l.taken[c.Request] = c.ID
	l.queue = slices.DeleteFunc(l.queue, func(q Requested) bool { return q.Request == c.Request })
}

func (l *Log) dropped(id uint64) string {
	last := uint64(0)
	for _, c := range l.completed {
		if c.Kind == Checkpoint {
			last = c.ID
		}
	}
	switch {
	case id == 0 || id == l.undecided.ID:
		return "it is not decided"
	case id == last:
		return "it is the last completed checkpoint"
	}
	l.completed = slices.DeleteFunc(l.completed, func(c Cut) bool { return c.ID == id })
	l.last = max(l.last, id) // compacted
	l.discard(id)
	return ""
}

func (l *Log) discard(id uint64) {
	if len(l.garbage) == garbageKept {
		l.garbage = l.garbage[1:]
	}
	l.garbage = append(l.garbage, id)
}

// surplus is the oldest checkpoint beyond the number to keep, 0: none.
func (l *Log) surplus(keep int) uint64 {
	oldest, n := uint64(0), 0
	for _, c := range l.completed {
		if c.Kind == Checkpoint {
			if n++; oldest == 0 {
				oldest = c.ID
			}
		}
	}
	if n <= keep {
		return 0
	}
	return oldest
}

// next is the request whose turn it is: savepoints first, each kind in the order in which they came.
func (l *Log) next() (Requested, bool) {
	for _, kind := range [...]Kind{Savepoint, Checkpoint} {
		for _, q := range l.queue {
			if q.Kind == kind {
				return q, true
			}
		}
	}
	return Requested{}, false
}
