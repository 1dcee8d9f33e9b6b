package changelog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What becomes of a cut when its store ends: nothing, if its rows are on disk, else it fails
// and says why.
func TestCutWhoseStoreEnds(t *testing.T) {
	broken := errors.New("the disk is broken")
	for _, c := range []struct {
		name string
		end  func(*Store) error
		want error // of the cut that is pending
	}{
		{"closed", func(s *Store) error { return s.Close(context.Background(), false) }, ErrClosed},
		{"closed cleanly", func(s *Store) error { return s.Close(context.Background(), true) }, nil},
		{"reset", (*Store).Reset, errReset},
		{"reset, and wiped", func(s *Store) error {
			err := s.Reset()
			for wiping(s.db) {
				time.Sleep(time.Millisecond)
			}
			return err
		}, errReset},
		{"failed", func(s *Store) error {
			s.fail(broken)
			if err := s.handOver(sliceBytes); err != nil {
				return err
			}
			if err := s.Apply(); !errors.Is(err, broken) {
				return fmt.Errorf("apply: %w", err)
			}
			return nil
		}, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := openTest(t, DBOptions{})
			s := openStore(t, db, storeID(0))
			defer s.Close(context.Background(), false)
			commit(t, s, "a=1 b=1 c=1")
			first := cutNow(t, s)
			written(t, s, first)
			commit(t, s, "a! b=2 d=2")
			second := cutNow(t, s)
			commit(t, s, "a=3 b=3")
			if err := c.end(s); err != nil {
				t.Fatal(err)
			}
			err := second.Wait(context.Background())
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Errorf("the cut under way: %v, want %v", err, c.want)
			}
			if err != nil {
				if _, again := second.Rows(context.Background(), nil, nil); !errors.Is(again, c.want) {
					t.Errorf("its rows: %v", again)
				}
			}
			if got := rowsOf(t, first, nil); got != "a=1 b=1 c=1" {
				t.Errorf("the cut on disk: %s", got)
			}
			if err == nil {
				if got := rowsOf(t, second, first); got != "a! b=2 d=2" {
					t.Errorf("the other one: %s", got)
				}
			}
		})
	}
}

func wiping(db *DB) bool {
	db.applier.mu.Lock()
	defer db.applier.mu.Unlock()
	return len(db.applier.dead) > 0
}

func TestCutIsRefused(t *testing.T) {
	db := openTest(t, DBOptions{})
	s := openStore(t, db, storeID(0))
	if err := s.Restored([]byte("a"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cut(); err == nil || !strings.Contains(err.Error(), "restore has not ended") {
		t.Errorf("in the middle of a restore: %v", err)
	}
	if err := s.Finish(epochID(1), 1); err != nil {
		t.Fatal(err)
	}
	c := cutNow(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for what nobody writes: %v", err)
	}
	// Given up, it makes room for the next, and its rows are in that.
	commit(t, s, "a=2 b=2")
	c.Release()
	c = cutNow(t, s)
	commit(t, s, "a=3")
	written(t, s, c)
	if got := rowsOf(t, c, nil); got != "a=2 b=2" {
		t.Errorf("the cut that took another one's place: %s", got)
	}
	if _, err := c.Rows(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	refused := errors.New("no more")
	if n, err := c.Rows(context.Background(), nil, func(_, _ []byte, _ bool) error { return refused }); n != 1 || !errors.Is(err, refused) {
		t.Errorf("a reader that refuses: %d rows, %v", n, err)
	}

	next := cutNow(t, s)
	written(t, s, next)
	for _, pair := range [][2]*Cut{{c, next}, {next, next}} { // back, and released
		if pair[0] == next {
			c.Release()
			pair[1] = c
		}
		if _, err := pair[0].Rows(context.Background(), pair[1], nil); !errors.Is(err, ErrNoIncrement) {
			t.Errorf("since a cut that is later, or released: %v", err)
		}
	}
	if err := s.Close(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Cut(); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
	// The same rows, opened again: nobody knows what was written in between.
	again, m, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil || !found {
		t.Fatal(m, found, err)
	}
	defer again.Close(context.Background(), false)
	if err := again.Finish(m.Epoch, m.End); err != nil {
		t.Fatal(err)
	}
	c = cutNow(t, again)
	written(t, again, c)
	if _, err := c.Rows(context.Background(), next, nil); !errors.Is(err, ErrNoIncrement) {
		t.Errorf("since a cut of the store's former life: %v", err)
	}
	if got := rowsOf(t, c, nil) + ", " + rowsOf(t, next, nil); got != "a=3 b=2, a=3 b=2" {
		t.Error(got)
	}
}

// A cut that is read keeps its rows, whoever releases it, and Badger open, until the reader
// has noticed.
func TestClosingUnderAReader(t *testing.T) {
	db, err := Open(DBOptions{Dir: t.TempDir(), Application: "app", MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, db, storeID(0))
	for i := range 5 * lookEvery {
		edit(t, s, fmt.Sprintf("key-%06d=%d", i, i))
	}
	commit(t, s, "")
	c := cutNow(t, s)
	written(t, s, c)
	if err := s.Close(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	n := 0
	_, err = c.Rows(context.Background(), nil, func(k, v []byte, _ bool) error {
		if n == 0 {
			c.Release()
			go func() { closed <- db.Close() }()
			for !db.closing.Load() {
				runtime.Gosched()
			}
		}
		if string(k) != fmt.Sprintf("key-%06d", n) || string(v) != fmt.Sprint(n) {
			return fmt.Errorf("row %d is %s=%s", n, k, v)
		}
		n++
		return nil
	})
	if !errors.Is(err, ErrClosed) || n == 0 || n > 2*lookEvery {
		t.Errorf("after %d rows: %v", n, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := c.Rows(context.Background(), nil, nil); err == nil {
		t.Error("it can be read after that")
	}
}
