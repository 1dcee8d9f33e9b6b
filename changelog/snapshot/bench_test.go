package snapshot

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// rowsOf100 gives n rows of 100 bytes, key and value: a counter's key, and a value half of which repeats itself.
func rowsOf100(n int) func(func(key, value []byte, deleted bool) error) error {
	return func(put func(key, value []byte, deleted bool) error) error {
		rng := rand.New(rand.NewPCG(1, 1))
		key, value := []byte("\x01customer-00000000"), make([]byte, 82)
		copy(value[42:], "this half of the value is always the same")
		for i := range n {
			copy(key[10:], fmt.Appendf(nil, "%08d", i))
			for j := 0; j < 40; j += 8 {
				binary.LittleEndian.PutUint64(value[j:], rng.Uint64())
			}
			if err := put(key, value, false); err != nil {
				return err
			}
		}
		return nil
	}
}

// 64 MB of rows of 100 bytes, to memory and to a directory.
func BenchmarkRows(b *testing.B) {
	const n = 640_000
	for _, place := range []string{"memory", "disk"} {
		for _, format := range []Format{Native, Portable} {
			for _, compression := range []Compression{Zstd, None} {
				open := func(b *testing.B) *Bucket {
					location := "mem://"
					if place == "disk" {
						location = b.TempDir()
					}
					return openTest(b, location, Options{Compression: compression})
				}
				of := origin(1)
				of.Format = format
				write := func(b *testing.B, bucket *Bucket) Layer {
					l, err := bucket.WriteRows(b.Context(), of, rowsOf100(n), nil)
					if err != nil {
						b.Fatal(err)
					}
					return l
				}
				kind := fmt.Sprintf("%s/%s/%s", place, format, compression)
				b.Run("write/"+kind, func(b *testing.B) {
					bucket := open(b)
					b.SetBytes(100 * n)
					for b.Loop() {
						write(b, bucket)
					}
				})
				b.Run("read/"+kind, func(b *testing.B) {
					bucket := open(b)
					m := manifestOf(of, write(b, bucket))
					_, stored := m.Tasks[0].Stores[0].Rows()
					b.SetBytes(100 * n)
					for b.Loop() {
						rows := 0
						if err := bucket.Restore(b.Context(), m, of.Task, of.UID, func([]byte, []byte, bool) error { rows++; return nil }, nil); err != nil || rows != n {
							b.Fatal(rows, err)
						}
					}
					b.ReportMetric(float64(stored)/(100*n), "stored/raw")
				})
			}
		}
	}
}
