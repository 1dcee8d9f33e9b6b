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
// for granted. The topic is compacted by cut and by request: of the records of one, all but the last may be
// missing, each for itself, so that a record says all that those before it said. Whatever is missing, the
// log adds up to the same.
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
	begun     int64             // wall time of its trigger
	completed []held            // and not dropped
	queue     []Requested       // asked for and not triggered, oldest first
	taken     map[string]uint64 // request -> its cut
	garbage   []Cut             // declined or dropped, and not forgotten: their objects may still be there
	started   moment            // of the last checkpoint's trigger
	ended     moment            // of the last decision
}

// moment is the wall time of something about a cut.
type moment struct {
	id   uint64
	wall int64
}

// later takes the time of a later cut. Decisions come in the order of the cuts.
func (m *moment) later(id uint64, wall int64) {
	if id >= m.id {
		*m = moment{id, wall}
	}
}

// held is a cut that may be restored.
type held struct {
	Cut
	began, wall int64
}

// garbageKept is for how many cuts that are never forgotten a coordinator repeats the deletion that its
// predecessor may not have finished. Deletions that lag behind further are left to whoever audits the store.
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
func (l *Log) Completed() []Cut {
	out := make([]Cut, 0, len(l.completed))
	for _, c := range l.completed {
		out = append(out, c.Cut)
	}
	return out
}

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
		if why = l.decided(r.Cut, r.Began, r.Wall); why == "" {
			l.discard(r.Cut)
		}
	case Completed:
		if why = l.decided(r.Cut, r.Began, r.Wall); why == "" {
			l.completed = append(l.completed, held{r.Cut, r.Began, r.Wall})
		}
	case Dropped:
		why = l.dropped(r)
	case Forgotten:
		why = l.forgotten(r.ID)
	case Activated:
		// An undecided cut of the timeline before stays so until it is declined.
		l.last, l.before = max(l.last, r.ID), max(l.before, r.ID)
		l.queue = slices.DeleteFunc(l.queue, func(q Requested) bool { return q.Drain }) // it was that timeline's time
	}
	if why != "" {
		return &OrderError{Record: recordText(r), Why: why}
	}
	return nil
}

// requested: of several with one id the last before its cut counts, which is the one that compaction leaves.
func (l *Log) requested(r Requested) string {
	if r.Request == "" {
		return "a request needs an id"
	}
	if _, taken := l.taken[r.Request]; !taken {
		l.unqueue(r.Request)
		l.queue = append(l.queue, r)
	}
	return ""
}

func (l *Log) unqueue(request string) {
	l.queue = slices.DeleteFunc(l.queue, func(q Requested) bool { return q.Request == request })
}

// triggered: if another cut is undecided, the record of its fate is missing, because a later one replaces it.
func (l *Log) triggered(r Triggered) string {
	if r.ID <= l.last {
		return fmt.Sprintf("ids up to %d were used before", l.last)
	}
	l.use(r.Cut, r.Wall)
	l.undecided, l.begun = r.Cut, r.Wall
	return ""
}

// decided: the trigger may be missing, and what is undecided before it is decided, see triggered. What the timeline
// before has left undecided is declined in this one.
func (l *Log) decided(c Cut, began, wall int64) string {
	left := c.ID <= l.before && l.last == l.before && !l.known(c.ID)
	switch {
	case c.ID == 0 || c.ID <= l.last && c.ID != l.undecided.ID && !left:
		return "it was decided before"
	case c.ID != l.undecided.ID:
		l.use(c, began)
	}
	l.undecided, l.begun = Cut{}, 0
	l.ended.later(c.ID, wall)
	return ""
}

// use notes an id that was not used before, and which request it answers.
func (l *Log) use(c Cut, began int64) {
	l.last = max(l.last, c.ID)
	if c.Kind == Checkpoint {
		l.started.later(c.ID, began)
	}
	l.take(c)
}

// known says whether the fate of a cut is.
func (l *Log) known(id uint64) bool {
	return slices.ContainsFunc(l.completed, func(c held) bool { return c.ID == id }) || slices.ContainsFunc(l.garbage, func(c Cut) bool { return c.ID == id })
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
	l.unqueue(c.Request)
}

// dropped: where the completion is missing, this says that there was one.
func (l *Log) dropped(r Dropped) string {
	if r.ID == 0 {
		return "it is not decided"
	}
	if r.ID > l.last || r.ID == l.undecided.ID {
		l.undecided, l.begun = Cut{}, 0
	}
	l.use(r.Cut, r.Began)
	l.ended.later(r.ID, r.Wall)
	l.remove(r.ID)
	l.discard(r.Cut)
	return ""
}

func (l *Log) remove(id uint64) {
	l.completed = slices.DeleteFunc(l.completed, func(c held) bool { return c.ID == id })
}

func (l *Log) forgotten(id uint64) string {
	if id == 0 {
		return "there is no cut 0"
	}
	if id == l.undecided.ID {
		l.undecided, l.begun = Cut{}, 0
	}
	l.remove(id)
	l.garbage = slices.DeleteFunc(l.garbage, func(c Cut) bool { return c.ID == id })
	return ""
}

func (l *Log) discard(c Cut) {
	l.garbage = append(l.garbage, c)
	stay := func(c Cut) bool { return !c.forgettable() }
	kept := 0
	for _, g := range l.garbage {
		if stay(g) {
			kept++
		}
	}
	if kept > garbageKept {
		oldest := slices.IndexFunc(l.garbage, stay)
		l.garbage = slices.Delete(l.garbage, oldest, oldest+1)
	}
}

// forgettable says whether nobody asks for what became of the cut, once its objects are deleted.
func (c Cut) forgettable() bool { return c.Kind == Checkpoint && c.Request == "" }

// forgettable is the oldest cut that may be forgotten once its objects are deleted, 0: none. Those behind the newest
// complete checkpoint stay: they say which id is the last, when the next is due, and how many have failed in a row.
func (l *Log) forgettable(deleted func(id uint64) bool) uint64 {
	newest := uint64(0)
	for _, c := range l.completed {
		if c.Kind == Checkpoint {
			newest = c.ID
		}
	}
	for _, g := range l.garbage {
		if g.forgettable() && g.ID < newest && deleted(g.ID) {
			return g.ID
		}
	}
	return 0
}

// surplus is the oldest checkpoint beyond the number to keep.
func (l *Log) surplus(keep int) (oldest held, found bool) {
	n := 0
	for _, c := range l.completed {
		if c.Kind == Checkpoint {
			if n++; n == 1 {
				oldest = c
			}
		}
	}
	return oldest, n > keep
}

// Draining says whether a cut is asked for that waits for the end of time.
func (l *Log) Draining() bool {
	return slices.ContainsFunc(l.queue, func(q Requested) bool { return q.Drain })
}

// next is the request whose turn it is: savepoints first, each kind in the order in which they came. One that waits
// for the end of time has its turn when that has come.
func (l *Log) next(drained bool) (Requested, bool) {
	for _, kind := range [...]Kind{Savepoint, Checkpoint} {
		for _, q := range l.queue {
			if q.Kind == kind && (drained || !q.Drain) {
				return q, true
			}
		}
	}
	return Requested{}, false
}
