package changelog

import (
	"bytes"

	"github.com/dgraph-io/badger/v4"
)

// Range calls f for the rows lo <= key < hi in key order (lo nil: from the first, hi nil:
// to the last) until f returns false. It sees the open epoch. The bytes are valid during
// f, which must not use the store.
func (s *Store) Range(lo, hi []byte, f func(key, value []byte) bool) error {
	if err := s.check(nil, nil); err != nil {
		return err
	}
	if s.order == nil {
		if err := s.makeOrder(); err != nil {
			return err
		}
	}
	mem := &listing{s: s, groups: s.order.between(lo, hi), lo: lo, hi: hi}
	emit := func(row []byte) bool {
		return flags(row)&present == 0 || f(rowKey(row), rowValue(row))
	}
	row := mem.first()
	next := func() { mem.next(); row = mem.first() }

	if s.persisted {
		var bound []byte
		if row != nil {
			bound = rowKey(row)
		}
		more, err := s.walk(lo, hi, bound, func(key []byte, item *badger.Item) (bool, error) {
			for row != nil {
				c := bytes.Compare(rowKey(row), key)
				if c > 0 {
					break
				}
				if !emit(row) {
					return false, nil
				}
				next()
				if c == 0 {
					return true, nil // memory is the truth
				}
			}
			ok := true
			err := item.Value(func(v []byte) error {
				ok = f(key, v)
				return nil
			})
			return ok, err
		})
		if err != nil {
			return s.wrap("range", err)
		}
		if !more {
			return nil
		}
	}
	for ; row != nil && emit(row); next() {
	}
	return nil
}

// walk calls f for the rows that Badger has, until it returns false, and returns that.
// bound is the first listed row: Badger may get it later, so the gap ends there.
func (s *Store) walk(lo, hi, bound []byte, f func(key []byte, item *badger.Item) (bool, error)) (bool, error) {
	it := s.read.NewIterator(badger.IteratorOptions{Prefix: s.key[:prefixLen:prefixLen]})
	defer it.Close()
	start := s.empty.skip(lo)
	met := false
	s.key = append(s.key[:prefixLen], start...)
	for it.Seek(s.key); it.Valid(); it.Next() {
		item := it.Item()
		key := item.Key()[prefixLen:]
		if !met {
			met = true
			s.empty.learn(lo, lowest(key, hi, bound))
		}
		if hi != nil && bytes.Compare(key, hi) >= 0 {
			return true, nil
		}
		if ok, err := f(key, item); err != nil || !ok {
			return ok, err
		}
	}
	if to := lowest(hi, bound); !met && to != nil {
		s.empty.learn(lo, to)
	}
	return true, nil
}

// lowest of keys; nil stands for none.
func lowest(keys ...[]byte) (low []byte) {
	for _, k := range keys {
		if k != nil && (low == nil || bytes.Compare(k, low) < 0) {
			low = k
		}
	}
	return low
}

// makeOrder begins the ordered list. What is on its way to Badger is not listed anywhere,
// so this once it waits for it.
func (s *Store) makeOrder() error {
	if s.done.Load() != s.handed {
		finished := make(chan struct{})
		err := s.db.submit(job{run: func(uint64) error { return nil }, done: func(error) { close(finished) }})
		if err != nil {
			return s.wrap("range", err)
		}
		<-finished
		if err := s.failed(); err != nil {
			return err
		}
	}
	s.order = &order{}
	for i := range s.shards {
		sh := &s.shards[i]
		for _, unit := range sh.unapplied {
			unit = sh.follow(unit)
			s.order.add(i, unit, sh.row(unit))
		}
	}
	return nil
}

// All calls f for every row in key order until it returns false: Range without bounds.
func (s *Store) All(f func(key, value []byte) bool) error { return s.Range(nil, nil, f) }
