package avro

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/linkedin/goavro/v2"
)

// Text turns values of a schema into JSON and back, for tools that do not have the Go type. Unions are
// written plainly: null, or the value. It is safe for concurrent use.
type Text struct {
	avro *goavro.Codec
	root *node
}

// NewText reads the schema.
func NewText(schema string) (*Text, error) {
	c, err := goavro.NewCodecForStandardJSONFull(schema)
	if err != nil {
		return nil, fmt.Errorf("avro schema: %w", err)
	}
	root, err := parse(schema)
	if err != nil {
		return nil, fmt.Errorf("avro schema: %w", err)
	}
	return &Text{c, root}, nil
}

// JSON reads one value, which is checked as that of a codec is.
func (t *Text) JSON(value []byte) ([]byte, error) {
	rest, err := new(walk).check(t.root, value, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind the value", len(rest))
	}
	if err != nil {
		return nil, fmt.Errorf("avro: %w", err)
	}
	native, _, err := t.avro.NativeFromBinary(bytes.Clone(value))
	if err == nil {
		var text []byte
		if text, err = t.avro.TextualFromNative(nil, native); err == nil {
			return inOrder(t.root, text)
		}
	}
	return nil, fmt.Errorf("avro: %w", err)
}

// inOrder gives records the order of their schema, and all other objects that of their keys: goavro's is another one each
// time. Without a node nothing is known of the type.
func inOrder(n *node, text []byte) ([]byte, error) {
	if n == nil {
		n = &node{}
	}
	switch {
	case len(text) == 0 || (text[0] != '{' && text[0] != '['):
		return text, nil
	case n.kind == "union":
		return inOrder(n.only(), text)
	case text[0] == '[':
		var items []json.RawMessage
		if err := json.Unmarshal(text, &items); err != nil {
			return nil, err
		}
		for i := range items {
			var err error
			if items[i], err = inOrder(n.items, items[i]); err != nil {
				return nil, err
			}
		}
		return append(append([]byte("["), bytes.Join(rawOf(items), []byte(","))...), ']'), nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	of := map[string]*node{}
	var names []string
	if n.kind == "record" {
		for _, f := range n.fields {
			names = append(names, f.name)
			of[f.name] = f.node
		}
	} else {
		names = slices.Sorted(maps.Keys(fields))
		for _, name := range names {
			of[name] = n.items
		}
	}
	out := []byte("{")
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		value, err := inOrder(of[name], fields[name])
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, quote(name)...), ':'), value...)
	}
	return append(out, '}'), nil
}

// only is the branch of a union that may be an object or a list, nil if there are several.
func (n *node) only() (branch *node) {
	for _, b := range n.branches {
		switch b.kind {
		case "record", "array", "map":
			if branch != nil {
				return nil
			}
			branch = b
		}
	}
	return branch
}

func rawOf(items []json.RawMessage) (out [][]byte) {
	for _, item := range items {
		out = append(out, item)
	}
	return out
}

func quote(name string) []byte {
	text, err := json.Marshal(name)
	if err != nil {
		panic(err) // a string
	}
	return text
}

// Binary reads what JSON gives.
func (t *Text) Binary(text []byte) ([]byte, error) {
	native, rest, err := t.avro.NativeFromTextual(text)
	if err == nil && len(bytes.TrimSpace(rest)) > 0 {
		err = fmt.Errorf("%.40q behind the value", rest)
	}
	if err != nil {
		return nil, fmt.Errorf("avro: %w", err)
	}
	value, err := t.avro.BinaryFromNative(nil, native)
	if err != nil {
		return nil, fmt.Errorf("avro: %w", err)
	}
	return value, nil
}
