package changelog

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
)

// Prefetch finds what is in memory, and nothing else, and leaves everything as it was.
func TestPrefetchOnlyLooks(t *testing.T) {
	db := openTest(t, DBOptions{})
	s := openStore(t, db, storeID(0))
	defer s.Close(context.Background(), false)
	var keys, others [][]byte
	for i := range 40*ahead + 5 {
		keys = append(keys, fmt.Appendf(nil, "key-%d", i))
		others = append(others, fmt.Appendf(nil, "other-%d", i))
	}
	if n := s.Prefetch(keys); n != 0 {
		t.Errorf("%d rows found in an empty store", n)
	}
	for i, k := range keys {
		if err := s.Put(k, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	rows, undone := 0, len(s.undo)
	count := func() (n int) {
		for i := range s.shards {
			n += s.shards[i].used
		}
		return n
	}
	rows = count()
	// All of them: who asks for rows ahead gives up for a while where few are found.
	if n := s.Prefetch(keys); n != len(keys) {
		t.Errorf("%d of %d rows found", n, len(keys))
	}
	if n := s.Prefetch(others); n != 0 {
		t.Errorf("%d rows found of keys that are not there", n)
	}
	if n := s.Prefetch(nil); n != 0 {
		t.Errorf("%d rows found of no keys", n)
	}
	if count() != rows || len(s.undo) != undone {
		t.Errorf("%d rows, %d undo entries; before: %d and %d", count(), len(s.undo), rows, undone)
	}
	for i, k := range keys {
		if v, ok, err := s.Get(k); err != nil || !ok || len(v) != 1 || v[0] != byte(i) {
			t.Errorf("%s: %x %t %v", k, v, ok, err)
		}
	}
	if n := testing.AllocsPerRun(10, func() { s.Prefetch(keys) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// What a lane does to a store in an epoch: batches of records, each read and written, then the changes; with and without
// a look ahead. CPU time is that of the thread, which a busy machine disturbs less than the clock.
func BenchmarkPrefetch(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, look := range []bool{false, true} {
			b.Run(fmt.Sprintf("keys=%d/ahead=%t", n, look), func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				db := openTest(b, DBOptions{})
				s := openStore(b, db, storeID(0))
				defer s.Close(context.Background(), false)
				keys := make([][]byte, n)
				for i := range keys {
					keys[i] = fmt.Appendf(nil, "k%09d", i)
				}
				at, count := 0, uint64(0)
				const records = 60_000
				epoch := func() {
					var next [ahead][]byte
					var value [8]byte
					for range records / ahead {
						for i := range next {
							at = (at + 611_953) % n
							next[i] = keys[at]
						}
						if look {
							s.Prefetch(next[:])
						}
						for _, k := range next {
							v, _, err := s.Get(k)
							if err != nil {
								b.Fatal(err)
							}
							copy(value[:], v)
							value[7]++
							if err := s.Put(k, value[:]); err != nil {
								b.Fatal(err)
							}
						}
					}
					if err := s.Changes(func(_, v []byte) error { copy(value[:], v); return nil }); err != nil {
						b.Fatal(err)
					}
					count++
					s.Commit(epochID(count), int64(count))
				}
				for range n/records + 1 {
					epoch()
				}
				before := threadCPU(b)
				for b.Loop() {
					epoch()
				}
				b.ReportMetric(float64(threadCPU(b)-before)/float64(b.N)/records, "cpu-ns/record")
			})
		}
	}
}

func threadCPU(b *testing.B) int64 {
	const thread = 1 // RUSAGE_THREAD, which syscall does not name
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		b.Skip(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
