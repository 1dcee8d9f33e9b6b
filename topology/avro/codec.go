package avro

import (
	"bytes"
	"fmt"
	"os"
	"reflect"

	"github.com/linkedin/goavro/v2"

	"github.com/weir-stream/weir/topology/codec"
)

// Of encodes T with a schema. A schema that is wrong, or that T does not fit, is reported
// by Build of the topology that uses it, and by every call of the codec, so that it can stand
// in a variable of a package; use Parse to see it at once.
func Of[T any](schema string) codec.Codec[T] {
	c, err := Parse[T](schema)
	if err != nil {
		return broken[T]{err}
	}
	return c
}

// File is Of with the schema read from a file, once.
func File[T any](path string) codec.Codec[T] {
	c, err := ParseFile[T](path)
	if err != nil {
		return broken[T]{err}
	}
	return c
}

// Parse is Of that reports the mistake, instead of a codec that does.
func Parse[T any](schema string) (codec.Codec[T], error) {
	c, err := goavro.NewCodec(schema)
	if err != nil {
		return nil, fmt.Errorf("avro schema: %w", err)
	}
	root, err := parse(schema)
	if err != nil {
		return nil, fmt.Errorf("avro schema: %w", err)
	}
	p, err := planner{}.plan(root, reflect.TypeFor[T]())
	if err != nil {
		return nil, fmt.Errorf("avro: %s does not fit the schema: %w", reflect.TypeFor[T](), err)
	}
	slices := root.anywhere(func(n *node) bool { return n.kind == "bytes" || n.kind == "fixed" })
	return avroCodec[T]{c, root, p, slices, compact(schema)}, nil
}

// ParseFile is File that reports the mistake, instead of a codec that does.
func ParseFile[T any](path string) (codec.Codec[T], error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("avro schema: %w", err)
	}
	c, err := Parse[T](string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// avroCodec is safe for concurrent use: goavro's codec is, and a plan does not change.
type avroCodec[T any] struct {
	avro   *goavro.Codec
	root   *node
	plan   *plan
	slices bool   // what goavro decodes may be slices of what it was given
	text   string // the schema, compact
}

func (avroCodec[T]) Name() string { return "avro" }

// Schema is the text that the codec was made of, without what JSON does not need.
func (c avroCodec[T]) Schema() string { return c.text }

func (c avroCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	native, err := c.plan.encode(reflect.ValueOf(&v).Elem(), 0)
	if err != nil {
		return dst, fmt.Errorf("avro: %w", err)
	}
	out, err := c.avro.BinaryFromNative(dst, native)
	if err != nil {
		return dst, fmt.Errorf("avro: %w", err)
	}
	return out, nil
}

func (c avroCodec[T]) Decode(src []byte) (v T, err error) {
	var none T
	rest, err := new(walk).check(c.root, src, 0)
	if err != nil {
		return none, fmt.Errorf("avro: %w", err)
	}
	if len(rest) > 0 {
		return none, fmt.Errorf("avro: %d bytes behind the value: is it of another schema, or with the prefix of a registry?", len(rest))
	}
	if c.slices {
		src = bytes.Clone(src)
	}
	native, _, err := c.avro.NativeFromBinary(src)
	if err != nil {
		return none, fmt.Errorf("avro: %w", err)
	}
	if err := c.plan.decode(native, reflect.ValueOf(&v).Elem()); err != nil {
		return none, fmt.Errorf("avro: %w", err)
	}
	return v, nil
}

// broken is the codec of a schema that cannot be used.
type broken[T any] struct{ err error }

func (broken[T]) Name() string                             { return "avro" }
func (b broken[T]) Check() error                           { return b.err }
func (b broken[T]) Append(dst []byte, _ T) ([]byte, error) { return dst, b.err }
func (b broken[T]) Decode([]byte) (v T, err error)         { return v, b.err }
