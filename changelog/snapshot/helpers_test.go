package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// row is one of a layer; a nil value is a deleted row.
type row struct{ key, value []byte }

func (r row) String() string { return fmt.Sprintf("%x=%x", r.key, r.value) }

func origin(cut uint64) Origin {
	return Origin{
		Format: Native, Content: Full, Application: "word-count", Timeline: 1, Cut: cut, Task: offsets.Task{Sub: 1, Partition: 3}, UID: "counts",
		Epoch: offsets.EpochID{Counter: 7 * cut, ProducerID: 1001, ProducerEpoch: 3}, End: int64(100 * cut),
	}
}

func feed(rows []row) func(func(key, value []byte, deleted bool) error) error {
	return func(put func(key, value []byte, deleted bool) error) error {
		for _, r := range rows {
			if err := put(r.key, r.value, r.value == nil); err != nil {
				return err
			}
		}
		return nil
	}
}

func feedRecords(records []Record) func(func(*Record) error) error {
	return func(put func(*Record) error) error {
		for i := range records {
			if err := put(&records[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

// manifestOf is one of a single store; its cut is that of the top layer.
func manifestOf(of Origin, layers ...Layer) *Manifest {
	top := layers[len(layers)-1]
	return &Manifest{
		Kind: Checkpoint, Format: of.Format, Application: of.Application, Timeline: of.Timeline, Cut: of.Cut,
		Triggered: 1700000000000, Completed: 1700000001000, Weir: "v0.1.0", Fingerprint: "5f2a", Plan: json.RawMessage(`{"nodes":["a<b"]}`),
		InternalPartitions: 4, Topics: []Topic{{Name: "lines", ID: "AAAAAAAAAAAAAAAAAAAAAQ", Partitions: 4}},
		Tasks: []TaskState{{
			Task: of.Task, Epoch: of.Epoch, Time: offsets.NoTime,
			Positions: []Position{{Topic: "lines", Partition: of.Task.Partition, Offset: 5, Time: 1700000000000}},
			Stores:    []StoreState{{UID: of.UID, End: top.End, Codecs: of.Codecs, Layers: layers}},
		}},
	}
}

func openTest(t testing.TB, location string, o Options) *Bucket {
	t.Helper()
	b, err := Open(context.Background(), location, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func writeRows(t testing.TB, b *Bucket, of Origin, rows []row) Layer {
	t.Helper()
	l, err := b.WriteRows(t.Context(), of, feed(rows), nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func writeManifest(t testing.TB, b *Bucket, m *Manifest) string {
	t.Helper()
	name, err := b.WriteManifest(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// restored folds what Restore gives.
func restored(t testing.TB, b *Bucket, m *Manifest) (map[string]string, error) {
	t.Helper()
	state := map[string]string{}
	task := m.Tasks[0]
	err := b.Restore(t.Context(), m, task.Task, task.Stores[0].UID, func(key, value []byte, deleted bool) error {
		if deleted {
			delete(state, string(key))
		} else {
			state[string(key)] = string(value)
		}
		return nil
	}, nil)
	return state, err
}

func fold(layers ...[]row) map[string]string {
	state := map[string]string{}
	for _, rows := range layers {
		for _, r := range rows {
			if r.value == nil {
				delete(state, string(r.key))
			} else {
				state[string(r.key)] = string(r.value)
			}
		}
	}
	return state
}

// randomRows are sorted, of keys that meet again in other layers; deletes says whether some are deleted.
func randomRows(rng *rand.Rand, n int, deletes bool) []row {
	keys := map[string]bool{}
	for range n {
		keys[string(randomBytes(rng, 3))] = true
	}
	var rows []row
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		r := row{key: []byte(key), value: randomBytes(rng, 60)}
		if deletes && rng.IntN(4) == 0 {
			r.value = nil
		}
		rows = append(rows, r)
	}
	return rows
}

func randomBytes(rng *rand.Rand, most int) []byte {
	b := make([]byte, rng.IntN(most+1))
	for i := range b {
		b[i] = byte(rng.IntN(7)) // so that something can be compressed
	}
	return b
}

func randomRecords(rng *rand.Rand, from, to int64) []Record {
	maybe := func(n int) []byte {
		if rng.IntN(5) == 0 {
			return nil
		}
		return randomBytes(rng, n)
	}
	var records []Record
	for offset := from; offset < to; offset += 1 + rng.Int64N(3) {
		r := Record{Offset: offset, Timestamp: rng.Int64() - rng.Int64(), Key: maybe(10), Value: maybe(60)}
		for range rng.IntN(3) {
			r.Headers = append(r.Headers, RecordHeader{Key: string([]byte{0xff, byte(rng.IntN(256))}), Value: maybe(30)})
		}
		records = append(records, r)
	}
	return records
}

func sameRecord(a, b Record) bool {
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp && same(a.Key, b.Key) && same(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(a, b RecordHeader) bool { return a.Key == b.Key && same(a.Value, b.Value) })
}
