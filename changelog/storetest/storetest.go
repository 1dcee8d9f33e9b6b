// Package storetest is the conformance suite of the byte stores that a task runs on: what
// a task may expect of Get, Put, Delete and Range, and what an engine may expect of
// commit and rollback.
package storetest

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
)

// Store is a byte store with an open epoch.
type Store interface {
	Get(key []byte) (value []byte, ok bool, err error)
	Put(key, value []byte) error
	Delete(key []byte) error
	Range(lo, hi []byte, f func(key, value []byte) bool) error
}

// Epochs are the calls that end one; optional.
type Epochs struct {
	Commit, Rollback func()
	// Changes, optional: each key touched in the open epoch once.
	Changes func(f func(key, value []byte) error) error
}

// Run runs the suite. open returns a new empty store.
func Run(t *testing.T, open func(t *testing.T) (Store, Epochs)) {
	t.Run("absent", func(t *testing.T) {
		s, _ := open(t)
		want(t, s, "k", "", false)
		check(t, s.Delete([]byte("k")))
		want(t, s, "k", "", false)
		same(t, s, nil, nil)
	})
	t.Run("last put wins", func(t *testing.T) {
		s, _ := open(t)
		put(t, s, "k", "one")
		want(t, s, "k", "one", true)
		put(t, s, "k", "a longer value than before, so that it has to move")
		want(t, s, "k", "a longer value than before, so that it has to move", true)
		put(t, s, "k", "")
		want(t, s, "k", "", true)
		check(t, s.Delete([]byte("k")))
		want(t, s, "k", "", false)
		put(t, s, "k", "again")
		want(t, s, "k", "again", true)
	})
	t.Run("empty key and empty value are a row", func(t *testing.T) {
		s, _ := open(t)
		put(t, s, "", "")
		want(t, s, "", "", true)
		same(t, s, nil, nil, "", "")
	})
	t.Run("arguments are copied", func(t *testing.T) {
		s, _ := open(t)
		k, v := []byte("key"), []byte("value")
		check(t, s.Put(k, v))
		copy(k, "xxx")
		copy(v, "yyyyy")
		want(t, s, "key", "value", true)
		want(t, s, "xxx", "", false)
	})
	t.Run("a value got may be put elsewhere", func(t *testing.T) {
		s, _ := open(t)
		put(t, s, "a", strings.Repeat("v", 100))
		for i := range 200 {
			v, ok, err := s.Get([]byte("a"))
			check(t, err)
			if !ok {
				t.Fatal("a is gone")
			}
			check(t, s.Put(fmt.Appendf(nil, "copy-%d", i), v))
		}
		for i := range 200 {
			want(t, s, fmt.Sprintf("copy-%d", i), strings.Repeat("v", 100), true)
		}
	})
	t.Run("large rows", func(t *testing.T) {
		s, _ := open(t)
		big := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB
		long := strings.Repeat("k", 60_000)
		put(t, s, "big", big)
		put(t, s, long, "of a long key")
		put(t, s, long+"2", "of another")
		want(t, s, "big", big, true)
		want(t, s, long, "of a long key", true)
		want(t, s, long+"2", "of another", true)
	})
	t.Run("range is half open and in byte order", func(t *testing.T) {
		s, _ := open(t)
		for _, k := range []string{"b", "a\xff", "a", "c", "a\x00", "\xff\xff"} {
			put(t, s, k, "="+k)
		}
		check(t, s.Delete([]byte("c")))
		same(t, s, nil, nil, "a", "=a", "a\x00", "=a\x00", "a\xff", "=a\xff", "b", "=b", "\xff\xff", "=\xff\xff")
		same(t, s, []byte("a\x00"), []byte("b"), "a\x00", "=a\x00", "a\xff", "=a\xff")
		same(t, s, []byte("b"), []byte("b"))
		same(t, s, []byte("c"), nil, "\xff\xff", "=\xff\xff")
		n := 0
		check(t, s.Range(nil, nil, func(_, _ []byte) bool { n++; return n < 2 }))
		if n != 2 {
			t.Fatalf("range went on after false: %d rows", n)
		}
	})
	t.Run("changes", func(t *testing.T) {
		s, e := open(t)
		if e.Changes == nil {
			t.Skip("not offered")
		}
		put(t, s, "kept", "1")
		e.Commit()
		put(t, s, "a", "1")
		put(t, s, "a", "2")
		put(t, s, "gone", "1")
		check(t, s.Delete([]byte("gone"))) // put and deleted in one epoch: still a tombstone
		check(t, s.Delete([]byte("kept")))
		var got []string
		check(t, e.Changes(func(k, v []byte) error {
			if v == nil {
				got = append(got, string(k)+" deleted")
			} else {
				got = append(got, string(k)+"="+string(v))
			}
			return nil
		}))
		slices.Sort(got)
		if w := []string{"a=2", "gone deleted", "kept deleted"}; !slices.Equal(got, w) {
			t.Fatalf("changes %q, want %q", got, w)
		}
	})
	t.Run("rollback", func(t *testing.T) {
		s, e := open(t)
		if e.Rollback == nil {
			t.Skip("not offered")
		}
		put(t, s, "same", "1")
		put(t, s, "longer", "1")
		put(t, s, "deleted", "1")
		e.Commit()
		put(t, s, "same", "2")
		put(t, s, "same", "3")
		put(t, s, "longer", strings.Repeat("2", 1000))
		check(t, s.Delete([]byte("deleted")))
		put(t, s, "new", "1")
		e.Rollback()
		same(t, s, nil, nil, "deleted", "1", "longer", "1", "same", "1")
		want(t, s, "new", "", false)
		want(t, s, "longer", "1", true)
		want(t, s, "deleted", "1", true)
	})
	for seed := range int64(20) {
		t.Run(fmt.Sprintf("random/%d", seed), func(t *testing.T) { random(t, open, seed) })
	}
}

// random compares with a map.
func random(t *testing.T, open func(t *testing.T) (Store, Epochs), seed int64) {
	s, e := open(t)
	rng := rand.New(rand.NewSource(seed))
	now, committed := map[string]string{}, map[string]string{}
	key := func() string { return fmt.Sprintf("%c%d", 'a'+rng.Intn(3), rng.Intn(60)) }
	for range 3000 {
		switch k := key(); rng.Intn(20) {
		default:
			v := strings.Repeat(string(rune('a'+rng.Intn(26))), rng.Intn(40))
			put(t, s, k, v)
			now[k] = v
		case 0, 1, 2, 3:
			check(t, s.Delete([]byte(k)))
			delete(now, k)
		case 4, 5, 6, 7, 8, 9:
			v, ok := now[k]
			want(t, s, k, v, ok)
		case 10:
			lo, hi := key(), key()
			same(t, s, []byte(lo), []byte(hi), fold(now, lo, hi)...)
		case 11:
			if e.Commit != nil {
				e.Commit()
				committed = clone(now)
			}
		case 12:
			if e.Rollback != nil && rng.Intn(3) == 0 {
				e.Rollback()
				now = clone(committed)
			}
		}
	}
	same(t, s, nil, nil, fold(now, "", "\xff")...)
}

func clone(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func fold(m map[string]string, lo, hi string) (rows []string) {
	var keys []string
	for k := range m {
		if k >= lo && k < hi {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		rows = append(rows, k, m[k])
	}
	return rows
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s Store, key, value string) {
	t.Helper()
	check(t, s.Put([]byte(key), []byte(value)))
}

func want(t *testing.T, s Store, key, value string, ok bool) {
	t.Helper()
	v, found, err := s.Get([]byte(key))
	check(t, err)
	if found != ok || !bytes.Equal(v, []byte(value)) {
		t.Fatalf("get %q: %.40q %v, want %.40q %v", key, v, found, value, ok)
	}
}

// same compares a range with key, value, key, value ...
func same(t *testing.T, s Store, lo, hi []byte, rows ...string) {
	t.Helper()
	var got []string
	check(t, s.Range(lo, hi, func(k, v []byte) bool {
		got = append(got, string(k), string(v))
		return true
	}))
	if !slices.Equal(got, rows) {
		t.Fatalf("range %q to %q: %q, want %q", lo, hi, got, rows)
	}
}
