package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
)

// foreignReader reads a portable savepoint as a program would that knows nothing but FORMAT.md.
type foreignReader struct {
	t    *testing.T
	dir  string
	zstd *zstd.Decoder
}

// file reads one and compares the hash in its name.
func (r foreignReader) file(name string) []byte {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(filepath.Base(name), "-")
	sum, _, _ := strings.Cut(rest, ".")
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum {
		r.t.Fatalf("%s has another hash", name)
	}
	return b
}

func (r foreignReader) manifest() (m map[string]any) {
	r.t.Helper()
	all, err := filepath.Glob(filepath.Join(r.dir, "manifests", "*.json"))
	if err != nil || len(all) != 1 {
		r.t.Fatalf("%q, %v", all, err)
	}
	if err := json.Unmarshal(r.file("manifests/"+filepath.Base(all[0])), &m); err != nil {
		r.t.Fatal(err)
	}
	return m
}

// lines gives header, entries and footer of an object.
func (r foreignReader) lines(name string) (all []map[string]any) {
	r.t.Helper()
	b := r.file(name)
	if strings.HasSuffix(name, ".zst") {
		var err error
		if b, err = r.zstd.DecodeAll(b, nil); err != nil {
			r.t.Fatal(err)
		}
	}
	for line := range bytes.Lines(b) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func (r foreignReader) bytes(v any) string {
	r.t.Helper()
	b, err := base64.StdEncoding.DecodeString(v.(string))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func TestPortableSavepointIsReadWithoutWeir(t *testing.T) {
	for _, compression := range []snapshot.Compression{snapshot.Zstd, snapshot.None} {
		dir := t.TempDir()
		b, err := snapshot.Open(t.Context(), dir, snapshot.Options{ObjectBytes: 400, Compression: compression})
		if err != nil {
			t.Fatal(err)
		}
		of := snapshot.Origin{
			Format: snapshot.Portable, Application: "word-count", Timeline: 1, Cut: 9, Task: offsets.Task{Sub: 1}, UID: "counts",
			Epoch: offsets.EpochID{Counter: 7, ProducerID: 1001, ProducerEpoch: 3}, End: 4200,
			Codecs: &snapshot.Codecs{Store: "keyed", Key: "string", Value: "int64"},
		}
		words := map[string]string{}
		layer, err := b.WriteRows(t.Context(), of, func(put func(key, value []byte, deleted bool) error) error {
			for _, word := range []string{"a", "as", "be", "bee", "in", "is", "it", "of", "on", "to", "two", "\xff\x00"} {
				words["\x01"+word] = "12345678"
				if err := put([]byte("\x01"+word), []byte("12345678"), false); err != nil {
					return err
				}
			}
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		of.UID, of.Content, of.Since, of.Codecs = "by-word", snapshot.Records, 4000, nil
		part, err := b.WriteRecords(t.Context(), of, func(put func(*snapshot.Record) error) error {
			return put(&snapshot.Record{Offset: 4100, Timestamp: 1700000000000, Key: []byte("be"), Headers: []snapshot.RecordHeader{{Key: "weir", Value: []byte{1, 0}}, {Key: "\xff"}}})
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.WriteManifest(t.Context(), &snapshot.Manifest{
			Kind: snapshot.Savepoint, Format: snapshot.Portable, Application: "word-count", Timeline: 1, Cut: 9, InternalPartitions: 1,
			Tasks: []snapshot.TaskState{{
				Task: of.Task, Epoch: of.Epoch,
				Stores: []snapshot.StoreState{{UID: "counts", End: 4200, Codecs: &snapshot.Codecs{Store: "keyed", Key: "string", Value: "int64"}, Layers: []snapshot.Layer{layer}}},
			}},
			InFlight: []snapshot.InFlight{part},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}

		decoder, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := foreignReader{t, dir, decoder}
		m := r.manifest()
		if m["format"] != "portable" || m["kind"] != "savepoint" {
			t.Fatalf("%v", m)
		}
		got := map[string]string{}
		objects := 0
		store := m["tasks"].([]any)[0].(map[string]any)["stores"].([]any)[0].(map[string]any)
		for _, l := range store["layers"].([]any) {
			for _, o := range l.(map[string]any)["objects"].([]any) {
				objects++
				lines := r.lines(o.(map[string]any)["name"].(string))
				head, rows, foot := lines[0], lines[1:len(lines)-1], lines[len(lines)-1]
				if head["uid"] != "counts" || head["content"] != "full" || head["codecs"].(map[string]any)["value"] != "int64" {
					t.Errorf("header %v", head)
				}
				if foot["entries"] != float64(len(rows)) {
					t.Errorf("footer %v of %d rows", foot, len(rows))
				}
				for _, row := range rows {
					got[r.bytes(row["key"])] = r.bytes(row["value"])
				}
			}
		}
		if !maps.Equal(got, words) || objects < 2 {
			t.Errorf("%q in %d objects", got, objects)
		}
		object := m["inFlight"].([]any)[0].(map[string]any)["objects"].([]any)[0].(map[string]any)
		record := r.lines(object["name"].(string))[1]
		headers := record["headers"].([]any)
		first, second := headers[0].(map[string]any), headers[1].(map[string]any)
		if record["offset"] != 4100.0 || record["timestamp"] != 1700000000000.0 || r.bytes(record["key"]) != "be" || record["value"] != nil ||
			r.bytes(first["key"]) != "weir" || r.bytes(first["value"]) != "\x01\x00" || r.bytes(second["key"]) != "\xff" || second["value"] != nil {
			t.Errorf("%v", record)
		}
		decoder.Close()
	}
}
