package avro

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology/codec"
)

func roundTrip[T any](t *testing.T, schema string, values ...T) {
	t.Helper()
	c, err := Parse[T](schema)
	if err != nil {
		t.Error(err)
		return
	}
	for _, want := range values {
		b, err := c.Append(nil, want)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := c.Decode(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

type inner struct{ A int64 }

// Names are looked up in the namespace of what they stand in, as goavro does.
func TestNamespaces(t *testing.T) {
	type outer struct{ In, Again *inner }
	for _, again := range []string{"Inner", "shop.Inner"} {
		roundTrip(t, `{"type": "record", "name": "Outer", "namespace": "shop", "fields": [
			{"name": "in", "type": ["null", {"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "long"}]}]},
			{"name": "again", "type": ["`+again+`", "null"]}]}`, outer{&inner{1}, &inner{2}}, outer{})
	}
	roundTrip(t, `{"type": "record", "name": "shop.Outer", "fields": [
		{"name": "in", "type": ["null", {"type": "record", "name": "Inner", "namespace": "other", "fields": [{"name": "a", "type": "long"}]}]},
		{"name": "again", "type": ["null", "other.Inner"]}]}`, outer{&inner{1}, nil})
}

func TestEveryBranchOfANullable(t *testing.T) {
	one, text, flag, raw := int64(1), "x", true, []byte{1}
	at := time.UnixMilli(-1500).UTC()
	list, table := []string{"a"}, map[string]string{"k": "v"}
	roundTrip(t, `["null", "long"]`, &one, nil)
	roundTrip(t, `["string", "null"]`, &text, nil)
	roundTrip(t, `["null", "boolean"]`, &flag)
	roundTrip(t, `["null", "bytes"]`, &raw)
	roundTrip(t, `["null", {"type": "long", "logicalType": "timestamp-millis"}]`, &at, nil)
	roundTrip(t, `["null", {"type": "array", "items": "string"}]`, &list, nil)
	roundTrip(t, `["null", {"type": "map", "values": "string"}]`, &table, nil)
	roundTrip(t, `["null", {"type": "enum", "name": "E", "namespace": "n", "symbols": ["x"]}]`, &text, nil)
	roundTrip(t, `["null", {"type": "fixed", "name": "F", "size": 1}]`, &raw, nil)
}

func TestTimes(t *testing.T) {
	type at struct{ At time.Time }
	millis := `{"type": "record", "name": "R", "fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}`
	for _, schema := range []string{millis, `{"type": "record", "name": "R", "fields": [{"name": "at", "type": "long", "logicalType": "timestamp-millis"}]}`} {
		roundTrip(t, schema, at{time.UnixMilli(1).UTC()}, at{time.UnixMilli(-1).UTC()}, at{})
	}
	roundTrip(t, strings.ReplaceAll(millis, "millis", "micros"), at{time.UnixMicro(-1).UTC()}, at{time.UnixMicro(1).UTC()}, at{})
	c := Of[at](millis)
	b, err := c.Append(nil, at{time.Unix(-1, 999_999_999)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decode(b); err != nil || got.At.UnixMilli() != -1 {
		t.Errorf("a nanosecond before 1970 is %v, %v; want a millisecond before it", got, err)
	}
	type number struct{ At int64 }
	for schema, want := range map[string]string{
		millis: "field at: schema type timestamp-millis needs time.Time",
		strings.NewReplacer("long", "int", "timestamp-millis", "date").Replace(millis): "field at: schema type date needs a field of type any",
	} {
		if _, err := Parse[number](schema); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestNestedAndRecursive(t *testing.T) {
	type line struct {
		Item   string
		Counts map[string][]int32
	}
	type bill struct{ Lines []*line }
	roundTrip(t, `{"type": "record", "name": "Bill", "fields": [{"name": "lines", "type": {"type": "array", "items": ["null",
		{"type": "record", "name": "Line", "fields": [{"name": "item", "type": "string"},
			{"name": "counts", "type": {"type": "map", "values": {"type": "array", "items": "int"}}}]}]}}]}`,
		bill{[]*line{{"a", map[string][]int32{"x": {1, -2}, "y": {}}}, nil}}, bill{[]*line{}})
	roundTrip(t, linkSchema, link{&link{&link{}}}, link{})
}

// Two fields of a schema cannot have one in the struct.
func TestAmbiguousNames(t *testing.T) {
	type one struct{ TotalCents int64 }
	_, err := Parse[one](`{"type": "record", "name": "R", "fields": [{"name": "total_cents", "type": "long"}, {"name": "totalcents", "type": "long"}]}`)
	if err == nil || !strings.Contains(err.Error(), "tag the fields") {
		t.Error(err)
	}
	type tagged struct {
		A int64 `avro:"total_cents"`
		B int64 `avro:"totalcents"`
	}
	roundTrip(t, `{"type": "record", "name": "R", "fields": [{"name": "total_cents", "type": "long"}, {"name": "totalcents", "type": "long"}]}`, tagged{1, 2})
}

var sink codec.Codec[order]

// A wrong schema in a variable of a package is no panic: every use of the codec says it.
func TestBrokenCodecs(t *testing.T) {
	sink = Of[order](`{"type": "record"`)
	if _, err := sink.Append(nil, order{}); err == nil || !strings.Contains(err.Error(), "avro schema") {
		t.Error(err)
	}
	if _, err := sink.Decode(nil); err == nil {
		t.Error("it decodes")
	}
	if _, err := ParseFile[order]("nowhere.avsc"); err == nil || !strings.Contains(err.Error(), "nowhere.avsc") {
		t.Error(err)
	}
}
