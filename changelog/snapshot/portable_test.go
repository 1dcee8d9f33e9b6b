package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/linkedin/goavro/v2"

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

// rows are those of a store, and the first header.
func (r foreignReader) rows(store map[string]any) (head map[string]any, rows map[string]string, objects int) {
	r.t.Helper()
	rows = map[string]string{}
	for _, l := range store["layers"].([]any) {
		for _, o := range l.(map[string]any)["objects"].([]any) {
			lines := r.lines(o.(map[string]any)["name"].(string))
			body, foot := lines[1:len(lines)-1], lines[len(lines)-1]
			if head == nil {
				head = lines[0]
			}
			objects++
			if foot["entries"] != float64(len(body)) {
				r.t.Errorf("footer %v of %d rows", foot, len(body))
			}
			for _, row := range body {
				rows[r.bytes(row["key"])] = r.bytes(row["value"])
			}
		}
	}
	return head, rows, objects
}

// orderSchema is what a codec of topology/avro puts into a savepoint.
const orderSchema = `{"type":"record","name":"Order","fields":[{"name":"customer","type":"string"},{"name":"cents","type":"long"}]}`

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
		of.UID, of.Codecs = "orders", &snapshot.Codecs{Store: "window", Key: "string", Value: "avro", ValueSchema: orderSchema}
		orders, err := b.WriteRows(t.Context(), of, func(put func(key, value []byte, deleted bool) error) error {
			c, err := goavro.NewCodec(orderSchema)
			if err != nil {
				return err
			}
			value, err := c.BinaryFromNative(nil, map[string]any{"customer": "ann", "cents": int64(1250)})
			if err != nil {
				return err
			}
			key := binary.BigEndian.AppendUint64([]byte{1}, uint64(1700000000000)^1<<63)
			return put(append(key, "be"...), value, false)
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		windowed := of.Codecs
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
				Stores: []snapshot.StoreState{
					{UID: "counts", End: 4200, Codecs: &snapshot.Codecs{Store: "keyed", Key: "string", Value: "int64"}, Layers: []snapshot.Layer{layer}},
					{UID: "orders", End: 4200, Codecs: windowed, Layers: []snapshot.Layer{orders}},
				},
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
		stores := m["tasks"].([]any)[0].(map[string]any)["stores"].([]any)
		head, got, objects := r.rows(stores[0].(map[string]any))
		if head["uid"] != "counts" || head["content"] != "full" || head["codecs"].(map[string]any)["value"] != "int64" {
			t.Errorf("header %v", head)
		}
		if !maps.Equal(got, words) || objects < 2 {
			t.Errorf("%q in %d objects", got, objects)
		}

		// The value of a codec with a schema, by what the savepoint says alone: in the manifest, and in the object.
		head, orderRows, _ := r.rows(stores[1].(map[string]any))
		for _, says := range []any{stores[1].(map[string]any)["codecs"], head["codecs"]} {
			codecs := says.(map[string]any)
			if codecs["store"] != "window" || codecs["value"] != "avro" {
				t.Fatalf("codecs %v", codecs)
			}
			avro, err := goavro.NewCodec(codecs["valueSchema"].(string))
			if err != nil {
				t.Fatal(err)
			}
			if len(orderRows) != 1 {
				t.Fatalf("%q", orderRows)
			}
			for key, value := range orderRows {
				native, rest, err := avro.NativeFromBinary([]byte(value))
				if err != nil || len(rest) > 0 {
					t.Fatal(rest, err)
				}
				order := native.(map[string]any)
				start := int64(binary.BigEndian.Uint64([]byte(key[1:9])) ^ 1<<63)
				if order["customer"] != "ann" || order["cents"] != int64(1250) || start != 1700000000000 || key[9:] != "be" {
					t.Errorf("%v of %q in the window from %d", order, key[9:], start)
				}
			}
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
