package topologytest

import (
	"testing"

	"github.com/weir-stream/weir/changelog/storetest"
)

// The store in memory behaves as those of the engine.
func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) (storetest.Store, storetest.Epochs) {
		s := newStore(false)
		return s, storetest.Epochs{Commit: s.commit, Rollback: s.rollback}
	})
	t.Run("in memory", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) (storetest.Store, storetest.Epochs) {
			s := newStore(true)
			return s, storetest.Epochs{Commit: func() { s.commit(); s.restart() }, Rollback: s.rollback}
		})
	})
}

// What is kept longer than it may be is wrong, so that a test shows it.
func TestBytesKeptTooLongAreSpoiled(t *testing.T) {
	s := newStore(false)
	if err := s.Put([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	next := map[string]func(){
		"get":    func() { _, _, _ = s.Get([]byte("x")) },
		"put":    func() { _ = s.Put([]byte("x"), nil) },
		"delete": func() { _ = s.Delete([]byte("x")) },
		"range":  func() { _ = s.Range(nil, nil, func(_, _ []byte) bool { return true }) },
	}
	for name, call := range next {
		kept, ok, err := s.Get([]byte("k"))
		if err != nil || !ok || string(kept) != "v" {
			t.Fatalf("got %q, %t, %v", kept, ok, err)
		}
		if call(); string(kept) == "v" {
			t.Errorf("what Get gave is still good after %s", name)
		}
	}
	var keys, values [][]byte
	_ = s.Range(nil, nil, func(k, v []byte) bool { keys, values = append(keys, k), append(values, v); return true })
	if len(keys) == 0 || string(keys[0]) == "k" || string(values[0]) == "v" {
		t.Errorf("what Range gave is still good after it: %q, %q", keys, values)
	}
	if v, ok, err := s.Get([]byte("k")); err != nil || !ok || string(v) != "v" {
		t.Errorf("the row became %q, %t, %v", v, ok, err)
	}
}
