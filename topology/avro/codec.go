package avro

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"

	"github.com/linkedin/goavro/v2"

	"github.com/weir-stream/weir/topology/codec"
)

// Of encodes T with a schema. A schema that is wrong, or that T does not fit, is reported
// by every call of the codec; use Parse to see it at once.
func Of[T any](schema string) codec.Codec[T] {
	c, err := Parse[T](schema)
	if err != nil {
		return broken[T]{err}
	}
	return c
}

// File is Of with the schema read from a file, once.
func File[T any](path string) codec.Codec[T] {
	b, err := os.ReadFile(path)
	if err != nil {
		return broken[T]{fmt.Errorf("avro schema: %w", err)}
	}
	return Of[T](string(b))
}

// Parse is Of that reports errors of the schema.
func Parse[T any](schema string) (codec.Codec[T], error) {
	c, err := goavro.NewCodec(schema)
	if err != nil {
		return nil, fmt.Errorf("avro schema: %w", err)
	}
	var parsed any
	if err := json.Unmarshal([]byte(schema), &parsed); err != nil {
		parsed = schema // a bare name: string, long ...
	}
	p, err := (&planner{named: map[string]*plan{}, schemas: map[string]any{}}).plan(parsed, reflect.TypeFor[T](), "")
	if err != nil {
		return nil, fmt.Errorf("avro: %s does not fit the schema: %w", reflect.TypeFor[T](), err)
	}
	return avroCodec[T]{c, p}, nil
}

// avroCodec is safe for concurrent use: goavro's codec is, and a plan does not change.
type avroCodec[T any] struct {
	avro *goavro.Codec
	plan *plan
}

func (avroCodec[T]) Name() string { return "avro" }

func (c avroCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	native, err := c.plan.encode(reflect.ValueOf(&v).Elem())
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
	// goavro trusts sizes in the data in places; a value that lies must not end the process.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("avro: %v", p)
		}
	}()
	native, rest, err := c.avro.NativeFromBinary(src)
	if err != nil {
		return v, fmt.Errorf("avro: %w", err)
	}
	if len(rest) > 0 {
		return v, fmt.Errorf("avro: %d bytes behind the value", len(rest))
	}
	if err := c.plan.decode(native, reflect.ValueOf(&v).Elem()); err != nil {
		return v, fmt.Errorf("avro: %w", err)
	}
	return v, nil
}

// broken is the codec of a schema that cannot be used.
type broken[T any] struct{ err error }

func (broken[T]) Name() string                             { return "avro" }
func (b broken[T]) Append(dst []byte, _ T) ([]byte, error) { return dst, b.err }
func (b broken[T]) Decode([]byte) (v T, err error)         { return v, b.err }
