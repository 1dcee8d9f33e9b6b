package task

import "math"

// Windows is a window store: rows in the order of window start, then key, so that what
// closes is a range at the front. The start of the oldest open window is kept in memory:
// as long as that one stays open, nothing is read. Invariant, between calls:
//
//	oldest <= lowest start of a row in the store; none if it is empty
//
// They differ while the rows of the oldest window were all deleted by its operator.
// A window [start, start+size) closes when the task's time reaches start+closeAfter.
type Windows struct {
	t          *Task
	node       int
	store      Store
	closeAfter int64
	emit       WindowEmission
	fire       func(start int64, key, value []byte) error

	oldest, savedOldest int64
	start               int64 // of the last Get
	row                 []byte

	slab, low, high []byte
	rows            []windowRow

	deferred map[string]struct{} // rows that Defer keeps back
	order    []string            // the same, in the order they came
}

type windowRow struct{ key, value int } // ends in slab

// WindowEmission says which rows fire.
type WindowEmission uint8

// The emissions.
const (
	FireNever    WindowEmission = iota // results were emitted already: rows just go
	FireDeferred                       // the deferred rows, at the end of the epoch or when their window closes
	FireAll                            // every row, when its window closes
)

// closeSlice bounds the rows that are copied from the store at once while a window closes.
const closeSlice = 256

// NewWindows opens the window store of a node. What fire gets is valid during the call.
func (t *Task) NewWindows(node int, closeAfter int64, emit WindowEmission, fire func(start int64, key, value []byte) error) *Windows {
	w := &Windows{
		t: t, node: node, store: t.Store(node), closeAfter: closeAfter, emit: emit, fire: fire,
		oldest: none, savedOldest: none, deferred: map[string]struct{}{},
	}
	t.windows = append(t.windows, w)
	return w
}

// Get reads the row of a key's window; the value is valid until the next call.
func (w *Windows) Get(start int64, key []byte) (value []byte, ok bool, err error) {
	w.start, w.row = start, AppendWindowRow(w.row[:0], start, key)
	value, ok, err = w.store.Get(w.row)
	if err != nil {
		err = w.t.EnvFailed(w.node, "read store", err)
	}
	return value, ok, err
}

// Put writes the row of the last Get.
func (w *Windows) Put(value []byte) error {
	if err := w.store.Put(w.row, value); err != nil {
		return w.t.EnvFailed(w.node, "write store", err)
	}
	w.oldest = min(w.oldest, w.start)
	return nil
}

// Delete removes the row of the last Get. The window may be empty then, and still closes.
func (w *Windows) Delete() error {
	if err := w.store.Delete(w.row); err != nil {
		return w.t.EnvFailed(w.node, "write store", err)
	}
	return nil
}

// Defer fires the row of the last Get later: see FireDeferred.
func (w *Windows) Defer() {
	if _, ok := w.deferred[string(w.row)]; !ok {
		row := string(w.row)
		w.deferred[row] = struct{}{}
		w.order = append(w.order, row)
	}
}

// flush fires the deferred rows in the order in which they were first deferred.
func (w *Windows) flush() error {
	for _, row := range w.order {
		if _, ok := w.deferred[row]; !ok {
			continue // its window has closed
		}
		w.row = append(w.row[:0], row...)
		value, ok, err := w.store.Get(w.row)
		if err != nil {
			return w.t.EnvFailed(w.node, "read store", err)
		}
		if !ok {
			continue // deleted since
		}
		w.slab = append(w.slab[:0], value...)
		start, key, _ := ParseWindowRow(w.row)
		if err := w.fire(start, key, w.slab); err != nil {
			return err
		}
	}
	w.drop()
	return nil
}

// drop forgets the deferred rows.
func (w *Windows) drop() {
	clear(w.deferred)
	w.order = w.order[:0]
}

// fires says whether a row of a closing window is to be fired.
func (w *Windows) fires(row []byte) bool {
	if w.emit == FireDeferred {
		_, ok := w.deferred[string(row)]
		delete(w.deferred, string(row))
		return ok
	}
	return w.emit == FireAll
}

// GuessRow appends the key of the row that a record with this key may read soon: in the
// window which was read last, if the task has windows. It is for reading ahead; a wrong guess
// costs time and nothing else.
func (t *Task) GuessRow(dst, key []byte) []byte {
	if len(t.windows) > 0 {
		return AppendWindowRow(dst, t.windows[0].start, key)
	}
	return AppendKeyedRow(dst, key)
}

// closes is the watermark that closes the oldest window.
func (w *Windows) closes() int64 {
	if w.oldest == none {
		return none
	}
	return satAdd(w.oldest, w.closeAfter)
}

// closeOldest fires the rows of the oldest window and deletes them, a slice at a time:
// what Range shows must not be written to meanwhile.
func (w *Windows) closeOldest() error {
	start := w.oldest
	w.low = appendWindowStart(w.low[:0], start)
	w.high = appendWindowStart(w.high[:0], start+1)
	collect := func(key, value []byte) bool {
		w.slab = append(w.slab, key...)
		k := len(w.slab)
		if w.emit != FireNever {
			w.slab = append(w.slab, value...)
		}
		w.rows = append(w.rows, windowRow{k, len(w.slab)})
		return len(w.rows) < closeSlice
	}
	for {
		w.slab, w.rows = w.slab[:0], w.rows[:0]
		if err := w.store.Range(w.low, w.high, collect); err != nil {
			return w.t.EnvFailed(w.node, "read store", err)
		}
		from := 0
		for _, r := range w.rows {
			row, value := w.slab[from:r.key], w.slab[r.key:r.value]
			from = r.value
			if w.fires(row) {
				if err := w.fire(start, row[windowPrefix:], value); err != nil {
					return err
				}
			}
			if err := w.store.Delete(row); err != nil {
				return w.t.EnvFailed(w.node, "write store", err)
			}
			w.low = append(append(w.low[:0], row...), 0) // the next possible key
		}
		if len(w.rows) < closeSlice {
			return w.findOldest(w.high)
		}
	}
}

// findOldest looks for the first row from there on.
func (w *Windows) findOldest(from []byte) error {
	w.oldest = none
	err := w.store.Range(from, UserRowsEnd, func(key, _ []byte) bool {
		if start, _, ok := ParseWindowRow(key); ok {
			w.oldest = start
		}
		return false
	})
	if err != nil {
		return w.t.EnvFailed(w.node, "read store", err)
	}
	return nil
}

// none is the oldest window of a store without windows.
const none = math.MaxInt64
