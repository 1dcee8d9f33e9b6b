package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// applier is the one goroutine that writes to Badger, so that timestamps grow with each
// write and what is below the last one may be discarded. Jobs run in order of submission.
type applier struct {
	db    *DB
	slots chan []badger.Entry
	from  []byte // wipe goes on here, so as not to walk over its own deletes again

	mu      sync.Mutex // guards the next six
	last    uint64     // highest timestamp in Badger
	pins    []uint64   // timestamps that somebody reads at, of all stores
	queue   []job
	dead    []incarnation // rows to be deleted when there is nothing else to do
	stopped bool
	spare   []*batch

	wake chan struct{}
	over chan struct{}
}

// job is one write; run gets two new timestamps, ts and ts+1. done, if set, is called after it.
type job struct {
	run  func(ts uint64) error
	done func(error)
}

const (
	wipeRows  = 2000 // rows deleted in one go
	wipePause = 20 * time.Millisecond
)

func (a *applier) start(db *DB) error {
	a.db = db
	a.last = db.badger.MaxVersion()
	db.badger.SetDiscardTs(a.last)
	a.wake, a.over = make(chan struct{}, 1), make(chan struct{})
	txn := db.badger.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{0, 0, 0, 0, rowDead}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		if len(key) != 9 {
			return fmt.Errorf("key %x: %w", key, errDamaged)
		}
		inc := incarnation(binary.BigEndian.Uint32(key[5:]))
		a.dead = append(a.dead, inc)
	}
	go a.loop()
	return nil
}

func (a *applier) submit(j job) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return ErrClosed
	}
	a.queue = append(a.queue, j)
	a.nudge()
	return nil
}

func (a *applier) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// stop finishes the queue.
func (a *applier) stop() {
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.nudge()
	<-a.over
}

func (a *applier) loop() {
	defer close(a.over)
	for {
		a.mu.Lock()
		queue, wiping, stopped := a.queue, len(a.dead) > 0, a.stopped
		a.queue = nil
		a.mu.Unlock()
		for _, j := range queue {
			a.do(j)
		}
		switch {
		case len(queue) > 0:
		case stopped:
			return
		case wiping:
			a.do(job{run: a.wipe})
			pause := time.NewTimer(wipePause)
			select {
			case <-a.wake:
			case <-pause.C:
			}
			pause.Stop()
		default:
			<-a.wake
		}
	}
}

func (a *applier) do(j job) {
	ts := a.last + 1
	err := j.run(ts)
	a.mu.Lock()
	a.last = ts + 1 // also after an error: some of it may be there
	a.forget()
	a.mu.Unlock()
	if j.done != nil {
		j.done(err)
	}
}

// forget tells Badger which versions nobody reads: of each key all but the newest at or below
// the timestamp. Called with mu held.
func (a *applier) forget() {
	ts := a.last
	for _, pin := range a.pins {
		if !planted("discard not pinned") {
			ts = min(ts, pin)
		}
	}
	a.db.badger.SetDiscardTs(ts)
}

func (a *applier) pin(ts uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pins = append(a.pins, ts)
}

func (a *applier) unpin(ts uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.pins, ts); i >= 0 {
		a.pins = slices.Delete(a.pins, i, i+1)
	}
	a.forget()
}

func (a *applier) pinned() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(len(a.pins))
}

// nextIncarnation gives the store a new life on disk. The old one's rows are deleted
// later; its marker goes at once, in the same transaction.
func (a *applier) nextIncarnation(id StoreID) (incarnation, error) {
	var inc, old uint32
	result := make(chan error, 1)
	run := func(ts uint64) error {
		if err := a.db.checkFree(); err != nil {
			return err
		}
		txn := a.db.badger.NewTransactionAt(math.MaxUint64, true)
		defer txn.Discard()
		highest, _, err := get(txn, nextKey(), decodeUint32)
		if err != nil {
			return err
		}
		if old, _, err = get(txn, storeKey(id), decodeUint32); err != nil {
			return err
		}
		inc = max(highest, old) + 1
		set := func(key, value []byte) {
			err = errors.Join(err, txn.Set(key, value))
		}
		set(nextKey(), encodeUint32(inc))
		set(storeKey(id), encodeUint32(inc))
		if old != 0 {
			set(systemKey(rowDead, incarnation(old)), nil)
			err = errors.Join(err,
				txn.Delete(systemKey(rowMarker, incarnation(old))),
				txn.Delete(systemKey(rowReach, incarnation(old))))
		}
		if err != nil {
			return err
		}
		return txn.CommitAt(ts, nil)
	}
	if err := a.submit(job{run: run, done: func(err error) { result <- err }}); err != nil {
		return 0, err
	}
	if err := <-result; err != nil {
		return 0, err
	}
	if old != 0 {
		a.mu.Lock()
		a.dead = append(a.dead, incarnation(old))
		a.mu.Unlock()
		a.nudge()
	}
	return incarnation(inc), nil
}

// wipe deletes some rows of a dead incarnation. Not DropPrefix: that one stops all
// writers and compactions.
func (a *applier) wipe(ts uint64) error {
	a.mu.Lock()
	inc := a.dead[0]
	a.mu.Unlock()
	if a.db.checkFree() != nil {
		return nil // later
	}
	txn := a.db.badger.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	wb := a.db.badger.NewWriteBatchAt(ts)
	err := wb.Set(anchorKey, nil) // deletes are not to be lost, see openBadger
	n := 0
	if err == nil {
		n, err = a.wipeSlice(txn, wb, inc)
	}
	if err != nil {
		wb.Cancel()
	} else {
		err = wb.Flush()
	}
	if err != nil {
		a.db.opt.Logger.Warningf("deleting rows of a former store: %v", err)
	}
	if n < wipeRows {
		a.from = nil
		a.mu.Lock()
		a.dead = a.dead[1:]
		a.mu.Unlock()
	}
	return nil
}

func (a *applier) wipeSlice(txn *badger.Txn, wb *badger.WriteBatch, inc incarnation) (n int, err error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: inc.prefix()})
	defer it.Close()
	for it.Seek(append(inc.prefix(), a.from...)); it.Valid() && n < wipeRows; it.Next() {
		key := it.Item().KeyCopy(nil)
		if err := wb.Delete(key); err != nil {
			return n, err
		}
		a.from = key[prefixLen:]
		n++
	}
	if n < wipeRows {
		return n, wb.Delete(systemKey(rowDead, inc))
	}
	return n, nil
}
