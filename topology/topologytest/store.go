package topologytest

import (
	"bytes"
	"slices"
)

// store is a task's byte store in memory, with the open record's changes beside it.
type store struct {
	rows map[string][]byte
	undo map[string][]byte // what rows held before the open record; nil: nothing
}

func newStore() *store { return &store{rows: map[string][]byte{}, undo: map[string][]byte{}} }

func (s *store) Get(key []byte) ([]byte, bool, error) {
	v, ok := s.rows[string(key)]
	return bytes.Clone(v), ok, nil // a clone, so that keeping it too long shows as a wrong value
}

func (s *store) Put(key, value []byte) error {
	s.remember(key)
	s.rows[string(key)] = append([]byte{}, value...)
	return nil
}

func (s *store) Delete(key []byte) error {
	s.remember(key)
	delete(s.rows, string(key))
	return nil
}

func (s *store) remember(key []byte) {
	if _, ok := s.undo[string(key)]; !ok {
		s.undo[string(key)] = s.rows[string(key)]
	}
}

func (s *store) Range(lo, hi []byte, f func(key, value []byte) bool) error {
	for _, k := range s.keys() {
		if k >= string(lo) && (hi == nil || k < string(hi)) && !f([]byte(k), bytes.Clone(s.rows[k])) {
			break
		}
	}
	return nil
}

func (s *store) keys() []string {
	ks := make([]string, 0, len(s.rows))
	for k := range s.rows {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

func (s *store) commit() { clear(s.undo) }

func (s *store) rollback() {
	for k, v := range s.undo {
		if v == nil {
			delete(s.rows, k)
		} else {
			s.rows[k] = v
		}
	}
	clear(s.undo)
}
