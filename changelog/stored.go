package changelog

import (
	"math"

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
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{0, 0, 0, 0, rowStore}})
	defer it.Close()
	var list []Stored
	for it.Rewind(); it.Valid(); it.Next() {
		id, err := decodeStoreKey(it.Item().Key())
		if err != nil {
			return nil, err
		}
		m, _, ok, err := base(txn, id)
		if err != nil {
			return nil, err
		}
		if ok {
			id.TopicID = m.TopicID
			list = append(list, Stored{ID: id, Marker: m})
		}
	}
	return list, nil
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
