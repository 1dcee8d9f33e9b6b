package changelog

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// TestDeletedRowsStayAway stages what Badger does wrong by itself: an old row is on its way
// from level 0 to the lowest level while its delete is merged within level 0. Without the
// anchor all rows are back in one run of three.
func TestDeletedRowsStayAway(t *testing.T) {
	const rows = 300_000
	dir := t.TempDir()
	reopen := func(compactors int) *badger.DB {
		// many of them, so that the one that merges within level 0 is not the first to look
		opt := badgerOptions(filepath.Join(dir, "rows"), silent{}).WithNumCompactors(compactors).WithMemTableSize(2 << 20).WithValueThreshold(1 << 10).
			WithNumLevelZeroTables(4).WithNumLevelZeroTablesStall(1000)
		db, err := openBadger(opt)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	key := func(prefix uint32, i int) []byte {
		b := binary.BigEndian.AppendUint32(nil, prefix)
		return binary.BigEndian.AppendUint64(b, uint64(i)*0x9e3779b97f4a7c15)
	}
	db := reopen(0)
	ts := db.MaxVersion()
	write := func(prefix uint32, n int, set func(txn *badger.Txn, key []byte) error) {
		for i := 0; i < n; {
			ts++
			txn := db.NewTransactionAt(math.MaxUint64, true)
			err := txn.Set(systemKey(rowReach, incarnation(prefix)), nil)
			for k := 0; k < 2000 && i < n && err == nil; k++ {
				err = set(txn, key(prefix, i))
				i++
			}
			if err == nil {
				err = txn.CommitAt(ts, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			db.SetDiscardTs(ts)
		}
	}
	value := make([]byte, 100)
	put := func(txn *badger.Txn, key []byte) error { return txn.Set(key, value) }
	restart := func(n int) {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = reopen(n)
	}
	write(1, rows, put)
	restart(0)
	// A table without keys of the system: what is compacted first ends in front of it.
	ts++
	txn := db.NewTransactionAt(math.MaxUint64, true)
	if err := put(txn, key(2, 0)); err != nil {
		t.Fatal(err)
	}
	if err := txn.CommitAt(ts, nil); err != nil {
		t.Fatal(err)
	}
	restart(0)
	write(1, rows, func(txn *badger.Txn, key []byte) error { return txn.Delete(key) })
	old := time.Now().Add(-time.Minute) // young tables are not merged
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "rows", "*.sst"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d tables, %v", len(files), err)
	}
	for _, f := range files {
		if err := os.Chtimes(f, old, old); err != nil {
			t.Fatal(err)
		}
	}
	db = reopen(8)
	db.SetDiscardTs(ts)
	for db.Levels()[0].NumTables > 4 {
		time.Sleep(10 * time.Millisecond)
	}
	if err := db.Close(); err != nil { // waits for compactions
		t.Fatal(err)
	}
	db = reopen(0)
	defer db.Close()
	txn = db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	back := 0
	for i := range rows {
		if _, err := txn.Get(key(1, i)); err == nil {
			back++
		}
	}
	if back > 0 {
		t.Errorf("%d of %d deleted rows are back", back, rows)
	}
}

// TestAnchor: whatever Badger may merge within level 0 has keys on both sides of the anchor,
// and a table below has them too.
func TestAnchor(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, DBOptions{Dir: dir, MaxLag: 1, tune: smallTables})
	look := func(when string) (zero int) {
		t.Helper()
		below := false
		var left, right []byte
		for _, table := range db.badger.Tables() {
			l, r := table.Left[:len(table.Left)-8], table.Right[:len(table.Right)-8] // without timestamps
			if table.Level > 0 {
				below = below || bytes.Compare(l, anchorKey) <= 0 && bytes.Compare(r, anchorKey) >= 0
				continue
			}
			zero++
			if left == nil || bytes.Compare(l, left) < 0 {
				left = l
			}
			if bytes.Compare(r, right) > 0 {
				right = r
			}
		}
		if !below {
			t.Errorf("%s: no table below level 0 has the anchor", when)
		}
		if zero >= 4 && (bytes.Compare(left, anchorKey) > 0 || bytes.Compare(right, anchorKey) < 0) {
			t.Errorf("%s: %d tables of level 0 from %x to %x do not have the anchor between them", when, zero, left, right)
		}
		return zero
	}
	look("new directory")
	most, end := 0, int64(0)
	for n := range int32(4) {
		s := openStore(t, db, storeID(n))
		if err := s.Finish(epochID(1), 0); err != nil {
			t.Fatal(err)
		}
		for i := range 5_000 {
			if err := s.Put(binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15), make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			if i%500 == 499 {
				end += 500
				s.Commit(epochID(uint64(end)), end)
				if err := s.Apply(); err != nil {
					t.Fatal(err)
				}
				settle(t, s)
				most = max(most, look("while rows are written"))
			}
		}
		if err := s.Reset(); err != nil { // its rows are deleted
			t.Fatal(err)
		}
		if err := s.Close(context.Background(), false); err != nil {
			t.Fatal(err)
		}
	}
	if most < 4 {
		t.Errorf("at most %d tables in level 0: this shows nothing", most)
	}
}
