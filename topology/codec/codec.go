package codec

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Codec encodes values of one Go type. A key codec must be canonical: equal keys give
// equal bytes, because stores and partitions compare bytes.
//
// Codecs are called by several goroutines at once.
type Codec[T any] interface {
	// Name is written into plans and savepoints, for example "string" or "json".
	// Restoring under another name is refused.
	Name() string
	// Append appends the encoding of v to dst, as strconv.AppendInt does.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads one value. It must not keep src.
	Decode(src []byte) (T, error)
}

// NullCodec is a codec that has a value for Kafka's null (None, Nullable).
type NullCodec[T any] interface {
	Codec[T]
	// IsNull says that v is written as null; Append is not called for it.
	IsNull(v T) bool
	// Null is what a null is read as; Decode is not called for it.
	Null() T
}

// ErrSize is returned when the bytes are not as many as the type has.
var ErrSize = errors.New("wrong number of bytes")

func sized(src []byte, want int, name string) error {
	if len(src) != want {
		return fmt.Errorf("%s: %w: %d, want %d", name, ErrSize, len(src), want)
	}
	return nil
}

// Codecs of the basic types. Integers are big-endian, two's complement.
var (
	Bytes   Codec[[]byte]    = bytesCodec{}   // decoding copies: one allocation
	String  Codec[string]    = stringCodec{}  // UTF-8 is not checked; decoding allocates once
	Int64   Codec[int64]     = int64Codec{}   // 8 bytes
	Float64 Codec[float64]   = float64Codec{} // 8 bytes, IEEE 754; no key: 0 and -0 are equal and differ in bytes
	Bool    Codec[bool]      = boolCodec{}    // 1 byte, 0 or 1
	Time    Codec[time.Time] = timeCodec{}    // milliseconds since 1970 as Int64, UTC
	UUID    Codec[[16]byte]  = uuidCodec{}    // 16 bytes
	None    Codec[struct{}]  = noneCodec{}    // null in Kafka
)

type bytesCodec struct{}

func (bytesCodec) Name() string                                { return "bytes" }
func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (bytesCodec) Decode(src []byte) ([]byte, error) {
	return append(make([]byte, 0, len(src)), src...), nil
}
func (bytesCodec) IsNull(v []byte) bool { return v == nil }
func (bytesCodec) Null() []byte         { return nil }

type stringCodec struct{}

func (stringCodec) Name() string                                { return "string" }
func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (stringCodec) Decode(src []byte) (string, error)           { return string(src), nil }

type int64Codec struct{}

func (int64Codec) Name() string { return "int64" }
func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (int64Codec) Decode(src []byte) (int64, error) {
	if len(src) != 8 {
		return 0, sized(src, 8, "int64")
	}
	return int64(binary.BigEndian.Uint64(src)), nil
}

type float64Codec struct{}

func (float64Codec) Name() string { return "float64" }
func (float64Codec) Append(dst []byte, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

func (float64Codec) Decode(src []byte) (float64, error) {
	if len(src) != 8 {
		return 0, sized(src, 8, "float64")
	}
	return math.Float64frombits(binary.BigEndian.Uint64(src)), nil
}

type boolCodec struct{}

func (boolCodec) Name() string { return "bool" }
func (boolCodec) Append(dst []byte, v bool) ([]byte, error) {
	if v {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

func (boolCodec) Decode(src []byte) (bool, error) {
	if err := sized(src, 1, "bool"); err != nil {
		return false, err
	}
	if src[0] > 1 {
		return false, fmt.Errorf("bool: byte %#x, want 0 or 1", src[0])
	}
	return src[0] == 1, nil
}

type timeCodec struct{}

func (timeCodec) Name() string { return "time" }
func (timeCodec) Append(dst []byte, v time.Time) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v.UnixMilli())), nil
}

func (timeCodec) Decode(src []byte) (time.Time, error) {
	if err := sized(src, 8, "time"); err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(src))).UTC(), nil
}

type uuidCodec struct{}

func (uuidCodec) Name() string                                  { return "uuid" }
func (uuidCodec) Append(dst []byte, v [16]byte) ([]byte, error) { return append(dst, v[:]...), nil }
func (uuidCodec) Decode(src []byte) (v [16]byte, err error) {
	if err := sized(src, 16, "uuid"); err != nil {
		return v, err
	}
	return [16]byte(src), nil
}

type noneCodec struct{}

func (noneCodec) Name() string                                  { return "none" }
func (noneCodec) Append(dst []byte, _ struct{}) ([]byte, error) { return dst, nil }
func (noneCodec) IsNull(struct{}) bool                          { return true }
func (noneCodec) Null() struct{}                                { return struct{}{} }
func (noneCodec) Decode(src []byte) (struct{}, error) {
	return struct{}{}, sized(src, 0, "none")
}

// JSON encodes with encoding/json. Not canonical: do not use it for keys. It reflects and
// allocates for each value.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Name() string { return "json" }
func (jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, fmt.Errorf("json: %w", err)
	}
	return append(dst, b...), nil
}

func (jsonCodec[T]) Decode(src []byte) (v T, err error) {
	if err := json.Unmarshal(src, &v); err != nil {
		return v, fmt.Errorf("json: %w", err)
	}
	return v, nil
}

// Nullable lets a null of Kafka through as a nil pointer. Without it a null value on a
// stream is a decode error, and on a table a deletion. Decoding allocates the value.
func Nullable[T any](c Codec[T]) Codec[*T] { return nullable[T]{c} }

type nullable[T any] struct{ c Codec[T] }

func (n nullable[T]) Name() string     { return "nullable " + n.c.Name() }
func (n nullable[T]) Check() error     { return Check(n.c) }
func (n nullable[T]) Schema() string   { return Schema(n.c) }
func (n nullable[T]) IsNull(v *T) bool { return v == nil }
func (n nullable[T]) Null() *T         { return nil }
func (n nullable[T]) Append(dst []byte, v *T) ([]byte, error) {
	if v == nil {
		return dst, errors.New("nullable: a nil value has no bytes")
	}
	return n.c.Append(dst, *v)
}

func (n nullable[T]) Decode(src []byte) (*T, error) {
	v, err := n.c.Decode(src)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func (n nullable[T]) ForTopic(ctx context.Context, topic string, key bool) (Codec[*T], error) {
	c, err := ForTopic(ctx, n.c, topic, key)
	return nullable[T]{c}, err
}
