package changelog

import (
	"context"
	"fmt"
	"testing"

	"github.com/weir-stream/weir/changelog/storetest"
	"github.com/weir-stream/weir/offsets"
)

func openTest(t testing.TB, opt DBOptions) *DB {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	if opt.Application == "" {
		opt.Application = "app"
	}
	if opt.MinFree == 0 {
		opt.MinFree = 1
	}
	db, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func storeID(n int32) StoreID {
	return StoreID{Timeline: 1, UID: "counts", Task: offsets.Task{Sub: 0, Partition: n}, TopicID: [16]byte{1, 2, 3}}
}

func openStore(t testing.TB, db *DB, id StoreID) *Store {
	t.Helper()
	s, _, _, err := db.OpenStore(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openInMemory(t testing.TB, db *DB, id StoreID) *Store {
	t.Helper()
	s, err := db.OpenInMemory(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func epochID(n uint64) offsets.EpochID {
	return offsets.EpochID{Counter: n, ProducerID: 7, ProducerEpoch: 1}
}

// settle waits until the applier has done everything that was handed over.
func settle(t testing.TB, s *Store) {
	t.Helper()
	done := make(chan struct{})
	if err := s.db.submit(job{run: func(uint64) error { return nil }, done: func(error) { close(done) }}); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := s.failed(); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	apply := func(t *testing.T, s *Store) {
		if err := s.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		opt  DBOptions
		open func(testing.TB, *DB, StoreID) *Store
		// what happens at each commit
		after func(t *testing.T, s *Store)
	}{
		{"memory", DBOptions{}, openStore, func(*testing.T, *Store) {}},
		{"applied", DBOptions{ApplyInterval: 1}, openStore, apply},
		{"in memory only", DBOptions{ApplyInterval: 1, CacheBytes: 1}, openInMemory, apply},
		{"evicted", DBOptions{ApplyInterval: 1, CacheBytes: 1}, openStore, func(t *testing.T, s *Store) {
			for range 3 { // hand over; drop what is clean, in two walks
				if err := s.Apply(); err != nil {
					t.Fatal(err)
				}
				settle(t, s)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opt.Dir = t.TempDir()
			db := openTest(t, c.opt)
			n := int32(0)
			storetest.Run(t, func(t *testing.T) (storetest.Store, storetest.Epochs) {
				n++
				s := c.open(t, db, storeID(n))
				t.Cleanup(func() {
					if err := s.Close(context.Background(), false); err != nil {
						t.Error(err)
					}
				})
				epoch := uint64(0)
				return s, storetest.Epochs{
					Commit: func() {
						epoch++
						end := s.end
						_ = s.Changes(func(_, _ []byte) error { end++; return nil })
						s.Commit(epochID(epoch), end)
						c.after(t, s)
					},
					Rollback: s.Rollback,
					Changes:  s.Changes,
				}
			})
		})
	}
}

func BenchmarkReadModifyWrite(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := openTest(b, DBOptions{})
			s := openStore(b, db, storeID(0))
			defer s.Close(context.Background(), false)
			keys := make([]byte, 0, 16*n)
			for i := range n {
				keys = fmt.Appendf(keys, "customer-%07d", i)
			}
			value := make([]byte, 8)
			rmw := func(i int) {
				k := keys[i*16 : i*16+16]
				v, ok, err := s.Get(k)
				if err != nil {
					b.Fatal(err)
				}
				if ok {
					copy(value, v)
				}
				value[i&7]++
				if err := s.Put(k, value); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				rmw(i)
			}
			s.Commit(epochID(1), int64(n))
			at, i, epoch := 0, 0, uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				at = (at + 611_953) % n
				rmw(at)
				if i++; i == 50_000 { // an epoch of 100 ms
					i = 0
					epoch++
					s.Commit(epochID(epoch), int64(n))
				}
			}
		})
	}
}
