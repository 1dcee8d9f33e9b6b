package changelog

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkApply: rows per second through the applier, each wave all of n keys.
func BenchmarkApply(b *testing.B) {
	const n = 200_000
	clock := time.Unix(1e9, 0)
	db := openTest(b, DBOptions{Now: func() time.Time { return clock }})
	s := openStore(b, db, storeID(0))
	defer s.Close(context.Background(), false)
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "\x01customer-%07d", i*7919%n)
	}
	value := make([]byte, 8)
	epoch := uint64(0)
	cpu := cpuTime()
	b.ReportAllocs()
	for b.Loop() {
		for _, k := range keys {
			if err := s.Put(k, value); err != nil {
				b.Fatal(err)
			}
		}
		epoch++
		s.Commit(epochID(epoch), int64(epoch)*n)
		if err := s.handAll(); err != nil {
			b.Fatal(err)
		}
		settle(b, s)
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(n*b.N), "cpu-ns/row")
}

// cpuTime is what the process has used: figures that do not depend on what else runs here.
func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
