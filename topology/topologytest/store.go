package topologytest

import (
	"bytes"
	"maps"
	"slices"
)

// store is a task's byte store in memory, with the open record's changes beside it. What
// it gives is spoiled as soon as the engine's stores may reuse it: who keeps it too long
// gets a wrong value here, too.
type store struct {
	rows map[string][]byte
	log  map[string][]byte // the compacted changelog of a store in memory; nil of another
	undo map[string][]byte // what rows held before the open record; nil: nothing
	lent []byte            // by the last Get
}

func newStore(inMemory bool) *store {
	s := &store{rows: map[string][]byte{}, undo: map[string][]byte{}}
	if inMemory {
		s.log = map[string][]byte{}
	}
	return s
}

// restart leaves what a worker finds at its next start: a store in memory is read from its
// changelog.
func (s *store) restart() {
	if s.log != nil {
		s.rows = maps.Clone(s.log)
	}
}

func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}

// expire ends the life of what Get gave. It comes last in a call: its arguments may be of
// those bytes.
func (s *store) expire() { spoil(s.lent); s.lent = nil }

func (s *store) Get(key []byte) ([]byte, bool, error) {
	v, ok := s.rows[string(key)]
	s.expire()
	s.lent = bytes.Clone(v)
	return s.lent, ok, nil
}

func (s *store) Put(key, value []byte) error {
	s.remember(key)
	s.rows[string(key)] = append([]byte{}, value...)
	s.expire()
	return nil
}

func (s *store) Delete(key []byte) error {
	s.remember(key)
	delete(s.rows, string(key))
	s.expire()
	return nil
}

func (s *store) remember(key []byte) {
	if _, ok := s.undo[string(key)]; !ok {
		s.undo[string(key)] = s.rows[string(key)]
	}
}

func (s *store) Range(lo, hi []byte, f func(key, value []byte) bool) error {
	from, to, open := string(lo), string(hi), hi == nil
	s.expire()
	for _, k := range s.keys() {
		if k < from || !open && k >= to {
			continue
		}
		key, value := []byte(k), bytes.Clone(s.rows[k])
		more := f(key, value)
		spoil(key)
		spoil(value)
		if !more {
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

func (s *store) commit() {
	for k := range s.undo {
		if v, ok := s.rows[k]; s.log != nil && ok {
			s.log[k] = bytes.Clone(v)
		} else if s.log != nil {
			delete(s.log, k)
		}
	}
	clear(s.undo)
}

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
