package snapshot

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// stacked writes layers of random rows, of small objects, and gives what they come to.
func stacked(t *testing.T, b *Bucket, rng *rand.Rand, format Format, layers, least int) (*Manifest, map[string]string) {
	t.Helper()
	var written []Layer
	var rows [][]row
	for i := range layers {
		of := origin(uint64(i + 1))
		of.Format = format
		if i > 0 {
			of.Content, of.Since = Increment, written[i-1].End
		}
		rows = append(rows, randomRows(rng, least+rng.IntN(200), i > 0))
		written = append(written, writeRows(t, b, of, rows[i]))
	}
	of := origin(uint64(layers))
	of.Format = format
	return manifestOf(of, written...), fold(rows...)
}

func TestRowsMergesLayers(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	for i := range 60 {
		b := openTest(t, "mem://", Options{ObjectBytes: 500})
		m, want := stacked(t, b, rng, []Format{Native, Portable}[i%2], 1+i%5, 0)
		got := map[string]string{}
		var last []byte
		rows := b.Rows(t.Context(), m, m.Tasks[0].Task, "counts")
		for rows.Next() {
			if last != nil && bytes.Compare(last, rows.Key()) >= 0 {
				t.Fatalf("%x comes behind %x", rows.Key(), last)
			}
			last = rows.Key()
			got[string(rows.Key())] = string(rows.Value())
		}
		if rows.Err() != nil || !maps.Equal(got, want) {
			t.Fatalf("%d layers: %v, %d rows, want %d", 1+i%5, rows.Err(), len(got), len(want))
		}
		if rows.Next() {
			t.Fatal("there is something behind the end")
		}
	}
}

func TestRowsFindDamage(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{ObjectBytes: 500})
	m, want := stacked(t, b, rand.New(rand.NewPCG(5, 2)), Native, 3, 100)
	count := func(uid string, task offsets.Task) (n int, err error) {
		rows := b.Rows(t.Context(), m, task, uid)
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	}
	task := m.Tasks[0].Task
	if n, err := count("counts", task); err != nil || n != len(want) {
		t.Fatal(n, err)
	}
	if _, err := count("count", task); !errors.Is(err, ErrNotFound) {
		t.Errorf("another store: %v", err)
	}
	objects := m.Tasks[0].Stores[0].Layers[1].Objects
	if len(objects) < 2 {
		t.Fatalf("%d objects", len(objects))
	}
	file := filepath.Join(dir, objects[1].Name)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := count("counts", task); !errors.Is(err, ErrDamaged) || n >= len(want) {
		t.Errorf("a flipped bit: %d rows, %v", n, err)
	}
	// One of a layer in the place of another one.
	m.Tasks[0].Stores[0].Layers[1].Objects[1] = objects[0]
	if _, err := count("counts", task); !errors.Is(err, ErrForeign) {
		t.Errorf("an object twice: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, m.Tasks[0].Stores[0].Layers[2].Objects[0].Name)); err != nil {
		t.Fatal(err)
	}
	if n, err := count("counts", task); !errors.Is(err, ErrNotFound) || n != 0 {
		t.Errorf("a missing object: %d rows, %v", n, err)
	}
}
