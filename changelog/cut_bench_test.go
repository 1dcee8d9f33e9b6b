package changelog

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkCut: what a cut costs the lane. A store of a million rows of 100 bytes has 300,000
// unapplied; while they are written, epochs of 10,000 changes go on. "wave" is the same with an
// ordinary wave. Cut, Apply and Put are timed one by one, in CPU time of their thread: what
// else runs here is not theirs.
func BenchmarkCut(b *testing.B) {
	for _, c := range []struct {
		name string
		cut  bool
		open func(testing.TB, *DB, StoreID) *Store
	}{
		{"wave", false, openStore}, {"cut", true, openStore}, {"memory", true, openInMemory},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkCut(b, c.cut, c.open) })
	}
}

func benchmarkCut(b *testing.B, cut bool, open func(testing.TB, *DB, StoreID) *Store) {
	const n, unapplied, epoch = 1_000_000, 300_000, 10_000
	db := openTest(b, DBOptions{ApplyInterval: time.Hour, MaxLag: 1 << 40, CacheBytes: 1 << 30})
	s := open(b, db, storeID(0))
	defer s.Close(context.Background(), false)
	keys := make([]byte, 0, 16*n)
	for i := range n {
		keys = fmt.Appendf(keys, "customer-%07d", i)
	}
	value, at := make([]byte, 84), 0
	put := func(rows int) {
		for range rows {
			at = (at + 611_953) % n
			value[0]++
			if err := s.Put(keys[at*16:at*16+16], value); err != nil {
				b.Fatal(err)
			}
		}
	}
	commit := func() { s.Commit(epochID(s.epoch.Counter+1), s.end+1) }
	clean := func() {
		if s.memory {
			return
		}
		if err := s.handAll(); err != nil {
			b.Fatal(err)
		}
		settle(b, s)
	}
	put(n)
	commit()
	clean()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var cuts, applies, puts []time.Duration
	timed := func(list *[]time.Duration, f func()) {
		start := threadTime()
		f()
		*list = append(*list, threadTime()-start)
	}
	apply := func() {
		if err := s.Apply(); err != nil {
			b.Fatal(err)
		}
	}
	most := int64(0)
	for b.Loop() {
		put(unapplied)
		commit()
		var c *Cut
		timed(&cuts, func() {
			if !cut {
				s.startWave()
				return
			}
			var err error
			if c, err = s.Cut(); err != nil {
				b.Fatal(err)
			}
		})
		for s.wave.active {
			at = (at + n - 611_953*unapplied%n) % n // rows that are unapplied
			timed(&puts, func() { put(epoch) })
			commit()
			if s.saved != nil {
				most = max(most, s.saved.size())
			}
			timed(&applies, apply)
		}
		if c != nil {
			if err := c.Wait(context.Background()); err != nil {
				b.Fatal(err)
			}
			c.Release()
		}
		clean()
	}
	for name, list := range map[string][]time.Duration{"cut": cuts, "apply": applies} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)-1].Nanoseconds()), name+"-max-ns")
		b.ReportMetric(float64(list[len(list)/2].Nanoseconds()), name+"-p50-ns")
		b.ReportMetric(float64(list[len(list)-1-len(list)/1000].Nanoseconds()), name+"-p99.9-ns")
	}
	all := time.Duration(0)
	for _, d := range puts {
		all += d
	}
	b.ReportMetric(float64(all.Nanoseconds())/float64(len(puts)*epoch), "put-ns")
	b.ReportMetric(float64(most)/1e6, "saved-MB")
	b.ReportMetric(float64(len(applies))/float64(len(cuts)), "applies")
}

func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// BenchmarkCutRows: reading a million rows of 100 bytes in the background, all of them and an
// increment of a tenth.
func BenchmarkCutRows(b *testing.B) {
	const n = 1_000_000
	db := openTest(b, DBOptions{})
	s := openStore(b, db, storeID(0))
	defer s.Close(context.Background(), false)
	value := make([]byte, 84)
	fill := func(every int) *Cut {
		for i := 0; i < n; i += every {
			if err := s.Put(fmt.Appendf(nil, "customer-%07d", i*7919%n), value); err != nil {
				b.Fatal(err)
			}
		}
		s.Commit(epochID(s.epoch.Counter+1), s.end+1)
		c, err := s.Cut()
		if err != nil {
			b.Fatal(err)
		}
		written(b, s, c)
		return c
	}
	full := fill(1)
	next := fill(10)
	for name, since := range map[string]*Cut{"full": nil, "increment": full} {
		b.Run(name, func(b *testing.B) {
			rows := int64(0)
			for b.Loop() {
				got, err := next.Rows(context.Background(), since, func(_, _ []byte, _ bool) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
				rows += got
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
