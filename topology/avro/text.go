package avro

import (
	"bytes"
	"fmt"

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
			return text, nil
		}
	}
	return nil, fmt.Errorf("avro: %w", err)
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
