package state_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/state"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// made is a savepoint of a test: by store and partition, layers of rows; a nil value is a deleted row.
type made map[string][][]map[string][]byte

// write gives its directory. Row keys are those of a keyed store without their kind.
func (m made) write(t *testing.T, codecs snapshot.Codecs) string {
	t.Helper()
	dir := t.TempDir()
	b, err := snapshot.Open(t.Context(), dir, snapshot.Options{ObjectBytes: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	tasks := map[int32][]snapshot.StoreState{}
	partitions := int32(0)
	for uid, parts := range m {
		partitions = max(partitions, int32(len(parts)))
		for p, layers := range parts {
			st := snapshot.StoreState{UID: uid, Codecs: &codecs}
			for i, rows := range layers {
				of := snapshot.Origin{Application: "app", Timeline: 1, Cut: uint64(i + 1), Task: offsets.Task{Partition: int32(p)}, UID: uid, Codecs: &codecs,
					Content: snapshot.Full, End: int64(10 * (i + 1))}
				if i > 0 {
					of.Content, of.Since = snapshot.Increment, int64(10*i)
				}
				l, err := b.WriteRows(t.Context(), of, func(put func(key, value []byte, deleted bool) error) error {
					if i == 0 {
						if err := put([]byte("\x00w"), []byte(dir), false); err != nil { // the task's own, always another one
							return err
						}
					}
					var keys []string
					for k := range rows {
						keys = append(keys, k)
					}
					slices.Sort(keys)
					for _, k := range keys {
						if err := put(task.AppendKeyedRow(nil, []byte(k)), rows[k], rows[k] == nil); err != nil {
							return err
						}
					}
					return nil
				}, nil)
				if err != nil {
					t.Fatal(err)
				}
				st.Layers, st.End = append(st.Layers, l), l.End
			}
			tasks[int32(p)] = append(tasks[int32(p)], st)
		}
	}
	plan, err := json.Marshal(topology.Description{Application: "app"})
	if err != nil {
		t.Fatal(err)
	}
	manifest := snapshot.Manifest{Kind: snapshot.Savepoint, Format: snapshot.Native, Application: "app", Timeline: 1, Cut: 9, InternalPartitions: 1, Plan: plan}
	for p := range partitions {
		manifest.Tasks = append(manifest.Tasks, snapshot.TaskState{Task: offsets.Task{Partition: p}, Stores: tasks[p]})
	}
	if _, err := b.WriteManifest(t.Context(), &manifest); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, path string) *state.Snapshot {
	t.Helper()
	s, err := state.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var words = snapshot.Codecs{Store: task.StoreKeyed, Key: "string", Value: "string"}

func layer(pairs ...string) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = []byte(pairs[i+1])
		if pairs[i+1] == "-" {
			m[pairs[i]] = nil
		}
	}
	return m
}

func diff(t *testing.T, a, b made, store string) (changes []string, sums []state.Summary) {
	t.Helper()
	sums, err := state.Diff(t.Context(), open(t, a.write(t, words)), open(t, b.write(t, words)), store, func(c state.Change) error {
		changes = append(changes, fmt.Sprintf("%s %s %s %s %s>%s", c.Op, c.Store, c.Task, c.Key, c.Before, c.After))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return changes, sums
}

// Layers are what they come to, rows of the task itself do not count, and rows are found wherever they lie.
func TestDiff(t *testing.T) {
	a := made{"s": {
		{layer("a", "1", "c", "1", "e", "1"), layer("a", "2", "c", "-"), layer("c", "3", "e", "-")}, // a 2, c 3
		{layer("b", "1", "d", "1")},
	}}
	folded := made{"s": {{layer("a", "2", "c", "3")}, {layer("d", "1"), layer("b", "1")}}}
	if changes, sums := diff(t, a, folded, ""); len(changes) != 0 || sums[0] != (state.Summary{Store: "s", Same: 4}) {
		t.Errorf("%v, %+v", changes, sums)
	}
	b := made{"s": {{layer("a", "2", "c", "4", "f", "1")}, {layer("b", "1")}}}
	want := []string{`changed s 0-0 "c" "3">"4"`, `added s 0-0 "f" >"1"`, `removed s 0-1 "d" "1">`}
	if changes, sums := diff(t, a, b, "s"); !slices.Equal(changes, want) || sums[0] != (state.Summary{Store: "s", Added: 1, Removed: 1, Changed: 1, Same: 2}) {
		t.Errorf("%q, %+v", changes, sums)
	}
	// The same rows over another number of partitions.
	wide := made{"s": {{layer("c", "3")}, {layer("a", "2")}, {layer("b", "1", "d", "7")}}}
	if changes, sums := diff(t, a, wide, ""); !slices.Equal(changes, []string{`changed s 0-2 "d" "1">"7"`}) || sums[0].Same != 3 {
		t.Errorf("%q, %+v", changes, sums)
	}
	// A store that one of them has.
	more := made{"s": a["s"], "t": {{layer("x", "1")}}}
	changes, sums := diff(t, a, more, "")
	if !slices.Equal(changes, []string{`added t 0-0 "x" >"1"`}) || !sums[0].Equal() || sums[1].Equal() || !strings.Contains(sums[1].Note, "first one has no such store") {
		t.Errorf("%q, %+v", changes, sums)
	}
	_, err := state.Diff(t.Context(), open(t, a.write(t, words)), open(t, more.write(t, words)), "u", nil)
	if !errors.Is(err, state.ErrUnknown) || !strings.Contains(err.Error(), "s, t") {
		t.Errorf("%v", err)
	}
}

// What keys and values look like, and that keys are found as they are shown.
func TestText(t *testing.T) {
	i64 := "\x00\x00\x00\x00\x00\x00\x00\x07"
	const pair = `{"type":"record","name":"P","fields":[{"name":"b","type":"long"},{"name":"a","type":"string"}]}`
	for _, c := range []struct {
		codec, schema string
		bytes, want   string
		key           string // "": it cannot be a key
	}{
		{"string", "", "a\"<b", `"a\"<b"`, "a\"<b"},
		{"string", "", "\xff", `{"hex":"ff"}`, "hex:ff"},
		{"bytes", "", "ab", `{"hex":"6162"}`, "hex:6162"},
		{"int64", "", i64, "7", "7"},
		{"int64", "", "short", `{"hex":"73686f7274"}`, "hex:73686f7274"},
		{"float64", "", "\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5", "1.5"},
		{"float64", "", "\x7f\xf0\x00\x00\x00\x00\x00\x00", `"+Inf"`, "+Inf"},
		{"bool", "", "\x01", "true", "true"},
		{"time", "", "\x00\x00\x01\x8b\xcf\xe5\x68\x00", `"2023-11-14T22:13:20Z"`, "2023-11-14T22:13:20Z"},
		{"uuid", "", "0123456789abcdef", `"30313233-3435-3637-3839-616263646566"`, "30313233-3435-3637-3839-616263646566"},
		{"json", "", `{"a": 1}`, `{"a":1}`, ""},
		{"avro", pair, "\x04\x02x", `{"b":2,"a":"x"}`, `{"b":2,"a":"x"}`},
		{"avro", `"string"`, "\x04ab", `"ab"`, "ab"},
		{"avro", "", "\x04ab", `{"hex":"046162"}`, "hex:046162"},
		{"nullable int64", "", i64, "7", ""},
		{"tally-pair", "", "ab", `{"hex":"6162"}`, "hex:6162"},
		{"windowed string", "", "k" + i64 + i64, `{"key":"k","start":"1970-01-01T00:00:00.007Z","end":"1970-01-01T00:00:00.007Z"}`, ""},
	} {
		codecs := snapshot.Codecs{Store: task.StoreKeyed, Key: c.codec, KeySchema: c.schema, Value: c.codec, ValueSchema: c.schema}
		s := open(t, made{"s": {{layer(c.bytes, c.bytes)}}}.write(t, codecs))
		var rows []state.Row
		keep := func(r state.Row) error { rows = append(rows, r); return nil }
		if err := s.Rows(t.Context(), state.Selection{}, keep); err != nil {
			t.Fatal(err)
		}
		if len(rows) != 1 || string(rows[0].Key) != c.want || string(rows[0].Value) != c.want {
			t.Errorf("%s %q: %s, want %s", c.codec, c.bytes, rows, c.want)
		}
		if c.key == "" {
			continue
		}
		rows = nil
		digits, hex := strings.CutPrefix(c.key, "hex:")
		if err := s.Get(t.Context(), state.Selection{Store: "s"}, digits, hex, keep); err != nil || len(rows) != 1 {
			t.Errorf("%s: get %s: %v, %d rows", c.codec, c.key, err, len(rows))
		}
	}
}

func TestGet(t *testing.T) {
	s := open(t, made{
		"s": {{layer("a", "1", "b", "1"), layer("a", "2", "b", "-")}, {layer("a", "3", "aa", "4")}},
		"n": {{layer("a", "1")}},
	}.write(t, words))
	get := func(sel state.Selection, key string) (rows []string, err error) {
		err = s.Get(t.Context(), sel, key, false, func(r state.Row) error {
			rows = append(rows, r.Task+"="+string(r.Value))
			return nil
		})
		return rows, err
	}
	for _, c := range []struct {
		sel  state.Selection
		key  string
		want []string
	}{
		{state.Selection{Store: "s"}, "a", []string{`0-0="2"`, `0-1="3"`}}, // a key lies once, unless somebody else placed it
		{state.Selection{Store: "s", Task: "0-1"}, "a", []string{`0-1="3"`}},
		{state.Selection{Store: "s"}, "b", nil}, // deleted
		{state.Selection{Store: "s"}, "aaa", nil},
	} {
		if got, err := get(c.sel, c.key); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v %s: %v, %v", c.sel, c.key, got, err)
		}
	}
	for _, c := range []struct {
		sel  state.Selection
		says string
	}{
		{state.Selection{}, "n, s"}, {state.Selection{Store: "x"}, "n, s"}, {state.Selection{Store: "n", Task: "0-1"}, "0-0"}, {state.Selection{Store: "n", Task: "one"}, "1-3"},
	} {
		if _, err := get(c.sel, "a"); !errors.Is(err, state.ErrUnknown) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.sel, err)
		}
	}
}

// What cannot be used is told as such, with what to do, and no row of it is given.
func TestUnusableSavepoints(t *testing.T) {
	fill := func() string { return made{"s": {{layer("a", "1")}}}.write(t, words) }
	only := func(dir, kind string) string {
		all, err := filepath.Glob(filepath.Join(dir, kind, "*"))
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0]
	}
	for name, c := range map[string]struct {
		harm func(dir string) error
		want error
	}{
		"no savepoint":    {func(dir string) error { return os.Remove(only(dir, "manifests")) }, snapshot.ErrNotFound},
		"no directory":    {os.RemoveAll, snapshot.ErrNotFound},
		"missing object":  {func(dir string) error { return os.Remove(only(dir, "objects")) }, snapshot.ErrNotFound},
		"damaged object":  {func(dir string) error { return os.WriteFile(only(dir, "objects"), []byte("x"), fs.ModePerm) }, snapshot.ErrDamaged},
		"a newer release": {newer, snapshot.ErrNewer},
	} {
		dir := fill()
		if err := c.harm(dir); err != nil {
			t.Fatal(err)
		}
		s, err := state.Open(t.Context(), dir)
		if err == nil {
			err = s.Rows(t.Context(), state.Selection{}, func(r state.Row) error { return fmt.Errorf("it gave %+v", r) })
			err = errors.Join(err, s.Close())
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		var told *processor.Error
		if !errors.As(err, &told) || told.Fix == "" {
			t.Errorf("%s: it is not said what to do: %v", name, err)
		}
	}
}

// newer makes the manifest one of a release to come.
func newer(dir string) error {
	all, err := filepath.Glob(filepath.Join(dir, "manifests", "*"))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(all[0])
	if err != nil {
		return err
	}
	text = []byte(strings.Replace(string(text), `{"version":1,`, `{"version":99,`, 1))
	name := fmt.Sprintf("0000000009-%x.json", sha256.Sum256(text))
	return errors.Join(os.Remove(all[0]), os.WriteFile(filepath.Join(dir, "manifests", name), text, 0o600))
}
