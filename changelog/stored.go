package changelog

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"

	"github.com/dgraph-io/badger/v4"
)

// Stored is a store on disk: what a restart of this worker could begin with.
type Stored struct {
	ID     StoreID
	Marker Marker
}

// Stored lists the stores on disk that have a marker, in the order of timeline, task and
// uid: for the choice of who gets which task, and for status.
func (db *DB) Stored() ([]Stored, error) {
	if db.closing.Load() {
		return nil, ErrClosed
	}
	txn := db.badger.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	var list []Stored
	err := stored(txn, func(s Stored, _ incarnation) error {
		list = append(list, s)
		return nil
	})
	return list, err
}

// stored calls f for each store that has a marker.
func stored(txn *badger.Txn, f func(Stored, incarnation) error) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{0, 0, 0, 0, rowStore}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		id, err := decodeStoreKey(it.Item().Key())
		if err != nil {
			return err
		}
		m, inc, ok, err := base(txn, id)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		id.TopicID = m.TopicID
		if err := f(Stored{ID: id, Marker: m}, inc); err != nil {
			return err
		}
	}
	return nil
}

// base looks for the rows of a store and their marker. inc is 0 if it has none; ok says
// that it has, with a marker that is whole.
func base(txn *badger.Txn, id StoreID) (m Marker, inc incarnation, ok bool, err error) {
	n, ok, err := get(txn, storeKey(id), decodeUint32)
	if err != nil || !ok {
		return m, 0, false, err
	}
	inc = incarnation(n)
	m, ok, err = get(txn, systemKey(rowMarker, inc), decodeMarker)
	if err != nil || !ok || m.Timeline != id.Timeline {
		return m, inc, false, err
	}
	reach, ok, err := get(txn, systemKey(rowReach, inc), decodeEnd)
	if err != nil || !ok || reach < m.End {
		return m, inc, false, err
	}
	m.Reach = reach
	return m, inc, true, nil
}

// Inspect shows what the last user of a state directory left in it: for each store that
// has a marker, f is called with it and with the rows on disk, in key order. Rows are
// valid within their step of the loop, and are at least as new as the marker (see the
// package doc). It shows what Open would trust, so nothing of a directory whose machine
// has crashed since.
//
// It is for audits and support: it holds the directory's lock, so a running worker's
// is ErrLocked, and leaves STATE.json and the stores as they are. Of opt it needs Dir and
// Application.
func Inspect(opt DBOptions, f func(s Stored, rows iter.Seq2[[]byte, []byte]) error) (err error) {
	opt = opt.withDefaults()
	dir, err := lockDir(opt.Dir, opt.Application, opt.Boot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.close(false)) }()
	if _, err := os.Stat(dir.rows()); errors.Is(err, fs.ErrNotExist) || !dir.trusted {
		return nil
	}
	// Only after a clean end Badger can be opened without a change to its files: else it
	// first takes in what its last user had in flight, as the next Open would.
	db, err := badger.OpenManaged(badgerOptions(dir.rows(), opt.Logger).WithReadOnly(dir.state.Clean))
	if err != nil {
		return dirError(dir.path, "open rows", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	txn := db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	return stored(txn, func(s Stored, inc incarnation) error {
		failed := error(nil)
		err := f(s, func(yield func(key, value []byte) bool) {
			it := txn.NewIterator(badger.IteratorOptions{Prefix: inc.prefix()})
			defer it.Close()
			it.Rewind()
			for more := true; more && it.Valid(); it.Next() {
				item := it.Item()
				err := item.Value(func(v []byte) error {
					more = yield(item.Key()[prefixLen:], v)
					return nil
				})
				if err != nil {
					failed = fmt.Errorf("inspect %s: store %s: %w", dir.path, s.ID, err)
					return
				}
			}
		})
		return errors.Join(err, failed)
	})
}
