package avro

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"
)

// Sizes in the data are not believed: a small value asks for little memory, and is refused.
func TestSizesThatLie(t *testing.T) {
	lie := binary.AppendVarint(nil, 1<<31-1)
	for name, decode := range map[string]func() error{
		"array":  func() error { return second(Of[[]string](`{"type": "array", "items": "string"}`).Decode(lie)) },
		"map":    func() error { return second(Of[map[string]int64](`{"type": "map", "values": "long"}`).Decode(lie)) },
		"string": func() error { return second(Of[string](`"string"`).Decode(lie)) },
		"bytes":  func() error { return second(Of[[]byte](`"bytes"`).Decode(lie)) },
		"array of nulls": func() error {
			return second(Of[any](`{"type": "array", "items": "null"}`).Decode(append(lie[:len(lie):len(lie)], 0)))
		},
		"lowest count": func() error {
			return second(Of[any](`{"type": "array", "items": "long"}`).Decode(binary.AppendVarint(nil, -1<<63)))
		},
		"negative count": func() error {
			return second(Of[any](`{"type": "array", "items": "long"}`).Decode(binary.AppendVarint(nil, -1<<30)))
		},
		"negative length": func() error { return second(Of[any](`"bytes"`).Decode([]byte{1})) },
		"branch":          func() error { return second(Of[any](`["null", "long"]`).Decode([]byte{4})) },
		"long in an int":  func() error { return second(Of[int32](`"int"`).Decode(binary.AppendVarint(nil, 1<<40))) },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := decode()
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: was decoded", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
}

type link struct{ Next *link }

const linkSchema = `{"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}`

// Depth has an end before the stack has, the same one in both directions.
func TestDepth(t *testing.T) {
	c := Of[link](linkSchema)
	if _, err := c.Decode(bytes.Repeat([]byte{2}, 1<<20)); !errors.Is(err, errDeep) || len(err.Error()) > 2*maxPath {
		t.Errorf("a million levels: %.300v", err)
	}
	round := new(link)
	round.Next = round
	if _, err := c.Append(nil, *round); !errors.Is(err, errDeep) {
		t.Errorf("a value that contains itself: %.300v", err)
	}
	var deepest link
	for range maxDepth {
		next := deepest
		deepest = link{&next}
	}
	b, err := c.Append(nil, deepest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Decode(b); err != nil {
		t.Errorf("what can be written cannot be read: %v", err)
	}
	if _, err := c.Append(nil, link{&deepest}); !errors.Is(err, errDeep) {
		t.Errorf("one more: %.300v", err)
	}
}

// What is decoded does not share memory with its source, which is used again.
func TestDecodeKeepsNothing(t *testing.T) {
	type pair struct{ A, B []byte }
	c := Of[pair](`{"type": "record", "name": "P", "fields": [{"name": "a", "type": "bytes"}, {"name": "b", "type": {"type": "fixed", "name": "F", "size": 2}}]}`)
	src, err := c.Append(nil, pair{[]byte("abc"), []byte("de")})
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.Decode(src)
	if err != nil {
		t.Fatal(err)
	}
	clear(src)
	if string(v.A) != "abc" || string(v.B) != "de" {
		t.Errorf("%q changed with its source", v)
	}
	if _, err := c.Append(nil, pair{B: []byte("x")}); err == nil {
		t.Error("one byte went into a fixed of two")
	}
}

// Errors say where in the value, also behind names that are used again.
func TestErrorsHaveAPath(t *testing.T) {
	c := Of[order](schema)
	bad := sample()
	bad.Parent.Sort = "C"
	if _, err := c.Append(nil, bad); err == nil || !strings.Contains(err.Error(), `field parent.kind: "C" is none of A, B`) {
		t.Error(err)
	}
	b, err := c.Append(nil, sample())
	if err != nil {
		t.Fatal(err)
	}
	for cut := range b {
		if _, err := c.Decode(b[:cut]); err == nil || !strings.Contains(err.Error(), "avro: field ") {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	list := Of[[]string](`{"type": "array", "items": "string"}`)
	if _, err := list.Decode([]byte("\x04\x02a\x09")); err == nil || !strings.Contains(err.Error(), "field [1]: its size is -5") {
		t.Error(err)
	}
}

// The check and goavro agree on what is a value, and where it ends.
func FuzzCheckAgrees(f *testing.F) {
	const all = `{"type": "record", "name": "All", "fields": [
		{"name": "i", "type": "int"}, {"name": "b", "type": "boolean"}, {"name": "f", "type": "float"},
		{"name": "u", "type": ["null", "string", {"type": "array", "items": {"type": "map", "values": "long"}}]},
		{"name": "x", "type": {"type": "fixed", "name": "X", "size": 3}},
		{"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
		{"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}`
	c, err := goavro.NewCodec(all)
	if err != nil {
		f.Fatal(err)
	}
	root, err := parse(all)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x02\x01\x00\x00\x00\x00\x02\x02aabc\x00\x04"))
	f.Add([]byte("\x02\x01\x00\x00\x00\x00\x04\x03\x08\x02\x02k\x02\x00\x00abc\x02\x04"))
	f.Fuzz(func(t *testing.T, src []byte) {
		rest, err := new(walk).check(root, src, 0)
		if err != nil {
			return // goavro may take more, and must not be asked
		}
		_, behind, err := c.NativeFromBinary(src)
		switch {
		case err == nil:
			if !bytes.Equal(rest, behind) {
				t.Errorf("the check ends %d bytes before the end, goavro %d", len(rest), len(behind))
			}
		case !strings.Contains(err.Error(), "boolean") && !strings.Contains(err.Error(), "enum") && !strings.Contains(err.Error(), "duplicate key"):
			t.Errorf("the check takes it, goavro says %v", err)
		}
	})
}
