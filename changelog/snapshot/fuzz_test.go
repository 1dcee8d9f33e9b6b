package snapshot

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// What a decoder takes it has read completely: written again it says the same. Nothing makes it panic.
func FuzzObjects(f *testing.F) {
	files, all := smallObjects(f)
	for i, file := range files {
		f.Add(file, all[i].Format == Portable, all[i].Format == Portable && bytes.HasPrefix(file, []byte{0x28, 0xb5, 0x2f, 0xfd}))
	}
	f.Fuzz(func(t *testing.T, file []byte, portable, compressed bool) {
		var o *object
		var err error
		if portable {
			o, err = decodePortable(file, compressed)
		} else {
			o, err = decodeNative(file)
		}
		if err != nil {
			return
		}
		h := o.header
		h.Format, h.Compression = Native, None
		e := newEncoder(h, nil)
		if o.Content == Records {
			err = o.records(func(r *Record) error { e.record(r); return nil })
		} else {
			err = o.rows(func(key, value []byte, deleted bool) error { e.row(key, value, deleted); return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
		if o.Entries == 0 {
			return
		}
		again, counts := e.finish(o.last)
		if counts != o.Counts {
			t.Fatalf("read %+v, written again %+v", o.Counts, counts)
		}
		p, err := decodeNative(again)
		if err != nil || !bytes.Equal(bytes.Join(p.blocks, nil), bytes.Join(o.blocks, nil)) {
			t.Fatalf("written again it differs: %v", err)
		}
	})
}

func FuzzManifests(f *testing.F) {
	b := openTest(f, "mem://", Options{})
	l, err := b.WriteRows(f.Context(), origin(1), feed(randomRows(rand.New(rand.NewPCG(1, 1)), 20, false)), nil)
	if err != nil {
		f.Fatal(err)
	}
	m := manifestOf(origin(1), l)
	m.InFlight = []InFlight{{UID: "by-word", Partition: 3, Task: origin(1).Task, From: 1, To: 2}}
	text, _, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"kind":"checkpoint"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		n := name{dir: manifestDir, cut: 1, sum: sha256.Sum256(text), ext: "json"}
		m, err := decodeManifest(n, text)
		if err != nil {
			return
		}
		again, _, err := m.encode()
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%s becomes %s, %v", text, again, err)
		}
		_ = m.wanted()
	})
}

func FuzzNames(f *testing.F) {
	n := name{dir: objectDir, cut: 9, ext: "weir"}
	f.Add(n.String())
	f.Add("/var/cp/" + name{dir: manifestDir, cut: 1 << 60, ext: "json"}.String())
	f.Add("s3://bucket/a/b?region=x")
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseName(s); ok && n.String() != s {
			t.Errorf("%q is %+v", s, n)
		}
		if p, err := parseLocation(s); err == nil {
			_ = p.String()
		}
		_, _ = SplitManifest(s)
	})
}
