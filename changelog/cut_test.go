package changelog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// rowsOf lists what a cut gives: key=value, or key! for a delete.
func rowsOf(t testing.TB, c, since *Cut) string {
	t.Helper()
	var list []string
	n, err := c.Rows(context.Background(), since, func(k, v []byte, deleted bool) error {
		if deleted {
			list = append(list, string(k)+"!")
		} else {
			list = append(list, string(k)+"="+string(v))
		}
		return nil
	})
	if err != nil || n != int64(len(list)) {
		t.Fatalf("%d rows, %d came, %v", n, len(list), err)
	}
	return strings.Join(list, " ")
}

// edit makes a change in the open epoch: key=value, or key! for a delete.
func edit(t testing.TB, s *Store, change string) {
	t.Helper()
	var err error
	if k, v, ok := strings.Cut(change, "="); ok {
		err = s.Put([]byte(k), []byte(v))
	} else {
		err = s.Delete([]byte(strings.TrimSuffix(change, "!")))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// commit makes changes, and commits them.
func commit(t testing.TB, s *Store, changes string) {
	t.Helper()
	for _, c := range strings.Fields(changes) {
		edit(t, s, c)
	}
	s.Commit(epochID(s.epoch.Counter+1), s.end+int64(len(s.undo)))
}

func cutNow(t testing.TB, s *Store) *Cut {
	t.Helper()
	c, err := s.Cut()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// written applies until a cut can be read.
func written(t testing.TB, s *Store, c *Cut) {
	t.Helper()
	for !c.isOver() {
		if err := s.Apply(); err != nil {
			t.Fatal(err)
		}
		settle(t, s)
	}
	if err := c.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// Rows reach Badger as they are when a wave comes to them, so no timestamp there was exactly
// one epoch: a snapshot taken at one had some rows of later epochs, and lacked others.
func TestCutIsOneEpoch(t *testing.T) {
	for name, open := range map[string]func(testing.TB, *DB, StoreID) *Store{"disk": openStore, "memory": openInMemory} {
		t.Run(name, func(t *testing.T) {
			s := open(t, openTest(t, DBOptions{}), storeID(0))
			defer s.Close(context.Background(), false)
			commit(t, s, "applied=1 gone=1 same=1")
			if err := errors.Join(s.handAllOf(), s.Apply()); err != nil {
				t.Fatal(err)
			}
			commit(t, s, "applied=2 gone! put=2 again=2 brief=2 rolled=2 unknown=2")
			commit(t, s, "again=3 brief! fresh! longer=3")
			c := cutNow(t, s)
			if _, err := c.Rows(context.Background(), nil, nil); !errors.Is(err, ErrCutPending) {
				t.Errorf("before it is on disk: %v", err)
			}
			if _, err := s.Cut(); !errors.Is(err, ErrCutPending) {
				t.Errorf("a second one: %v", err)
			}
			commit(t, s, "applied=4 gone=4 put! same=4 brief=4 fresh=4 new=4 longer="+strings.Repeat("4", 100))
			edit(t, s, "rolled=5")
			edit(t, s, "again!")
			s.Rollback()
			commit(t, s, "put=6 again! new!")
			written(t, s, c)
			commit(t, s, "same=7 late=7")
			const want = "again=3 applied=2 longer=3 put=2 rolled=2 same=1 unknown=2"
			if got := rowsOf(t, c, nil); got != want {
				t.Errorf("cut at end %d:\n%s, want\n%s", c.End(), got, want)
			}
			for i := range s.shards {
				s.rebuild(i, true)
			}
			if got := rowsOf(t, c, nil); got != want {
				t.Errorf("later:\n%s", got)
			}
			next := cutNow(t, s)
			written(t, s, next)
			all := "applied=4 brief=4 fresh=4 gone=4 late=7 longer=" + strings.Repeat("4", 100) + " put=6 rolled=2 same=7 unknown=2"
			if got := rowsOf(t, next, nil); got != all {
				t.Errorf("second cut:\n%s, want\n%s", got, all)
			}
			if name == "memory" {
				if c.Increments() {
					t.Error("a store in memory is said to have increments")
				}
				return
			}
			const changed = "again! applied=4 brief=4 fresh=4 gone=4 late=7 longer=* put=6 rolled=2 same=7"
			if got := strings.ReplaceAll(rowsOf(t, next, c), strings.Repeat("4", 100), "*"); got != changed {
				t.Errorf("increment:\n%s, want\n%s", got, changed)
			}
			if got := rowsOf(t, next, next); got != "" {
				t.Errorf("increment since itself: %s", got)
			}
		})
	}
}

// handAllOf is handAll for stores that hand over.
func (s *Store) handAllOf() error {
	if s.memory {
		return nil
	}
	return s.handAll()
}

// Badger keeps one version of each key, of those that nobody reads: a cut's versions, and the
// deletes since then, survive any number of generations and compactions, and go with its
// release.
func TestCutSurvivesCompactions(t *testing.T) {
	db := openTest(t, DBOptions{CacheBytes: 1, tune: smallTables})
	s, other := openStore(t, db, storeID(0)), openStore(t, db, storeID(1))
	defer s.Close(context.Background(), false)
	defer other.Close(context.Background(), false)
	const keys = 500
	var cuts []*Cut
	var want []map[string]string
	rows := map[string]string{}
	for generation := range 30 {
		for i := range keys {
			k := fmt.Sprintf("key-%03d", i)
			switch (i + generation) % 5 {
			case 0:
				delete(rows, k)
				edit(t, s, k+"!")
			case 1, 2:
				rows[k] = fmt.Sprintf("%d of %d", i, generation) + strings.Repeat("x", (i+generation)%7*150) // some in the value log
				edit(t, s, k+"="+rows[k])
			}
			edit(t, other, fmt.Sprintf("key-%03d=%d", i, generation))
		}
		commit(t, s, "")
		commit(t, other, "")
		if generation%4 == 1 {
			cuts, want = append(cuts, cutNow(t, s)), append(want, copyMap(rows))
			written(t, s, cuts[len(cuts)-1])
		}
		if err := errors.Join(s.handAll(), other.handAll()); err != nil {
			t.Fatal(err)
		}
		settle(t, s)
		if generation%3 == 0 {
			compacted(t, db)
		}
	}
	compacted(t, db)
	read := func(c, since *Cut, got map[string]string) map[string]string {
		if _, err := c.Rows(context.Background(), since, func(k, v []byte, deleted bool) error {
			if deleted {
				delete(got, string(k))
			} else {
				got[string(k)] = string(v)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := func(what string, got, want map[string]string) {
		t.Helper()
		for k, v := range want {
			if got[k] != v {
				t.Fatalf("%s: %q is %.20q, want %.20q", what, k, got[k], v)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
		}
	}
	verify := func(first int) {
		t.Helper()
		for i := first; i < len(cuts); i++ {
			same(fmt.Sprint("cut ", i), read(cuts[i], nil, map[string]string{}), want[i])
			for j := first; j < i; j++ {
				same(fmt.Sprintf("cut %d since %d", i, j), read(cuts[i], cuts[j], copyMap(want[j])), want[i])
			}
		}
	}
	verify(0)
	if db.Stats().Cuts != int64(len(cuts)) {
		t.Errorf("%d cuts are counted, of %d", db.Stats().Cuts, len(cuts))
	}
	held := versions(db)
	rewritten := func() {
		for generation := range 3 { // compactions look at a range when something is written over it
			for i := range keys {
				edit(t, s, fmt.Sprintf("key-%03d=%d", i, generation))
				edit(t, other, fmt.Sprintf("key-%03d=%s", i, strings.Repeat("y", 400)))
			}
			commit(t, s, "")
			commit(t, other, "")
			if err := errors.Join(s.handAll(), other.handAll()); err != nil {
				t.Fatal(err)
			}
			settle(t, s)
			compacted(t, db)
		}
	}
	last := len(cuts) - 2
	for _, c := range cuts[:last] {
		c.Release()
	}
	rewritten()
	collected := 0
	for db.badger.RunValueLogGC(0.01) == nil {
		collected++
	}
	if collected == 0 {
		t.Error("no value log was collected: this shows nothing of them")
	}
	verify(last)
	fewer := versions(db)
	for _, c := range cuts[last:] {
		c.Release()
	}
	rewritten()
	if none := versions(db); none > fewer/2 || fewer > held*3/4 {
		t.Errorf("%d versions with %d cuts, %d with two, %d with none", held, len(cuts), fewer, none)
	}
}

// compacted brings all tables into one level.
func compacted(t testing.TB, db *DB) {
	t.Helper()
	if err := db.badger.Flatten(1); err != nil {
		t.Fatal(err)
	}
}

// versions counts what Badger has of all keys.
func versions(db *DB) (n int) {
	txn := db.badger.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{AllVersions: true})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		n++
	}
	return n
}

// Numbers of epochs begin anew after 2^32 of them. Rows that a restore brought have 0.
func TestCutWhereEpochsBeginAnew(t *testing.T) {
	for distance := range uint32(6) {
		s := openStore(t, openTest(t, DBOptions{}), storeID(0))
		defer s.Close(context.Background(), false)
		for _, k := range []string{"restored", "touched", "other"} {
			if err := s.Restored([]byte(k), []byte("0")); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Finish(epochID(1), 3); err != nil {
			t.Fatal(err)
		}
		s.open = math.MaxUint32 - distance
		commit(t, s, "a=1 b=1 c=1 touched=1")
		c := cutNow(t, s)
		commit(t, s, "a=2 restored=2")
		edit(t, s, "b=3")
		s.Rollback()
		commit(t, s, "a=4 c! new=4")
		commit(t, s, "a=5 restored! new!")
		written(t, s, c)
		if got := rowsOf(t, c, nil); got != "a=1 b=1 c=1 other=0 restored=0 touched=1" {
			t.Errorf("%d epochs before: %s", distance, got)
		}
		edit(t, s, "other=6") // a row of number 0 has its undo
		s.Rollback()
		next := cutNow(t, s)
		written(t, s, next)
		if got := rowsOf(t, next, nil); got != "a=5 b=1 other=0 touched=1" {
			t.Errorf("%d epochs before, second cut: %s", distance, got)
		}
	}
}

// A cut of a store in memory is a copy in memory until it is released, and the disk is left
// alone.
func TestCutOfAStoreInMemory(t *testing.T) {
	db := openTest(t, DBOptions{})
	s := openInMemory(t, db, storeID(0))
	defer s.Close(context.Background(), false)
	const n = 100_000
	for i := range n {
		edit(t, s, fmt.Sprintf("key-%06d=%d", i*7919%n, i))
	}
	commit(t, s, "")
	if err := s.Apply(); err != nil {
		t.Fatal(err)
	}
	before := db.Stats().Pinned
	c := cutNow(t, s)
	applies := 0
	for ; !c.isOver(); applies++ {
		if err := s.Apply(); err != nil {
			t.Fatal(err)
		}
		commit(t, s, fmt.Sprintf("key-%06d=changed key-%06d! new-%d=1", applies, n-applies, applies))
	}
	if applies < 2 {
		t.Errorf("%d rows were copied in %d slices", n, applies)
	}
	if held := db.Stats().Pinned - before; held < n*18 || held > n*80 {
		t.Errorf("the copy of %d rows takes %d bytes", n, held)
	}
	i := 0
	rows, err := c.Rows(context.Background(), nil, func(k, v []byte, _ bool) error {
		if string(k) != fmt.Sprintf("key-%06d", i) || string(v) == "changed" {
			return fmt.Errorf("row %d is %s=%s", i, k, v)
		}
		i++
		return nil
	})
	if err != nil || rows != n {
		t.Errorf("%d rows, %v", rows, err)
	}
	c.Release()
	if err := s.Apply(); err != nil {
		t.Fatal(err)
	}
	if left := db.Stats().Pinned - before; left > n*10 {
		t.Errorf("%d bytes more than before are left", left)
	}
	if st := s.Stats(); st.Applied+st.Waves+st.Reads+st.Evicted != 0 || versions(db) > 1 {
		t.Errorf("%+v, %d rows on disk", st, versions(db))
	}
}
