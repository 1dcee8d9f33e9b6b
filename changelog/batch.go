package changelog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// batch is a part of a wave: rows of one store, copied out of its memory.
type batch struct {
	store  *Store
	inc    incarnation
	buf    []byte
	rows   []batchRow
	reach  int64   // changelog end that the rows may be as new as; -1: not known
	marker *Marker // to be written behind the rows
	last   bool    // of its wave
	cut    *Cut    // whose wave it is
	number uint64
}

type batchRow struct {
	at, key, value int    // buf[at:at+key] and what follows; value -1: delete
	order          uint64 // see sort
}

// spares are batches kept for the next wave: growing one from nothing copies it ten times.
const spares = 6

func (db *DB) newBatch(s *Store) *batch {
	a := &db.applier
	a.mu.Lock()
	defer a.mu.Unlock()
	b := &batch{}
	if n := len(a.spare); n > 0 {
		b, a.spare = a.spare[n-1], a.spare[:n-1]
	}
	*b = batch{store: s, inc: s.inc, buf: b.buf[:0], rows: b.rows[:0]}
	if b.buf == nil && s.memory { // those do not come back
		b.buf = make([]byte, 0, min(sliceBytes+sliceBytes/8, s.held))
	}
	return b
}

// size is the memory that it holds.
func (b *batch) size() int64 { return int64(cap(b.buf) + 32*cap(b.rows)) }

// take adds a row as far as Badger has to hear of it.
func (b *batch) take(row []byte) {
	switch fl := flags(row); {
	case fl&present != 0:
		b.add(rowKey(row), rowValue(row), false)
	case fl&(absent|fresh) == absent:
		b.add(rowKey(row), nil, true)
	default: // unknown, or put and deleted between two waves: Badger never saw it
		return
	}
	row[2] &^= fresh
}

func (b *batch) add(key, value []byte, del bool) {
	r := batchRow{at: len(b.buf), key: prefixLen + len(key), value: len(value)}
	if del {
		r.value = -1
	}
	b.buf = append(b.buf, byte(b.inc>>24), byte(b.inc>>16), byte(b.inc>>8), byte(b.inc))
	b.buf = append(append(b.buf, key...), value...)
	b.rows = append(b.rows, r)
}

func (b *batch) job() job {
	return job{run: b.write, done: b.finish}
}

// write puts the rows into Badger and then, when all of them are there, the marker.
func (b *batch) write(ts uint64) error {
	s, db := b.store, b.store.db
	if err := s.failed(); err != nil {
		return err // the wave has a hole: no marker
	}
	if err := db.checkFree(); err != nil {
		return err
	}
	if err := b.writeRows(ts); err != nil {
		return err
	}
	if b.marker != nil {
		if err := b.writeMarker(ts + 1); err != nil {
			return err
		}
	}
	if b.cut != nil && b.last {
		b.cut.complete(ts + 1)
	}
	return nil
}

func (b *batch) writeMarker(ts uint64) error {
	db := b.store.db
	if !b.marker.Restoring {
		b.marker.Wall = db.now().UnixMilli()
	}
	txn := db.badger.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	if err := txn.Set(systemKey(rowMarker, b.inc), b.marker.encode()); err != nil {
		return err
	}
	if err := txn.Set(systemKey(rowReach, b.inc), encodeEnd(max(b.reach, b.marker.End))); err != nil {
		return err
	}
	return txn.CommitAt(ts, nil)
}

// txnRows is the size of one Badger transaction. Badger walks the rows of one in random
// order; a small one, of rows that are neighbours, stays within a part of the memtable
// that the CPU caches hold.
const txnRows = 2000

// writeRows writes all rows in key order, in many transactions, and waits for all of them:
// they are committed asynchronously and may fail one by one.
func (b *batch) writeRows(ts uint64) error {
	if len(b.rows) == 0 {
		return nil
	}
	b.sort()
	w := b.store.db.applier.writer(ts)
	if b.reach >= 0 { // first, so that no row is there without it
		w.set(systemKey(rowReach, b.inc), encodeEnd(b.reach))
	}
	for _, r := range b.rows {
		key := b.buf[r.at : r.at+r.key : r.at+r.key]
		if r.value < 0 {
			w.delete(key)
			continue
		}
		at := r.at + r.key
		w.set(key, b.buf[at:at+r.value:at+r.value])
	}
	return w.flush()
}

// writer is a badger.WriteBatch with transactions of bounded length.
type writer struct {
	db      *badger.DB
	ts      uint64
	txn     *badger.Txn
	n       int
	entries []badger.Entry      // of the transaction in the making
	slots   chan []badger.Entry // for entries; as many transactions may be under way
	err     error               // of a set or delete
	late    atomic.Pointer[error]
}

const txnsUnderWay = 8

func (a *applier) writer(ts uint64) *writer {
	if a.slots == nil {
		a.slots = make(chan []badger.Entry, txnsUnderWay)
		for range txnsUnderWay {
			a.slots <- make([]badger.Entry, 0, txnRows)
		}
	}
	return &writer{db: a.db.badger, ts: ts, slots: a.slots}
}

func (w *writer) set(key, value []byte) {
	w.do(func() error {
		if w.n == len(w.entries) { // not a second try
			w.entries = append(w.entries, badger.Entry{Key: key, Value: value})
		}
		return w.txn.SetEntry(&w.entries[w.n])
	})
}

func (w *writer) delete(key []byte) {
	w.do(func() error {
		w.entries = append(w.entries, badger.Entry{})
		return w.txn.Delete(key)
	})
}

func (w *writer) do(f func() error) {
	if w.err != nil {
		return
	}
	if w.n == txnRows {
		w.commit()
	}
	w.begin()
	err := f()
	if errors.Is(err, badger.ErrTxnTooBig) && w.n > 0 {
		w.entries = w.entries[:w.n]
		w.commit()
		w.begin()
		err = f()
	}
	w.err = err
	w.n++
}

func (w *writer) begin() {
	if w.txn == nil {
		w.txn, w.n = w.db.NewTransactionAt(math.MaxUint64, true), 0
		w.entries = (<-w.slots)[:0]
	}
}

func (w *writer) commit() {
	entries := w.entries
	err := w.txn.CommitAt(w.ts, func(err error) {
		if err != nil {
			w.late.CompareAndSwap(nil, &err)
		}
		clear(entries)
		w.slots <- entries
	})
	if err != nil && w.err == nil {
		w.err = err
	}
	w.txn, w.entries, w.n = nil, nil, 0
}

// flush returns nil only if every transaction is in Badger.
func (w *writer) flush() error {
	if w.txn != nil && w.err == nil {
		w.commit()
	}
	if w.txn != nil {
		w.txn.Discard()
		w.slots <- w.entries
	}
	var all [txnsUnderWay][]badger.Entry
	for i := range all { // when all slots are ours, nothing is under way
		all[i] = <-w.slots
	}
	for _, entries := range all {
		w.slots <- entries
	}
	if late := w.late.Load(); late != nil {
		return errors.Join(w.err, *late)
	}
	return w.err
}

// sort puts the rows in key order: by the eight bytes behind what all keys have in common,
// then by the rest.
func (b *batch) sort() {
	first := b.keyOf(b.rows[0])
	common := len(first)
	for _, r := range b.rows[1:] {
		key := b.keyOf(r)
		common = min(common, len(key))
		for i := prefixLen; i < common; i++ {
			if key[i] != first[i] {
				common = i
			}
		}
	}
	for i := range b.rows {
		var part [8]byte
		copy(part[:], b.keyOf(b.rows[i])[common:])
		b.rows[i].order = binary.BigEndian.Uint64(part[:])
	}
	slices.SortFunc(b.rows, func(x, y batchRow) int {
		if c := cmp.Compare(x.order, y.order); c != 0 {
			return c
		}
		return bytes.Compare(b.keyOf(x), b.keyOf(y))
	})
}

func (b *batch) keyOf(r batchRow) []byte { return b.buf[r.at : r.at+r.key] }

// finish tells the store. After an error done does not advance, so that the rows of the
// failed batch stay in memory.
func (b *batch) finish(err error) {
	s := b.store
	if err != nil {
		s.fail(err)
		if b.cut != nil {
			b.cut.fail(err)
		}
		s.queued.Add(-int64(len(b.buf)))
		return
	}
	if b.marker != nil {
		s.db.lag.Add(max(0, s.markerEnd.Load()) - b.marker.End)
		s.restoring.Store(b.marker.Restoring)
		s.markerEnd.Store(b.marker.End)
	}
	if b.last {
		s.figures.waves.Add(1)
	}
	s.queued.Add(-int64(len(b.buf)))
	s.done.Store(b.number)
	a := &s.db.applier
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.spare) < spares && cap(b.buf) <= 2*sliceBytes {
		b.store, b.marker, b.cut = nil, nil, nil
		a.spare = append(a.spare, b)
	}
}
