package avro_test

import (
	"testing"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/avro"
	"github.com/weir-stream/weir/topology/codec"
)

type account struct{ Owner string }

// What a store or an internal topic holds can be read without the program: the plan has the schemas, and the
// fingerprint does not depend on them.
func TestPlanCarriesSchemas(t *testing.T) {
	const loose = `{ "type": "record", "name": "Account",
		"fields": [ {"name": "owner", "type": "string"} ] }`
	const compact = `{"type":"record","name":"Account","fields":[{"name":"owner","type":"string"}]}`
	describe := func(schema string) topology.Description {
		b := topology.New("bank")
		in := topology.From(b, topology.NewTopic("in", avro.Of[string](`"string"`), avro.Of[account](schema)))
		in.Repartition("again").Reduce("last", func(_ string, _, b account) (account, error) { return b, nil })
		plan, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return plan.Describe()
	}
	is := describe(loose)
	out, store := is.Subs[0].Outputs[0], is.Subs[1].Stores[0]
	if out.KeySchema != `"string"` || out.ValueSchema != compact {
		t.Errorf("repartition: %+v", out)
	}
	if store.KeySchema != out.KeySchema || store.ValueSchema != compact {
		t.Errorf("store: %+v", store)
	}
	renamed := describe(`{"type":"record","name":"Konto","fields":[{"name":"owner","type":"string"}]}`)
	if renamed.Fingerprint != is.Fingerprint {
		t.Error("another name in the schema gives another fingerprint")
	}
	if got := codec.Schema(codec.Nullable(avro.Of[account](loose))); got != compact {
		t.Errorf("nullable: %q", got)
	}
	if got := codec.Schema(topology.WindowedKey(avro.Of[account](loose))); got != compact {
		t.Errorf("windowed: %q", got)
	}
	if got := codec.Schema(codec.String); got != "" {
		t.Errorf("string: %q", got)
	}
}
