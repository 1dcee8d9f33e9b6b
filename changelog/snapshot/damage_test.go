package snapshot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// changed gives every file with one bit of difference per byte, and every one that ends early or goes on.
func changed(file []byte, try func(what string, at int, bad []byte)) {
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 1 << (i % 8)
		try("flipped", i, bad)
		try("cut off", i, file[:i])
	}
	try("longer", len(file), append(bytes.Clone(file), 0))
}

// smallObjects are of rows and of records, in every format.
func smallObjects(t testing.TB) (files [][]byte, all []wanted) {
	for _, format := range []Format{Native, Portable} {
		for _, compression := range []Compression{Zstd, None} {
			for _, content := range []Content{Full, Increment, Records} {
				b := openTest(t, "mem://", Options{Compression: compression})
				of := origin(2)
				of.Format, of.Content = format, content
				var objects []Object
				if content == Records {
					of.Since, of.End = 40, 60
					part, err := b.WriteRecords(t.Context(), of, feedRecords(randomRecords(rand.New(rand.NewPCG(1, 1)), 40, 60)), nil)
					if err != nil {
						t.Fatal(err)
					}
					objects = part.Objects
				} else {
					of.Since = map[Content]int64{Increment: 100}[content]
					objects = writeRows(t, b, of, randomRows(rand.New(rand.NewPCG(1, 1)), 20, content == Increment)).Objects
				}
				w := wantedFrom(of, objects)[0]
				file, err := b.get(t.Context(), w.Name, w.Size)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := decode(file, w); err != nil {
					t.Fatal(err)
				}
				files, all = append(files, file), append(all, w)
			}
		}
	}
	return files, all
}

func TestDamagedObjectsAreNoticed(t *testing.T) {
	files, all := smallObjects(t)
	for n, file := range files {
		w := all[n]
		changed(file, func(what string, at int, bad []byte) {
			if _, err := decode(bad, w); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: byte %d %s: %v", w.Name, at, what, err)
			}
			if w.Format != Native {
				return
			}
			// Also without the hash every byte is covered, so that one block can be told from another.
			if _, err := decodeNative(bad); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
				t.Errorf("%s: byte %d %s, unnoticed without the hash: %v", w.Name, at, what, err)
			}
		})
	}
}

// What a writer with a mistake would write, under the right hash.
func TestWrongObjectsAreNoticed(t *testing.T) {
	build := func(fill func(h *header) func(encoder)) ([]byte, wanted) {
		h := header{Version: 1, Compression: None, Origin: origin(2)}
		f := fill(&h)
		e := newEncoder(h, nil)
		f(e)
		file, counts := e.finish(true)
		n := name{dir: objectDir, cut: 2, sum: sha256.Sum256(file), ext: extension(h.Format, None)}
		return file, wanted{Object: Object{Name: n.String(), Size: int64(len(file)), Counts: counts}, Origin: origin(2), last: true}
	}
	one := func(e encoder) { e.row([]byte("a"), []byte("1"), false) }
	if file, w := build(func(*header) func(encoder) { return one }); !noError(decode(file, w)) {
		t.Fatal("a right one is refused")
	}
	for name, c := range map[string]struct {
		fill func(h *header) func(encoder)
		want error
	}{
		"newer":       {func(h *header) func(encoder) { h.Version = 2; return one }, ErrNewer},
		"application": {func(h *header) func(encoder) { h.Application = "other"; return one }, ErrForeign},
		"timeline":    {func(h *header) func(encoder) { h.Timeline = 2; return one }, ErrForeign},
		"cut":         {func(h *header) func(encoder) { h.Cut = 3; return one }, ErrForeign},
		"epoch":       {func(h *header) func(encoder) { h.Epoch.ProducerEpoch++; return one }, ErrForeign},
		"task":        {func(h *header) func(encoder) { h.Task = offsets.Task{Sub: 1, Partition: 2}; return one }, ErrForeign},
		"store":       {func(h *header) func(encoder) { h.UID = "other"; return one }, ErrForeign},
		"end":         {func(h *header) func(encoder) { h.End++; return one }, ErrForeign},
		"codecs":      {func(h *header) func(encoder) { h.Codecs = codecsForTests; return one }, ErrForeign},
		"part":        {func(h *header) func(encoder) { h.Part = 1; return one }, ErrForeign},
		"deleted":     {func(*header) func(encoder) { return func(e encoder) { e.row([]byte("a"), nil, true) } }, ErrDamaged},
		"order": {func(*header) func(encoder) {
			return func(e encoder) { e.row([]byte("b"), []byte("1"), false); one(e) }
		}, ErrDamaged},
		"twice":   {func(*header) func(encoder) { return func(e encoder) { one(e); one(e) } }, ErrDamaged},
		"content": {func(h *header) func(encoder) { h.Content = "half"; return one }, ErrDamaged},
	} {
		for _, format := range []Format{Native, Portable} {
			file, w := build(func(h *header) func(encoder) { h.Format = format; return c.fill(h) })
			w.Format = format
			if _, err := decode(file, w); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", name, format, err, c.want)
			}
		}
	}
	// A count that is not the manifest's.
	file, w := build(func(*header) func(encoder) { return one })
	w.Bytes++
	if _, err := decode(file, w); !errors.Is(err, ErrForeign) {
		t.Errorf("counts: %v", err)
	}
	w.Bytes, w.last = w.Bytes-1, false
	if _, err := decode(file, w); !errors.Is(err, ErrForeign) {
		t.Errorf("last: %v", err)
	}
}

func noError(_ *object, err error) bool { return err == nil }

func TestDamagedManifestsAreNoticed(t *testing.T) {
	b := openTest(t, "mem://", Options{})
	m := manifestOf(origin(1), writeRows(t, b, origin(1), randomRows(rand.New(rand.NewPCG(1, 1)), 20, false)))
	text, n, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeManifest(n, text); err != nil {
		t.Fatal(err)
	}
	changed(text, func(what string, at int, bad []byte) {
		if _, err := decodeManifest(n, bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d %s: %v", at, what, err)
		}
	})
	// The same under a right hash: what is not written by us, though it says the same, is not taken.
	for what, c := range map[string]struct {
		bad  string
		want error
	}{
		"newer":   {strings.Replace(string(text), `"version":1`, `"version":2,"news":{}`, 1), ErrNewer},
		"unknown": {strings.Replace(string(text), `"version":1`, `"version":1,"news":{}`, 1), ErrDamaged},
		"spaces":  {strings.Replace(string(text), `:`, `: `, 1), ErrDamaged},
		"more":    {string(text) + "{}", ErrDamaged},
		"null":    {"null\n", ErrDamaged},
		"twice":   {strings.Replace(string(text), `"cut":1`, `"cut":2,"cut":1`, 1), ErrDamaged},
		"names":   {strings.Replace(string(text), `"objects/0`, `"objects/../0`, 1), ErrDamaged},
	} {
		n.sum = sha256.Sum256([]byte(c.bad))
		if _, err := decodeManifest(n, []byte(c.bad)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What may happen to the files of a checkpoint, seen by who loads, verifies and restores it.
func TestFilesThatAreNotTheirs(t *testing.T) {
	rows := randomRows(rand.New(rand.NewPCG(3, 1)), 400, false)
	setup := func(t *testing.T) (b *Bucket, m *Manifest, files []string) {
		dir := t.TempDir()
		b = openTest(t, dir, Options{ObjectBytes: 1000, Compression: None})
		m = manifestOf(origin(4), writeRows(t, b, origin(4), rows))
		files = append(files, filepath.Join(dir, writeManifest(t, b, m)))
		for o := range m.Objects() {
			files = append(files, filepath.Join(dir, o.Name))
		}
		if len(files) < 5 {
			t.Fatalf("only %d files", len(files))
		}
		return b, m, files
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		do     func(t *testing.T, b *Bucket, files []string)
		loads  bool
		want   error
		inText string
	}{
		{"manifest missing", func(t *testing.T, _ *Bucket, files []string) { must(t, os.Remove(files[0])) }, false, ErrNotFound, ".json"},
		{"manifest empty", func(t *testing.T, _ *Bucket, files []string) { must(t, os.Truncate(files[0], 0)) }, false, ErrDamaged, ".json"},
		{"object missing", func(t *testing.T, _ *Bucket, files []string) { must(t, os.Remove(files[2])) }, false, ErrNotFound, ".weir"},
		{"object cut off", func(t *testing.T, _ *Bucket, files []string) { must(t, os.Truncate(files[2], 100)) }, false, ErrDamaged, "100 bytes"},
		{"bit flipped", func(t *testing.T, _ *Bucket, files []string) {
			text, err := os.ReadFile(files[3])
			must(t, err)
			text[len(text)/2] ^= 4
			must(t, os.WriteFile(files[3], text, 0o644))
		}, true, ErrDamaged, "SHA-256"},
		{"objects swapped", func(t *testing.T, _ *Bucket, files []string) {
			must(t, os.Rename(files[1], files[1]+"x"))
			must(t, os.Rename(files[2], files[1]))
			must(t, os.Rename(files[1]+"x", files[2]))
		}, false, ErrDamaged, ".weir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, m, files := setup(t)
			c.do(t, b, files)
			name, err := m.Name()
			must(t, err)
			if _, err := b.Load(t.Context(), name, ""); (err == nil) != c.loads || (!c.loads && !errors.Is(err, c.want)) {
				t.Errorf("load: %v", err)
			} else if err != nil && !strings.Contains(err.Error(), c.inText) {
				t.Errorf("load says %v, not %q", err, c.inText)
			}
			if strings.HasPrefix(c.name, "manifest") {
				return
			}
			for what, err := range map[string]error{"verify": b.Verify(t.Context(), m, nil), "restore": second(restored(t, b, m))} {
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.inText) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	t.Run("of another store", func(t *testing.T) {
		b, m, _ := setup(t)
		other := origin(4)
		other.UID = "other"
		m.Tasks[0].Stores[0].Layers[0].Objects = writeRows(t, b, other, rows).Objects
		if _, err := restored(t, b, m); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "other") {
			t.Errorf("restored, %v", err)
		}
	})
	t.Run("in another order", func(t *testing.T) {
		b, m, _ := setup(t)
		o := m.Tasks[0].Stores[0].Layers[0].Objects
		o[1], o[2] = o[2], o[1]
		if _, err := restored(t, b, m); !errors.Is(err, ErrForeign) {
			t.Errorf("restored, %v", err)
		}
	})
	t.Run("last one forgotten", func(t *testing.T) {
		b, m, _ := setup(t)
		o := m.Tasks[0].Stores[0].Layers[0].Objects
		m.Tasks[0].Stores[0].Layers[0].Objects = o[:len(o)-1]
		if _, err := restored(t, b, m); !errors.Is(err, ErrForeign) {
			t.Errorf("restored, %v", err)
		}
	})
	t.Run("parts that overlap", func(t *testing.T) {
		b, m, _ := setup(t)
		var objects []Object
		for part, key := range []string{"b", "a"} {
			e := newEncoder(header{Version: 1, Compression: None, Origin: origin(4), Part: part}, nil)
			e.row([]byte(key), []byte("1"), false)
			file, counts := e.finish(part == 1)
			n := name{dir: objectDir, cut: 4, sum: sha256.Sum256(file), ext: "weir"}
			must(t, b.put(t.Context(), n.String(), file))
			objects = append(objects, Object{Name: n.String(), Size: int64(len(file)), Counts: counts})
		}
		m.Tasks[0].Stores[0].Layers[0].Objects = objects
		if _, err := restored(t, b, m); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "does not continue") {
			t.Errorf("restored, %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }
