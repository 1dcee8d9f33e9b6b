package snapshot

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var codecsForTests = &Codecs{Store: "keyed", Key: "string", Value: "avro", ValueSchema: `{"type":"record","name":"A<B","fields":[]}`}

// Whatever is written is read again, in every format, from memory and from disk.
func TestRoundTrip(t *testing.T) {
	for _, format := range []Format{Native, Portable} {
		for _, compression := range []Compression{Zstd, None} {
			for _, place := range []string{"mem://", "file"} {
				t.Run(fmt.Sprintf("%s %s %s", format, compression, place), func(t *testing.T) {
					for seed := range uint64(25) {
						location := place
						if place == "file" {
							location = t.TempDir()
						}
						rng := rand.New(rand.NewPCG(seed, 1))
						b := openTest(t, location, Options{ObjectBytes: 1 + rng.IntN(4000), Parallel: 1 + rng.IntN(4), Compression: compression}).Under("word-count")
						roundTrip(t, rng, b, format)
						if t.Failed() {
							t.Fatalf("seed %d", seed)
						}
					}
				})
			}
		}
	}
}

func roundTrip(t *testing.T, rng *rand.Rand, b *Bucket, format Format) {
	var layers []Layer
	var rows [][]row
	of := origin(1)
	for cut := range uint64(1 + rng.IntN(4)) {
		of = origin(cut + 1)
		of.Format, of.Codecs = format, codecsForTests
		if cut > 0 {
			of.Content, of.Since = Increment, layers[cut-1].End
		}
		rows = append(rows, randomRows(rng, rng.IntN(500), cut > 0))
		layers = append(layers, writeRows(t, b, of, rows[cut]))
	}
	of.Content, of.Since, of.End = "", 1000, 1000+int64(rng.IntN(200))
	of.UID = "by-word"
	records := randomRecords(rng, of.Since, of.End)
	part, err := b.WriteRecords(t.Context(), of, feedRecords(records), nil)
	if err != nil {
		t.Fatal(err)
	}
	of.UID = "counts"
	m := manifestOf(of, layers...)
	m.Kind, m.InFlight = Savepoint, []InFlight{part}
	name := writeManifest(t, b, m)

	if _, err := b.Load(t.Context(), name, "another"); !errors.Is(err, ErrForeign) {
		t.Errorf("load for another application: %v", err)
	}
	loaded, err := b.Load(t.Context(), name, "word-count")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := loaded.Name(); err != nil || again != name || string(loaded.Plan) != string(m.Plan) {
		t.Errorf("loaded is %s, %v, written was %s", again, err, name)
	}
	if err := b.Verify(t.Context(), loaded, nil); err != nil {
		t.Error(err)
	}
	state, err := restored(t, b, loaded)
	if want := fold(rows...); err != nil || !maps.Equal(state, want) {
		t.Errorf("restored %d rows, want %d, %v", len(state), len(want), err)
	}
	var got []Record
	err = b.Records(t.Context(), loaded, loaded.InFlight[0], func(r *Record) error { got = append(got, *r); return nil }, nil)
	if err != nil || !slices.EqualFunc(got, records, sameRecord) {
		t.Errorf("got %d records, want %d, %v", len(got), len(records), err)
	}
}

// A savepoint is a directory without absolute names.
func TestSavepointMayBeMoved(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 500, false)
	b := openTest(t, from, Options{Create: true, ObjectBytes: 1000})
	m := manifestOf(origin(9), writeRows(t, b, origin(9), rows))
	m.Kind = Savepoint
	name := writeManifest(t, b, m)
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	for _, location := range []string{to, "file://" + to, to + "/", filepath.Join(to, name), "file://" + to + "/" + name} {
		b, m, err := Find(t.Context(), location, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if state, err := restored(t, b, m); err != nil || !maps.Equal(state, fold(rows)) {
			t.Errorf("%s: restored %d rows, %v", location, len(state), err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	var names []string
	err := filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if !d.IsDir() {
			names = append(names, filepath.ToSlash(strings.TrimPrefix(path, to+string(filepath.Separator))))
		}
		return err
	})
	want := []string{name}
	for o := range m.Objects() {
		want = append(want, o.Name)
	}
	slices.Sort(want)
	slices.Sort(names)
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("the directory holds %q, %v, want %q", names, err, want)
	}
}

// The same rows of the same epoch are the same files: who uploads again, after a takeover, changes nothing.
func TestSecondUploadChangesNothing(t *testing.T) {
	b := openTest(t, "mem://", Options{ObjectBytes: 500})
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 300, false)
	first, second := writeRows(t, b, origin(1), rows), writeRows(t, b, origin(1), rows)
	if len(first.Objects) < 2 || !slices.Equal(first.Objects, second.Objects) {
		t.Errorf("%+v, then %+v", first.Objects, second.Objects)
	}
	all, err := b.list(t.Context(), objectDir)
	if err != nil || len(all) != len(first.Objects) {
		t.Errorf("there are %d objects, %v, want %d", len(all), err, len(first.Objects))
	}
}

func TestProgress(t *testing.T) {
	b := openTest(t, "mem://", Options{ObjectBytes: 300 << 10})
	var rows []row
	for i := range 20_000 {
		rows = append(rows, row{fmt.Appendf(nil, "%08d", i), make([]byte, 92)})
	}
	var steps []Progress
	note := func(p Progress) { steps = append(steps, p) }
	l, err := b.WriteRows(t.Context(), origin(1), feed(rows), note)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		var stored int64
		for _, o := range l.Objects {
			stored += o.Size
		}
		if len(steps) < 3 || steps[len(steps)-1] != (Progress{20_000, 2_000_000, stored}) {
			t.Errorf("%s: %+v, want 2 MB and %d bytes stored at the end", what, steps, stored)
		}
		for i := 1; i < len(steps); i++ {
			if steps[i].Entries < steps[i-1].Entries || steps[i].Bytes < steps[i-1].Bytes || steps[i].Stored < steps[i-1].Stored {
				t.Errorf("%s goes back: %+v", what, steps)
			}
		}
		steps = nil
	}
	check("writing")
	m := manifestOf(origin(1), l)
	if err := b.Restore(t.Context(), m, origin(1).Task, "counts", func([]byte, []byte, bool) error { return nil }, note); err != nil {
		t.Fatal(err)
	}
	check("reading")
}

func TestWritersRefuse(t *testing.T) {
	b := openTest(t, "mem://", Options{})
	increment := origin(2)
	increment.Content, increment.Since = Increment, 100
	big := make([]byte, maxEntry)
	for _, c := range []struct {
		name string
		of   Origin
		rows []row
		want string
	}{
		{"order", origin(1), []row{{[]byte("b"), []byte("")}, {[]byte("a"), []byte("")}}, "does not come after"},
		{"twice", increment, []row{{[]byte("a"), nil}, {[]byte("a"), []byte("")}}, "does not come after"},
		{"deleted", origin(1), []row{{[]byte("a"), nil}}, "the layer is full"},
		{"large", origin(1), []row{{[]byte("a"), big}}, "too large"},
		{"application", Origin{Application: "A", UID: "x", Timeline: 1, Cut: 1}, nil, "not allowed"},
		{"uid", Origin{Application: "a", UID: "", Timeline: 1, Cut: 1}, nil, "uid"},
		{"timeline", Origin{Application: "a", UID: "x", Cut: 1}, nil, "count from 1"},
		{"since", Origin{Application: "a", UID: "x", Timeline: 1, Cut: 1, Since: 1, End: 1}, nil, "since 1"},
		{"range", Origin{Application: "a", UID: "x", Timeline: 1, Cut: 1, Content: Increment, Since: 2, End: 1}, nil, "range"},
		{"content", Origin{Application: "a", UID: "x", Timeline: 1, Cut: 1, Content: Records}, nil, "content"},
		{"format", Origin{Application: "a", UID: "x", Timeline: 1, Cut: 1, Format: "xml"}, nil, "format"},
	} {
		if _, err := b.WriteRows(t.Context(), c.of, feed(c.rows), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	of := origin(1)
	of.Content, of.Since, of.End = Records, 10, 20
	for _, offsets := range [][]int64{{9}, {20}, {12, 12}, {13, 12}} {
		var records []Record
		for _, o := range offsets {
			records = append(records, Record{Offset: o})
		}
		if _, err := b.WriteRecords(t.Context(), of, feedRecords(records), nil); err == nil {
			t.Errorf("records %v were written", offsets)
		}
	}
	// What the caller's function says comes back as it is.
	own := errors.New("the iterator broke")
	_, err := b.WriteRows(t.Context(), origin(1), func(func(key, value []byte, deleted bool) error) error { return own }, nil)
	if !errors.Is(err, own) || err.Error() != own.Error() {
		t.Errorf("got %v", err)
	}
}

func TestManifestsRefuse(t *testing.T) {
	b := openTest(t, "mem://", Options{})
	full := writeRows(t, b, origin(1), []row{{[]byte("a"), []byte("1")}})
	of := origin(2)
	of.Content, of.Since = Increment, 100
	above := writeRows(t, b, of, []row{{[]byte("a"), nil}})
	good := func() *Manifest { return manifestOf(origin(2), full, above) }
	store := func(m *Manifest) *StoreState { return &m.Tasks[0].Stores[0] }
	if _, err := good().Name(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Manifest){
		"application":        func(m *Manifest) { m.Application = "Word" },
		"kind":               func(m *Manifest) { m.Kind = "" },
		"format":             func(m *Manifest) { m.Format = "" },
		"count from 1":       func(m *Manifest) { m.Timeline = 0 },
		"internal partition": func(m *Manifest) { m.InternalPartitions = 0 },
		"\"a\" is out":       func(m *Manifest) { m.Topics = []Topic{{Name: "b", Partitions: 1}, {Name: "a", Partitions: 1}} },
		"0 partitions":       func(m *Manifest) { m.Topics[0].Partitions = 0 },
		"task 1-3 is out":    func(m *Manifest) { m.Tasks = append(m.Tasks, m.Tasks[0]) },
		"position -1":        func(m *Manifest) { m.Tasks[0].Positions[0].Offset = -1 },
		"position of":        func(m *Manifest) { m.Tasks[0].Positions = append(m.Tasks[0].Positions, m.Tasks[0].Positions[0]) },
		"two stores":         func(m *Manifest) { m.Tasks[0].Stores = append(m.Tasks[0].Stores, *store(m)) },
		"no layers":          func(m *Manifest) { store(m).Layers = nil },
		"layer 0 is incr":    func(m *Manifest) { store(m).Layers = []Layer{above} },
		"layer 1 is full":    func(m *Manifest) { store(m).Layers = []Layer{full, full} },
		"does not lie on":    func(m *Manifest) { store(m).Layers[1].Since = 99 },
		"is of cut 2":        func(m *Manifest) { m.Cut = 1 },
		"it at 150":          func(m *Manifest) { store(m).End = 150 },
		"it is there twice":  func(m *Manifest) { store(m).Layers[1].Objects = []Object{above.Objects[0], above.Objects[0]} },
		"a layer of cut 2":   func(m *Manifest) { store(m).Layers[1].Objects = full.Objects },
		"none of an object":  func(m *Manifest) { store(m).Layers[1].Objects = []Object{{Name: "objects/../../x"}} },
		"reads it":           func(m *Manifest) { m.InFlight = []InFlight{{UID: "x", Partition: 1}} },
		"partition 0 is out": func(m *Manifest) { m.InFlight = []InFlight{{UID: "x"}, {UID: "x"}} },
		"range":              func(m *Manifest) { m.InFlight = []InFlight{{UID: "x", From: 2, To: 1}} },
	} {
		m := good()
		spoil(m)
		if _, err := b.WriteManifest(t.Context(), m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
