package topology

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/topology/codec"
)

// Topic is a typed description of a Kafka topic. It is a plain value: declare it once
// and share it between the topology, its tests and the programs at both ends.
type Topic[K, V any] struct {
	name      string
	key       codec.Codec[K]
	value     codec.Codec[V]
	eventTime func(K, V) (time.Time, error)
}

// NewTopic describes the topic called name.
func NewTopic[K, V any](name string, key codec.Codec[K], value codec.Codec[V]) Topic[K, V] {
	return Topic[K, V]{name: name, key: key, value: value}
}

// EventTime takes the time of a record from its content. Default: the record's timestamp.
func (t Topic[K, V]) EventTime(at func(key K, value V) (time.Time, error)) Topic[K, V] {
	t.eventTime = at
	return t
}

// Name is the name of the topic.
func (t Topic[K, V]) Name() string { return t.name }

// KeyCodec is the codec of the keys.
func (t Topic[K, V]) KeyCodec() codec.Codec[K] { return t.key }

// ValueCodec is the codec of the values.
func (t Topic[K, V]) ValueCodec() codec.Codec[V] { return t.value }

// Time is the event time of a record, given its timestamp.
func (t Topic[K, V]) Time(key K, value V, timestamp time.Time) (time.Time, error) {
	if t.eventTime == nil {
		return timestamp, nil
	}
	at, err := t.eventTime(key, value)
	if err == nil && at.IsZero() {
		err = errZeroTime
	}
	return at, err
}

// Encode gives the bytes of a record, as a sink writes them: nil is Kafka's null.
func (t Topic[K, V]) Encode(key K, value V) (k, v []byte, err error) {
	if k, err = newEncoder(t.key).encode(key); err != nil {
		return nil, nil, fmt.Errorf("encode key for topic %s: %w", t.name, err)
	}
	if v, err = newEncoder(t.value).encode(value); err != nil {
		return nil, nil, fmt.Errorf("encode value for topic %s: %w", t.name, err)
	}
	return k, v, nil
}

// Decode reads the bytes of a record, as a source does: nil is Kafka's null.
func (t Topic[K, V]) Decode(key, value []byte) (k K, v V, err error) {
	if k, err = newDecoder(t.key).decode(key); err != nil {
		return k, v, fmt.Errorf("decode key of topic %s: %w", t.name, err)
	}
	if v, err = newDecoder(t.value).decode(value); err != nil {
		return k, v, fmt.Errorf("decode value of topic %s: %w", t.name, err)
	}
	return k, v, nil
}

// PartitionKey gives the part of an encoded key that places a record of this topic: the
// whole, but for windowed keys.
func (t Topic[K, V]) PartitionKey(key []byte) []byte {
	if p := placing(t.key); p != nil && key != nil {
		return p(key)
	}
	return key
}

// Reasons of operator errors that are rules of this package; see the package's text.
var (
	errNull     = errors.New("it is null, which its codec does not read: use codec.Nullable, or codec.None if it always is")
	errNullKey  = errors.New("the key is null: an operator with a store or an internal topic cannot place it; filter such records out before, or give them a key")
	errZeroTime = errors.New("the event time is the zero time.Time")
)

// encoder appends values to a scratch of its own: what it gives is valid until its next
// call. It is made per task.
type encoder[T any] struct {
	codec codec.Codec[T]
	null  codec.NullCodec[T] // nil: never null
	buf   []byte
}

func newEncoder[T any](c codec.Codec[T]) *encoder[T] {
	null, _ := any(c).(codec.NullCodec[T])
	return &encoder[T]{codec: c, null: null, buf: make([]byte, 0, 64)}
}

func (e *encoder[T]) isNull(v T) bool { return e.null != nil && e.null.IsNull(v) }

// encode gives nil for null, and only for null: the scratch is never nil.
func (e *encoder[T]) encode(v T) ([]byte, error) {
	if e.isNull(v) {
		return nil, nil
	}
	b, err := e.codec.Append(e.buf[:0], v)
	if err == nil {
		e.buf = b
	}
	return b, err
}

type decoder[T any] struct {
	codec codec.Codec[T]
	null  codec.NullCodec[T]
}

func newDecoder[T any](c codec.Codec[T]) *decoder[T] {
	null, _ := any(c).(codec.NullCodec[T])
	return &decoder[T]{codec: c, null: null}
}

func (d *decoder[T]) decode(b []byte) (T, error) {
	switch {
	case b != nil:
		return d.codec.Decode(b)
	case d.null != nil:
		return d.null.Null(), nil
	}
	var zero T
	return zero, errNull
}

// placing gives the function that cuts the placing part out of an encoded key, or nil if
// that is the whole.
func placing[K any](c codec.Codec[K]) func(encoded []byte) []byte {
	if p, ok := any(c).(interface{ PartitionKey([]byte) []byte }); ok {
		return p.PartitionKey
	}
	return nil
}
