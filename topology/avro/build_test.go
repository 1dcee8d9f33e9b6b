package avro_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/avro"
	"github.com/weir-stream/weir/topology/codec"
)

type order struct {
	Customer string
	Cents    string // the schema has a long
}

// A schema that does not fit is told when the topology is built, with the line that uses it,
// and not at the first record.
func TestBuildTellsOfAWrongSchema(t *testing.T) {
	const schema = `{"type": "record", "name": "Order", "fields": [{"name": "customer", "type": "string"}, {"name": "cents", "type": "long"}]}`
	file := filepath.Join(t.TempDir(), "order.avsc")
	if err := os.WriteFile(file, []byte(`{"type": "recor`), 0o600); err != nil {
		t.Fatal(err)
	}
	b := topology.New("shop")
	orders := topology.From(b, topology.NewTopic("orders", codec.String, avro.Of[order](schema)))
	orders.Repartition("again").To(topology.NewTopic("copies", codec.String, avro.Of[order](schema)))
	topology.From(b, topology.NewTopic("more", codec.String, codec.Nullable(avro.File[order](file)))).ForEach(func(string, *order) error { return nil })
	_, err := b.Build()
	if err == nil {
		t.Fatal("it was built")
	}
	lines := strings.Split(err.Error(), "\n")
	want := [][]string{
		{"source orders (build_test.go:29): its codec avro of the value cannot be used: avro: avro_test.order does not fit the schema", "cents", "; correct what the codec is made of"},
		{"source more (build_test.go:31): its codec nullable avro of the value cannot be used: " + file},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d mistakes, want %d:\n%v", len(lines), len(want), err)
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) {
				t.Errorf("%q does not say %q", lines[i], part)
			}
		}
	}
	var mistake *topology.BuildError
	if !errors.As(err, &mistake) || mistake.Node != "source orders" || mistake.Site != "build_test.go:29" || mistake.Fix == "" {
		t.Errorf("%+v", mistake)
	}
}
