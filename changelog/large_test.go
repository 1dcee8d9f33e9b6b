package changelog

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// BenchmarkLargeRows is a lane's work on four stores that are larger than memory: rows of 1,000 bytes are read and written
// in turn, twice, so that each comes from disk and goes back there. It is where the sizes in badgerOptions come from; Badger's
// own, or others, are tried with WEIR_LSM="memtable=16 zero=5 base=10 table=2 grow=2", MB but for zero and grow. Memory is that of the process: one
// line of it per process.
func BenchmarkLargeRows(b *testing.B) {
	for _, mb := range []int{100, 300, 600} {
		b.Run(fmt.Sprintf("state=%dMB", mb), func(b *testing.B) {
			for b.Loop() {
				largeRows(b, mb*1000)
			}
		})
	}
}

// lsm applies WEIR_LSM.
func lsm(b *testing.B) func(badger.Options) badger.Options {
	text := os.Getenv("WEIR_LSM")
	var memtable, zero, base, table, grow int
	if text != "" {
		if _, err := fmt.Sscanf(text, "memtable=%d zero=%d base=%d table=%d grow=%d", &memtable, &zero, &base, &table, &grow); err != nil {
			b.Fatalf("WEIR_LSM=%q: %v", text, err)
		}
	}
	return func(o badger.Options) badger.Options {
		if text == "" {
			return o
		}
		o.TableSizeMultiplier = grow
		return o.WithMemTableSize(int64(memtable) << 20).WithNumLevelZeroTables(zero).WithNumLevelZeroTablesStall(3 * zero).
			WithBaseLevelSize(int64(base) << 20).WithBaseTableSize(int64(table) << 20)
	}
}

func largeRows(b *testing.B, rows int) {
	const stores, epoch = 4, 10_000
	db, err := Open(DBOptions{Dir: b.TempDir(), Application: "bench", CacheBytes: 64 << 20, tune: lsm(b)})
	if err != nil {
		b.Fatal(err)
	}
	var all [stores]*Store
	for i := range all {
		all[i] = openStore(b, db, storeID(int32(i)))
		if err := all[i].Finish(epochID(1), 0); err != nil {
			b.Fatal(err)
		}
	}
	began, cpu := time.Now(), cpuTime()
	value, key := make([]byte, 1000), [9]byte{1}
	for i := range 2 * rows {
		binary.BigEndian.PutUint64(key[1:], uint64(i%rows)*0x9e3779b97f4a7c15)
		s := all[i%stores]
		if _, _, err := s.Get(key[:]); err != nil {
			b.Fatal(err)
		}
		copy(value, strconv.Itoa(i))
		if err := s.Put(key[:], value); err != nil {
			b.Fatal(err)
		}
		if i%epoch == epoch-1 {
			for _, s := range all {
				s.Commit(epochID(uint64(i)), int64(i+1))
				applied(b, s)
			}
		}
	}
	for _, s := range all {
		if err := s.handAll(); err != nil {
			b.Fatal(err)
		}
		settle(b, s)
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(2*rows), "cpu-us/row")
	b.ReportMetric(float64(2*rows)/time.Since(began).Seconds(), "rows/s")
	anon, heap, files := held(b)
	b.ReportMetric(anon, "anon-MiB")
	b.ReportMetric(heap, "heap-MiB")
	b.ReportMetric(files, "files")
	for _, s := range all {
		if err := s.Close(context.Background(), true); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
}

// applied calls Apply until the store is not behind.
func applied(t testing.TB, s *Store) {
	for {
		if err := s.Apply(); err != nil {
			t.Fatal(err)
		}
		if !s.Behind() {
			return
		}
		time.Sleep(time.Millisecond) // until the applier has written something
	}
}
