package changelog

import (
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// Badger merges tables of level 0 among themselves while the oldest of them are on their way
// down, and then drops deletes if no table from level 1 down has keys in their range. Those
// on their way are in no level below yet: what was deleted comes back with them. So there is
// always such a table. The anchor, a key between those of the system and those of rows, is
// put into the lowest level before anything else, and whatever is merged has keys on both
// sides of it: each batch, 4 MiB or so, begins with a key of the system.
var anchorKey = []byte{0, 0, 0, 0, rowAnchor}

// openBadger opens Badger with the anchor in place.
func openBadger(opt badger.Options) (*badger.DB, error) {
	db, err := badger.OpenManaged(opt)
	if err != nil || anchored(db) {
		return db, err
	}
	if err := dropAnchor(db); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	if db, err = badger.OpenManaged(opt.WithCompactL0OnClose(true)); err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return badger.OpenManaged(opt)
}

// anchored: level 0 is only ever merged into what is below it, so that what is there holds
// the first keys of the system, and the anchor or what comes behind it.
func anchored(db *badger.DB) bool {
	return slices.ContainsFunc(db.Levels(), func(l badger.LevelInfo) bool { return l.Level > 0 && l.NumTables > 0 })
}

func dropAnchor(db *badger.DB) error {
	txn := db.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	if err := txn.Set(anchorKey, nil); err != nil {
		return err
	}
	return txn.CommitAt(db.MaxVersion()+1, nil)
}
