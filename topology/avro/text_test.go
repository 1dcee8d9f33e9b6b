package avro

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	c, err := Parse[order](schema)
	if err != nil {
		t.Fatal(err)
	}
	text, err := NewText(schema)
	if err != nil {
		t.Fatal(err)
	}
	value, err := c.Append(nil, sample())
	if err != nil {
		t.Fatal(err)
	}
	got, err := text.JSON(value)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(got, &fields); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if fields["customer"] != "ann" || fields["note"] != "careful" || fields["kind"] != "A" || fields["parent"].(map[string]any)["customer"] != "bob" || fields["parent"].(map[string]any)["note"] != nil {
		t.Errorf("%s", got)
	}
	for range 20 { // maps of Go have no order
		if same, err := text.JSON(value); err != nil || !bytes.Equal(same, got) {
			t.Fatalf("%v\n%s\n%s", err, same, got)
		}
	}
	if !bytes.HasPrefix(got, []byte(`{"customer":"ann","total_cents":9223372036854775807,"n":-7,`)) {
		t.Errorf("not in the order of the schema: %s", got)
	}
	again, err := text.Binary(got)
	if err != nil || !bytes.Equal(again, value) {
		t.Errorf("back: %v\n%x\n%x\n%s", err, again, value, got)
	}
	for _, wrong := range [][]byte{value[:5], append(bytes.Clone(value), 0), nil} {
		if _, err := text.JSON(wrong); err == nil || !strings.HasPrefix(err.Error(), "avro: ") {
			t.Errorf("%x: %v", wrong, err)
		}
	}
	if _, err := text.Binary([]byte(`{"customer": 1}`)); err == nil {
		t.Error("a customer is no number")
	}
	either, err := NewText(`[{"type":"record","name":"A","fields":[{"name":"z","type":"long"},{"name":"y","type":"long"},{"name":"x","type":"long"}]},{"type":"map","values":"long"}]`)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // which record it is is not said: by name
		if got, err := either.JSON([]byte{0, 2, 4, 6}); err != nil || string(got) != `{"x":3,"y":2,"z":1}` {
			t.Fatalf("%s, %v", got, err)
		}
	}
	if _, err := NewText(`{"type": "recor"}`); err == nil {
		t.Error("a schema that is none")
	}
}
