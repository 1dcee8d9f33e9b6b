package changelog

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// Rows of a store in memory stay, whatever CacheBytes says, and do not take it from the
// others; the disk knows nothing of them.
func TestInMemoryIsNotEvicted(t *testing.T) {
	db := openTest(t, DBOptions{CacheBytes: 1 << 20, ApplyInterval: 1, MaxLag: 1})
	s, other := openInMemory(t, db, storeID(0)), openStore(t, db, storeID(1))
	const n = 40_000
	value := make([]byte, 100)
	for i := range n {
		if err := s.Put(fmt.Appendf(nil, "key-%d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	s.Commit(epochID(1), n)
	fill(t, other, 1, "a", "b")
	for range 10 {
		if err := errors.Join(s.Apply(), other.Apply()); err != nil {
			t.Fatal(err)
		}
		settle(t, other)
	}
	if st := db.Stats(); st.Pinned < n*100 || st.Used > 1<<20 || st.Lag > 2 {
		t.Errorf("%+v: want %d bytes pinned, and nothing of them in the others' figures", st, n*100)
	}
	if st := s.Stats(); st.Rows != n || st.Evicted+st.Applied+st.Waves+st.Reads != 0 || st.MarkerEnd != -1 {
		t.Errorf("%+v", st)
	}
	for i := range n {
		if _, ok, err := s.Get(fmt.Appendf(nil, "key-%d", i)); err != nil || !ok {
			t.Fatalf("key %d: %v %v", i, ok, err)
		}
	}
	if _, ok, err := other.Get([]byte("a")); !ok || err != nil {
		t.Errorf("the other store: %v %v", ok, err)
	}
	if err := errors.Join(s.Close(context.Background(), true), other.Close(context.Background(), true)); err != nil {
		t.Fatal(err)
	}
	stored, err := db.Stored()
	if err != nil || len(stored) != 1 || stored[0].ID.Task != storeID(1).Task {
		t.Errorf("on disk: %v, %v; want the other one alone", stored, err)
	}
	if st := db.Stats(); st.Pinned != 0 || st.Used != 0 || st.Stores != 0 {
		t.Errorf("after closing: %+v", st)
	}
}

// Windows come and go: deleted rows, and what lists them, give their memory back.
func TestInMemoryForgetsDeletedRows(t *testing.T) {
	db := openTest(t, DBOptions{})
	s := openInMemory(t, db, storeID(0))
	defer s.Close(context.Background(), false)
	const live, windows = 2000, 100
	key := func(window, i int) []byte { return fmt.Appendf(nil, "\x01%08d%d", window, i) }
	most := int64(0)
	for w := range windows {
		for i := range live {
			if err := s.Put(key(w, i), make([]byte, 50)); err != nil {
				t.Fatal(err)
			}
			if w > 0 {
				if err := s.Delete(key(w-1, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.Commit(epochID(uint64(w+1)), int64(2*live*(w+1)))
		n := 0
		if err := s.Range(nil, nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != live {
			t.Fatalf("window %d: %d rows, %v", w, n, err)
		}
		for range 4 {
			if err := s.Apply(); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, db.Stats().Pinned)
	}
	if st := s.Stats(); st.Rows > 3*live {
		t.Errorf("%d rows are held, %d live", st.Rows, live)
	}
	if most > 10*live*80 || len(s.order.groups) > 10 {
		t.Errorf("up to %d bytes for %d rows, %d groups of %d windows", most, live, len(s.order.groups), windows)
	}
}

// From durable to memory and back: the rows on disk are those of the older marker, and the
// changelog from there makes them the committed ones, deletes included.
func TestInMemoryAndBack(t *testing.T) {
	dir := withRows(t, DBOptions{}) // a, b, c; end 3
	db := openTest(t, DBOptions{Dir: dir})
	s := openInMemory(t, db, storeID(0))
	for _, k := range []string{"a", "b", "c"} {
		if err := s.Restored([]byte(k), []byte("value of "+k)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Finish(epochID(2), 3), s.Delete([]byte("a")), s.Put([]byte("b"), []byte("new"))); err != nil {
		t.Fatal(err)
	}
	s.Commit(epochID(3), 5)
	if err := errors.Join(s.Apply(), s.Close(context.Background(), true)); err != nil {
		t.Fatal(err)
	}
	again, m, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil || !found || m.End != 3 {
		t.Fatalf("base %+v, %v, %v: want that of before, with end 3", m, found, err)
	}
	defer again.Close(context.Background(), false)
	if err := errors.Join(again.Restored([]byte("a"), nil), again.Restored([]byte("b"), []byte("new")), again.Finish(epochID(3), 5)); err != nil {
		t.Fatal(err)
	}
	var rows []string
	if err := again.All(func(k, v []byte) bool { rows = append(rows, fmt.Sprintf("%s=%s", k, v)); return true }); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rows); got != "[b=new c=value of c]" {
		t.Error(got)
	}
}
