package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// formatExample gives the one block of that name in FORMAT.md: bytes of hex, or text.
func formatExample(t *testing.T, name string) []byte {
	t.Helper()
	page, err := os.ReadFile("../../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```" + name + "\n(.*?)^```").FindSubmatch(page)
	if block == nil {
		t.Fatalf("FORMAT.md has no example %q", name)
	}
	if !strings.HasPrefix(name, "hex ") {
		return block[1]
	}
	b, err := hex.DecodeString(regexp.MustCompile(`#.*|\s`).ReplaceAllString(string(block[1]), ""))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// again encodes what was decoded.
func again(o *object) []byte {
	e := newEncoder(o.header, nil)
	if o.Content == Records {
		_ = o.records(func(r *Record) error { e.record(r); return nil })
	} else {
		_ = o.rows(func(key, value []byte, deleted bool) error { e.row(key, value, deleted); return nil })
	}
	file, _ := e.finish(o.last)
	return file
}

func exampleRows(t *testing.T, o *object) {
	t.Helper()
	var rows []string
	_ = o.rows(func(key, value []byte, deleted bool) error {
		if deleted {
			value = []byte("deleted")
		}
		rows = append(rows, string(key)+"="+string(value))
		return nil
	})
	if got := strings.Join(rows, " "); got != "\x01to=deleted \x01word=\x00\x00\x00\x00\x00\x00\x00\x07" {
		t.Errorf("rows %q", got)
	}
	if o.Application != "word-count" || o.Task.String() != "1-3" || o.UID != "counts" || o.Content != Increment || o.Epoch.String() != "c7.p1001.e3" ||
		o.Cut != 9 || o.Since != 4000 || o.End != 4200 || o.Part != 0 || !o.last || o.Counts != (Counts{2, 1, 16}) {
		t.Errorf("the comments say something else: %+v", o)
	}
}

func TestFormatOfNativeObjects(t *testing.T) {
	b := formatExample(t, "hex snapshot-rows")
	o, err := decodeNative(b)
	if err != nil {
		t.Fatal(err)
	}
	exampleRows(t, o)
	if got := again(o); !bytes.Equal(got, b) {
		t.Errorf("encoded again it is %x", got)
	}
}

func TestFormatOfRecords(t *testing.T) {
	b := formatExample(t, "hex snapshot-record")
	c := cursor{rest: b}
	r := c.record()
	if c.failed || len(c.rest) > 0 || r.Offset != 4100 || r.Timestamp != 1700000000000 || string(r.Key) != "word" || r.Value != nil ||
		len(r.Headers) != 1 || r.Headers[0].Key != "weir" || len(r.Headers[0].Value) != 30 {
		t.Errorf("the comments say something else: %+v", r)
	}
	if got := appendRecord(nil, r); !bytes.Equal(got, b) {
		t.Errorf("encoded again it is %x", got)
	}
}

func TestFormatOfPortableObjects(t *testing.T) {
	b := formatExample(t, "portable-rows")
	o, err := decodePortable(b, false)
	if err != nil {
		t.Fatal(err)
	}
	exampleRows(t, o)
	if got := again(o); !bytes.Equal(got, b) {
		t.Errorf("encoded again it is %s", got)
	}
	b = formatExample(t, "portable-records")
	o, err = decodePortable(b, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := again(o); !bytes.Equal(got, b) || o.Entries != 1 || o.Since != 4000 {
		t.Errorf("encoded again it is %s", got)
	}
}

// The manifest's last layer refers to the object of the other example.
func TestFormatOfManifests(t *testing.T) {
	page, err := os.ReadFile("../../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, formatExample(t, "manifest")); err != nil {
		t.Fatal(err)
	}
	line.WriteByte('\n')
	n := name{dir: manifestDir, cut: 9, sum: sha256.Sum256(line.Bytes()), ext: "json"}
	m, err := decodeManifest(n, line.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if text, again, err := m.encode(); err != nil || !bytes.Equal(text, line.Bytes()) || again != n {
		t.Errorf("encoded again it is %s, %v", text, err)
	}
	if !strings.Contains(string(page), n.String()) {
		t.Errorf("FORMAT.md does not give the name %s", n)
	}
	object := formatExample(t, "hex snapshot-rows")
	all := m.wantedOf(m.Tasks[0].Task, m.Store(m.Tasks[0].Task, "counts"))
	if _, err := decode(object, all[len(all)-1]); err != nil {
		t.Errorf("the object that it refers to is %x: %v", sha256.Sum256(object), err)
	}
}
