package topology

import (
	"time"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// Stream is an unbounded sequence of keyed records. It is a small handle; copy it freely.
// Every operator on it sees every record, in the order in which the operators were added.
type Stream[K, V any] struct {
	b *Builder
	n *node[K, V]
	k codec.Codec[K] // nil: bytes are not known
	v codec.Codec[V]
}

// KV is a key and a value.
type KV[K, V any] struct {
	Key   K
	Value V
}

// Record is a record with everything Kafka knows about it.
type Record[K, V any] struct {
	Key     K
	Value   V
	Time    time.Time
	Headers []Header
	Origin  Origin // zero for records made by a window
}

// Header is a header of a record.
type Header = task.Header

// Origin is where a record was read.
type Origin struct {
	Topic     string
	Partition int32
	Offset    int64
}

func (s Stream[K, V]) on(n *node[K, V]) Stream[K, V] {
	return Stream[K, V]{b: s.b, n: n, k: s.k, v: s.v}
}

// Filter lets through what keep says true to.
func (s Stream[K, V]) Filter(keep func(key K, value V) (bool, error), opts ...Option) Stream[K, V] {
	return s.filter("filter", true, keep, opts)
}

// FilterNot lets through what drop says false to.
func (s Stream[K, V]) FilterNot(drop func(key K, value V) (bool, error), opts ...Option) Stream[K, V] {
	return s.filter("filter-not", false, drop, opts)
}

func (s Stream[K, V]) filter(kind string, want bool, f func(K, V) (bool, error), opts []Option) Stream[K, V] {
	n := derive(s.n, kind, settingsOf(opts), func(t *task.Task, id int, next receiver[K, V]) receiver[K, V] {
		return func(key K, value V) error {
			t.At(id)
			ok, err := f(key, value)
			if err != nil {
				return t.Fail(id, err)
			}
			if ok != want {
				return nil
			}
			return next(key, value)
		}
	})
	n.needFunc(f == nil)
	return s.on(n)
}

// Peek shows each record to look and passes it on.
func (s Stream[K, V]) Peek(look func(key K, value V) error, opts ...Option) Stream[K, V] {
	n := derive(s.n, "peek", settingsOf(opts), func(t *task.Task, id int, next receiver[K, V]) receiver[K, V] {
		return func(key K, value V) error {
			t.At(id)
			if err := look(key, value); err != nil {
				return t.Fail(id, err)
			}
			return next(key, value)
		}
	})
	n.needFunc(look == nil)
	return s.on(n)
}

// ForEach shows each record to do, and ends there. A record may be shown again after a
// crash: what do does outside of the topology is done at least once.
func (s Stream[K, V]) ForEach(do func(key K, value V) error, opts ...Option) {
	n := derive(s.n, "for-each", settingsOf(opts), func(t *task.Task, id int, _ receiver[K, V]) receiver[K, V] {
		return func(key K, value V) error {
			t.At(id)
			if err := do(key, value); err != nil {
				return t.Fail(id, err)
			}
			return nil
		}
	})
	n.needFunc(do == nil)
}

// Merge is the records of all the streams. Those of one input partition keep their order.
// Topics that meet in a Merge are read by the same tasks, partition by partition: behind
// it, records of one key meet if all topics have the same number of partitions.
func (s Stream[K, V]) Merge(others ...Stream[K, V]) Stream[K, V] {
	all := append([]Stream[K, V]{s}, others...)
	parents := make([]*vertex, len(all))
	for i, o := range all {
		parents[i] = o.n.vertex
	}
	n := newNode[K, V](s.b, "merge", settings{}, parents...)
	build := func(t *task.Task) receiver[K, V] {
		return t.Shared(n.ID, func() any { return n.next(t) }).(receiver[K, V])
	}
	merged := s.on(n)
	for _, o := range all {
		o.n.attach(build)
		if merged.k == nil {
			merged.k = o.k
		}
		if merged.v == nil {
			merged.v = o.v
		}
	}
	for _, o := range others {
		if o.k != nil && o.k.Name() != merged.k.Name() {
			n.b.reject(n.vertex, "keys of %s and of %s have different codecs (%s, %s): equal keys would not meet", s.n.String(), o.n.String(), merged.k.Name(), o.k.Name()).
				fix("read both with one key codec or bring one to the other's with KeyBy; where no store is behind, WithKeyCodec on one of them will do")
		}
	}
	return merged
}

// WithKeyCodec gives a stream the codec that its new key type lacks.
func (s Stream[K, V]) WithKeyCodec(c codec.Codec[K]) Stream[K, V] { s.k = c; return s }

// WithValueCodec gives a stream the codec that its new value type lacks.
func (s Stream[K, V]) WithValueCodec(c codec.Codec[V]) Stream[K, V] { s.v = c; return s }
