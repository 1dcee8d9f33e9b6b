package changelog

import (
	"context"
	"encoding/binary"
	"testing"
)

// What is not written yet cannot be dropped, and a restore read its changelog faster than
// rows were written: restoring 5 GB took 7 GB of memory, whatever CacheBytes said. The same
// for a lane whose rows change faster than that: it asks Behind and waits.
func TestMemoryIsBoundedWhereRowsComeFast(t *testing.T) {
	const (
		cache = 8 << 20
		rows  = 60_000
		size  = 1000
		most  = cache + cache/4 + queueBytes + sliceBytes + restoreTick*(size+64)
	)
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15) }
	value := make([]byte, size)
	for name, fill := range map[string]func(t *testing.T, s *Store, used func()){
		"restore": func(t *testing.T, s *Store, used func()) {
			s.Restoring(rows)
			for i := range rows {
				if err := s.Restored(key(i), value); err != nil {
					t.Fatal(err)
				}
				used()
			}
			if err := s.Finish(epochID(1), rows); err != nil {
				t.Fatal(err)
			}
		},
		"epochs": func(t *testing.T, s *Store, used func()) {
			if err := s.Finish(epochID(1), 0); err != nil {
				t.Fatal(err)
			}
			const epoch = 1000
			for i := range rows {
				if err := s.Put(key(i), value); err != nil {
					t.Fatal(err)
				}
				if i%epoch < epoch-1 {
					continue
				}
				s.Commit(epochID(uint64(i/epoch+2)), int64(i+1))
				applied(t, s)
				used()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openTest(t, DBOptions{CacheBytes: cache})
			s := openStore(t, db, storeID(0))
			defer s.Close(context.Background(), false)
			highest := int64(0)
			fill(t, s, func() { highest = max(highest, db.Stats().Used) })
			if highest > most {
				t.Errorf("%d MiB of rows in memory at a time, with CacheBytes of %d MiB: want at most %d", highest>>20, cache>>20, most>>20)
			}
			for _, i := range []int{0, 1, rows / 2, rows - 1} {
				if v, ok, err := s.Get(key(i)); err != nil || !ok || len(v) != size {
					t.Errorf("row %d: %d bytes, %t, %v", i, len(v), ok, err)
				}
			}
		})
	}
}
