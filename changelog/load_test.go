package changelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"
	"time"
)

// object is what a snapshot is kept as: the rows of a cut, copied.
type object struct {
	*Cut
	rows []objectRow
}

type objectRow struct {
	key, value []byte
	deleted    bool
}

func snapshot(t testing.TB, c, since *Cut) object {
	t.Helper()
	o := object{Cut: c}
	if _, err := c.Rows(context.Background(), since, func(k, v []byte, deleted bool) error {
		r := objectRow{key: append([]byte{}, k...), deleted: deleted}
		if !deleted {
			r.value = append([]byte{}, v...)
		}
		o.rows = append(o.rows, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return o
}

// next gives the rows, and then err.
func (o object) next(err error) func() (key, value []byte, deleted bool, e error) {
	i := 0
	return func() ([]byte, []byte, bool, error) {
		if i == len(o.rows) {
			return nil, nil, false, err
		}
		i++
		r := o.rows[i-1]
		return r.key, r.value, r.deleted, nil
	}
}

func loaded(s *Store, o object, err error) error {
	return s.Load(o.Epoch(), o.End(), o.Taken(), o.next(err))
}

// allRows lists a store.
func allRows(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	if err := s.All(func(k, v []byte) bool { fmt.Fprintf(&b, "%q=%q\n", k, v); return true }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A snapshot and the changelog from its end give the same bytes as the store had, whether the
// snapshot is full or a chain of increments, and whether the rows fit into memory or not.
func TestLoad(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	db := openTest(t, DBOptions{})
	s := openStore(t, db, storeID(0))
	defer s.Close(context.Background(), false)
	var log []change
	epochs := func(n int) {
		for range n {
			for range 200 {
				k := fmt.Sprintf("key-%04d", rng.Intn(3000))
				if rng.Intn(4) == 0 {
					edit(t, s, k+"!")
				} else {
					edit(t, s, k+"="+strings.Repeat("v", rng.Intn(50)))
				}
			}
			if err := s.Changes(func(k, v []byte) error {
				log = append(log, change{string(k), string(v), v == nil})
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			s.Commit(epochID(s.epoch.Counter+1), int64(len(log)))
			if err := s.Apply(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var chain []object // full, and two increments
	var full object    // of the last cut
	var since *Cut
	for range 3 {
		epochs(20)
		c := cutNow(t, s)
		epochs(1)
		written(t, s, c)
		chain, full, since = append(chain, snapshot(t, c, since)), snapshot(t, c, nil), c
	}
	epochs(10)
	want := allRows(t, s)
	for name, open := range map[string]func() *Store{
		"disk":     func() *Store { return openStore(t, openTest(t, DBOptions{}), storeID(0)) },
		"no cache": func() *Store { return openStore(t, openTest(t, DBOptions{CacheBytes: 1}), storeID(0)) },
		"memory":   func() *Store { return openInMemory(t, openTest(t, DBOptions{}), storeID(0)) },
	} {
		for what, objects := range map[string][]object{"full": {full}, "chain": chain} {
			t.Run(name+", "+what, func(t *testing.T) {
				r := open()
				defer r.Close(context.Background(), false)
				for _, o := range objects {
					if err := loaded(r, o, io.EOF); err != nil {
						t.Fatal(err)
					}
				}
				r.Restoring(int64(len(log)))
				for i := since.End(); i < int64(len(log)); i++ {
					value := []byte(log[i].value)
					if log[i].deleted {
						value = nil
					}
					if err := r.Restored([]byte(log[i].key), value); err != nil {
						t.Fatal(err)
					}
					if i%100 == 0 {
						if err := r.RestoredTo(i + 1); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := r.Finish(s.epoch, s.end); err != nil {
					t.Fatal(err)
				}
				if got := allRows(t, r); got != want {
					t.Errorf("restored:\n%s\nwant\n%s", got, want)
				}
				if lag, rows := r.db.Stats().Lag, s.end; !r.memory && lag > rows || r.memory && lag != 0 {
					t.Errorf("a restart is said to replay %d records of %d", lag, rows)
				}
				if err := loaded(r, full, io.EOF); err == nil {
					t.Error("a snapshot was loaded over a store in use")
				}
			})
		}
	}
}

// Who reads a snapshot finds out at its end that it is damaged. Nothing of it may stay.
func TestLoadThatFails(t *testing.T) {
	db := openTest(t, DBOptions{})
	s := openStore(t, db, storeID(0))
	commit(t, s, "a=1 b=1 c=1")
	c := cutNow(t, s)
	written(t, s, c)
	good := snapshot(t, c, nil)
	sum := errors.New("checksum is wrong")
	swapped, twice, mixed := object{Cut: c}, object{Cut: c}, object{Cut: c}
	swapped.rows = []objectRow{good.rows[1], good.rows[0]}
	twice.rows = []objectRow{good.rows[0], good.rows[0]}
	mixed.rows = []objectRow{{key: []byte("a"), value: []byte("1"), deleted: true}}
	large := object{Cut: c, rows: []objectRow{{key: make([]byte, MaxKey+1)}}}
	r := openStore(t, db, storeID(1))
	defer r.Close(context.Background(), false)
	for _, o := range []struct {
		object
		end, want error
	}{
		{good, sum, sum},
		{good, fmt.Errorf("cut off: %w", io.EOF), io.EOF},
		{swapped, io.EOF, ErrSnapshot},
		{twice, io.EOF, ErrSnapshot},
		{mixed, io.EOF, ErrSnapshot},
		{large, io.EOF, ErrTooLarge},
	} {
		if err := loaded(r, o.object, o.end); !errors.Is(err, o.want) {
			t.Errorf("%v, want %v", err, o.want)
		}
		if got := allRows(t, r); got != "" || db.Stats().Lag != s.lag() {
			t.Errorf("after %v: lag %d, rows\n%s", o.want, db.Stats().Lag, got)
		}
	}
	if err := errors.Join(loaded(r, good, io.EOF), r.Finish(c.Epoch(), c.End())); err != nil {
		t.Fatal(err)
	}
	if got := allRows(t, r); got != allRows(t, s) {
		t.Errorf("rows:\n%s", got)
	}
	if err := errors.Join(r.Close(context.Background(), true), s.Close(context.Background(), true)); err != nil {
		t.Fatal(err)
	}

	// Over a base that is there already.
	r = openStore(t, db, storeID(1))
	if err := loaded(r, good, io.EOF); err == nil {
		t.Error("a snapshot was loaded over a base")
	}
	if err := errors.Join(r.Reset(), loaded(r, good, io.EOF)); err != nil {
		t.Fatal(err)
	}
	if err := r.Finish(epochID(1), c.End()-1); err == nil {
		t.Error("finished below the end of the snapshot")
	}
}

// A restore that is killed behind a snapshot goes on from what it noted. Its rows have the
// tombstones of the snapshot's time, however late it was loaded.
func TestLoadIsAsOldAsItsCut(t *testing.T) {
	now := time.Unix(1e9, 0)
	db := openTest(t, DBOptions{Now: func() time.Time { return now }})
	s := openStore(t, db, storeID(0))
	defer s.Close(context.Background(), false)
	commit(t, s, "a=1 b=1 c=1")
	c := cutNow(t, s)
	taken := now
	written(t, s, c)
	now = now.Add(100 * time.Hour)
	r := openStore(t, db, storeID(1))
	if err := loaded(r, snapshot(t, c, nil), io.EOF); err != nil {
		t.Fatal(err)
	}
	r.Restoring(10)
	now = now.Add(time.Hour)
	if err := errors.Join(r.Restored([]byte("b"), nil), r.RestoredTo(5)); err != nil {
		t.Fatal(err)
	}
	settle(t, r)
	if err := r.Close(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	again, m, found, err := db.OpenStore(context.Background(), storeID(1))
	if err != nil || !found || m.End != 5 || m.Reach != 10 || !m.Restoring || m.Wall != taken.UnixMilli() {
		t.Fatalf("%+v, %v, %v: want a restore at 5 of 10, as old as the cut", m, found, err)
	}
	defer again.Close(context.Background(), false)
	if err := again.Finish(epochID(9), 10); err != nil {
		t.Fatal(err)
	}
	if got := allRows(t, again); got != "\"a\"=\"1\"\n\"c\"=\"1\"\n" {
		t.Error(got)
	}
}
