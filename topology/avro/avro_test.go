package avro

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const schema = `{"type": "record", "name": "Order", "namespace": "shop", "fields": [
	{"name": "customer", "type": "string"},
	{"name": "total_cents", "type": "long"},
	{"name": "n", "type": "int"},
	{"name": "ok", "type": "boolean"},
	{"name": "rate", "type": "double"},
	{"name": "raw", "type": "bytes"},
	{"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
	{"name": "note", "type": ["null", "string"]},
	{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
	{"name": "tags", "type": {"type": "array", "items": "string"}},
	{"name": "counts", "type": {"type": "map", "values": "long"}},
	{"name": "parent", "type": ["null", "shop.Order"]}]}`

type order struct {
	Customer   string
	TotalCents int64
	N          int32
	OK         bool
	Rate       float64
	Raw        []byte
	Sort       string `avro:"kind"`
	Note       *string
	At         time.Time
	Tags       []string
	Counts     map[string]int64
	Parent     *order
	Local      int `avro:"-"`
}

func sample() order {
	note := "careful"
	child := order{Customer: "bob", Sort: "B", Raw: []byte{}, Tags: []string{}, Counts: map[string]int64{}, At: time.UnixMilli(0).UTC()}
	return order{
		Customer: "ann", TotalCents: math.MaxInt64, N: -7, OK: true, Rate: 1.5, Raw: []byte{1, 2}, Sort: "A", Note: &note,
		At: time.UnixMilli(1234567890123).UTC(), Tags: []string{"x", "y"}, Counts: map[string]int64{"a": 1}, Parent: &child,
	}
}

func TestStructRoundTrip(t *testing.T) {
	c, err := Parse[order](schema)
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	b, err := c.Append([]byte("x"), want)
	if err != nil || b[0] != 'x' {
		t.Fatalf("Append: %q, %v", b, err)
	}
	got, err := c.Decode(b[1:])
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode: %+v, %v\nwant %+v", got, err, want)
	}
	// The first bytes are Avro's: length 3 as a zigzag varint, then "ann".
	if string(b[1:5]) != "\x06ann" {
		t.Errorf("bytes begin with %x, want 06616e6e", b[1:5])
	}
}

func TestMapsAndPrimitives(t *testing.T) {
	long, err := Of[int64](`"long"`).Append(nil, 64)
	if err != nil || string(long) != "\x80\x01" {
		t.Errorf("long 64: %x, %v; want 8001", long, err)
	}
	c := Of[map[string]any](`{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}`)
	b, err := c.Append(nil, map[string]any{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(b); err != nil || got["a"] != "b" {
		t.Errorf("map: %v, %v", got, err)
	}
}

func TestSchemaFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "order.avsc")
	if err := os.WriteFile(path, []byte(schema), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := File[order](path).Append(nil, sample()); err != nil {
		t.Error(err)
	}
	if _, err := File[order](path+".none").Append(nil, sample()); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("missing file: %v", err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	type half struct{ A int64 }
	type twice struct{ A, B int64 }
	one := `{"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}`
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"bad schema":    {second(Parse[half](`{"type": "nothing"}`)), "schema"},
		"missing field": {second(Parse[half](strings.Replace(one, `"a"`, `"b"`, 1))), `no field for "b"`},
		"extra field":   {second(Parse[twice](one)), "no field for avro.twice.B"},
		"wrong type":    {second(Parse[half](strings.Replace(one, `"long"`, `"string"`, 1))), "field a: schema type string does not fit int64"},
		"plain union":   {second(Parse[half](strings.Replace(one, `"long"`, `["null", "long"]`, 1))), "pointer"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, c.err, c.want)
		}
	}
	ok := Of[half](one)
	b, err := ok.Append(nil, half{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ok.Decode(append(b, 0)); err == nil || !strings.Contains(err.Error(), "behind") {
		t.Errorf("bytes behind the value: %v", err)
	}
	if _, err := ok.Decode(nil); err == nil {
		t.Error("no bytes were decoded")
	}
	if _, err := Of[int64](`"int"`).Append(nil, math.MaxInt64); err == nil {
		t.Error("a long went into an int")
	}
}

func second[A any](_ A, err error) error { return err }

func FuzzDecode(f *testing.F) {
	c := Of[order](schema)
	b, err := c.Append(nil, sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("\xfe\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, src []byte) {
		before := string(src)
		v, err := c.Decode(src)
		if string(src) != before {
			t.Fatal("Decode wrote to its source")
		}
		if err != nil {
			return
		}
		again, err := c.Append(nil, v)
		if err != nil {
			t.Fatalf("decoded %+v cannot be encoded: %v", v, err)
		}
		if w, err := c.Decode(again); err != nil || !same(v, w) {
			t.Errorf("%+v became %+v, %v", v, w, err)
		}
	})
}

// same compares what was printed: NaN is equal to itself there.
func same(a, b order) bool { return fmt.Sprintf("%#v", flat(&a)) == fmt.Sprintf("%#v", flat(&b)) }

func flat(o *order) (out []any) {
	for ; o != nil; o = o.Parent {
		note := ""
		if o.Note != nil {
			note = *o.Note
		}
		one := *o
		one.Note, one.Parent = nil, nil
		out = append(out, note, o.Note == nil, one)
	}
	return out
}
