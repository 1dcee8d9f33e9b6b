package changelog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// BenchmarkLayout compares one Badger per worker, which is what we have, with one per task: the same waves of rows of 100
// bytes, 1 M keys over all tasks. Sizes are those of the process, so each line needs one of its own:
//
//	go test -c -o layout.test ./changelog
//	for t in 4 64; do for l in worker task; do ./layout.test -test.run '^$' -test.benchtime 1x -test.bench "Layout/tasks=$t/badger-per-$l/memtable=16MB/cache=0MB\$"; done; done
//
// Reported are rows per second of CPU and of time with all of it applied, memory and files behind the last wave, and ms to
// open a directory again and to get rid of one task's rows, and how many rows can be read from disk.
func BenchmarkLayout(b *testing.B) {
	for _, tasks := range []int{4, 64} {
		for _, owner := range []string{"worker", "task"} {
			for _, memtable := range []int64{8, 16, 64} { // a value of 1 MiB has to fit into a batch: 4 do not do
				for _, cache := range []int64{0, 16, 64} {
					b.Run(fmt.Sprintf("tasks=%d/badger-per-%s/memtable=%dMB/cache=%dMB", tasks, owner, memtable, cache), func(b *testing.B) {
						layout{tasks: tasks, perTask: owner == "task", memtable: memtable << 20, cache: cache << 20}.measure(b)
					})
				}
			}
		}
	}
}

// layout is one line of the benchmark.
type layout struct {
	tasks           int
	perTask         bool
	memtable, cache int64 // bytes of each Badger
}

const (
	layoutKeys  = 1_000_000
	layoutWaves = 2 // each of all keys
)

func (l layout) open(b *testing.B, dir string) []*DB {
	n := 1
	if l.perTask {
		n = l.tasks
	}
	dbs := make([]*DB, n)
	for i := range dbs {
		db, err := Open(DBOptions{
			Dir: filepath.Join(dir, strconv.Itoa(i)), Application: "bench", CacheBytes: (256 << 20) / int64(n),
			tune: func(o badger.Options) badger.Options {
				if o = o.WithMemTableSize(l.memtable); l.cache > 0 {
					o = o.WithBlockCacheSize(l.cache / int64(n))
				}
				return o
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		dbs[i] = db
	}
	return dbs
}

func closeAll(b *testing.B, dbs []*DB) {
	for _, db := range dbs {
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func (l layout) measure(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		dbs := l.open(b, dir)
		stores := make([]*Store, l.tasks)
		for i := range stores {
			stores[i] = openStore(b, dbs[i%len(dbs)], storeID(int32(i)))
		}
		began, cpu := time.Now(), cpuTime()
		for wave := range layoutWaves {
			l.wave(b, stores, wave)
		}
		rows := float64(layoutKeys * layoutWaves)
		b.ReportMetric(rows/(cpuTime()-cpu).Seconds(), "rows/CPU-s")
		b.ReportMetric(rows/time.Since(began).Seconds(), "rows/s")
		rss, heap, files := held(b)
		b.ReportMetric(rss, "anon-MiB")
		b.ReportMetric(heap, "heap-MiB")
		b.ReportMetric(files, "files")
		b.ReportMetric(l.forget(b, dbs, stores), "forget-ms")
		for _, s := range stores[1:] {
			if err := s.Close(context.Background(), true); err != nil {
				b.Fatal(err)
			}
		}
		closeAll(b, dbs)
		began = time.Now()
		dbs = l.open(b, dir)
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "open-ms")
		b.ReportMetric(l.read(b, dbs), "reads/CPU-s")
		closeAll(b, dbs)
	}
}

// wave commits a new value of every key and applies all of it.
func (l layout) wave(b *testing.B, stores []*Store, wave int) {
	value := make([]byte, 84)
	n := layoutKeys / l.tasks
	for i, s := range stores {
		for k := range n {
			value[0], value[k%len(value)] = byte(wave), byte(k)
			if err := s.Put(layoutKey((k*7919+i)%n), value); err != nil {
				b.Fatal(err)
			}
		}
		s.Commit(epochID(uint64(wave+1)), int64((wave+1)*n))
		if err := s.handAll(); err != nil {
			b.Fatal(err)
		}
	}
	for _, s := range stores {
		settle(b, s)
	}
}

// read asks for every fifth row of all tasks but the first, which are not in memory any more.
func (l layout) read(b *testing.B, dbs []*DB) float64 {
	n, reads, cpu := layoutKeys/l.tasks, 0, cpuTime()
	for i := 1; i < l.tasks; i++ {
		s, _, found, err := dbs[i%len(dbs)].OpenStore(context.Background(), storeID(int32(i)))
		if err != nil || !found {
			b.Fatalf("store %d: rows found: %t, %v", i, found, err)
		}
		for k := 0; k < n; k += 5 {
			if _, ok, err := s.Get(layoutKey(k * 7919 % n)); err != nil || !ok {
				b.Fatalf("row %d of store %d: %t, %v", k, i, ok, err)
			}
			reads++
		}
		if err := s.Close(context.Background(), false); err != nil {
			b.Fatal(err)
		}
	}
	return float64(reads) / (cpuTime() - cpu).Seconds()
}

func layoutKey(k int) []byte { return fmt.Appendf(nil, "\x01customer-%06d", k) }

// forget gets rid of the rows of the first task, which holds its files until they are gone, and says how many ms it took.
func (l layout) forget(b *testing.B, dbs []*DB, stores []*Store) float64 {
	began := time.Now()
	if !l.perTask {
		if err := stores[0].Reset(); err != nil {
			b.Fatal(err)
		}
		for dead := true; dead; time.Sleep(time.Millisecond) {
			dbs[0].applier.mu.Lock()
			dead = len(dbs[0].applier.dead) > 0
			dbs[0].applier.mu.Unlock()
		}
	}
	if err := stores[0].Close(context.Background(), false); err != nil {
		b.Fatal(err)
	}
	if l.perTask {
		if err := dbs[0].Close(); err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(dbs[0].dir.rows()); err != nil {
			b.Fatal(err)
		}
	}
	return float64(time.Since(began).Microseconds()) / 1000
}

// held is anonymous memory and live heap in MiB, and open files of the process; mapped tables, which are files too, are
// counted as such.
func held(b *testing.B) (anon, heap, files float64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs Linux")
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(kib) / 1024, float64(m.HeapAlloc) / (1 << 20), float64(len(open))
}
