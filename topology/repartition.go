package topology

import (
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// Repartition sends the stream through the internal topic
// <application>.<timeline>.<uid>.repartition, keyed as it is: behind it, records of one
// key are in one task. Time and headers go along; the order of one key's records from one
// task is kept.
func (s Stream[K, V]) Repartition(uid string, opts ...RepartitionOption) Stream[K, V] {
	n := newNode[K, V](s.b, "repartition", settings{}, s.n.vertex)
	n.setUID(uid)
	n.needKey(s.k == nil, s.n.vertex)
	n.needValue(s.v == nil, s.n.vertex)
	kc, vc := s.k, s.v
	s.n.attach(func(t *task.Task) receiver[K, V] { return hop(t, n.vertex, kc, vc) })
	return throughTopic(s.b, n.vertex, kc, vc, settingsOf(opts))
}

// KeyBy gives records a new key and brings those of one key together, through the
// internal topic <application>.<timeline>.<uid>.repartition. A null key is an error: there
// is no place for it.
func KeyBy[K, V, K2 any](s Stream[K, V], uid string, key codec.Codec[K2], f func(key K, value V) (K2, error), opts ...RepartitionOption) Stream[K2, V] {
	n := newNode[K2, V](s.b, "key-by", settings{}, s.n.vertex)
	n.setUID(uid)
	n.needCodec(key == nil, "key")
	n.needValue(s.v == nil, s.n.vertex)
	n.needFunc(f == nil)
	vc := s.v
	s.n.attach(func(t *task.Task) receiver[K, V] {
		id, next := n.ID, hop(t, n.vertex, key, vc)
		return func(k K, v V) error {
			t.At(id)
			k2, err := f(k, v)
			if err != nil {
				return t.Fail(id, err)
			}
			return next(k2, v)
		}
	})
	return throughTopic(s.b, n.vertex, key, vc, settingsOf(opts))
}

// throughTopic describes the writing end w, and adds the reading end behind it.
func throughTopic[K, V any](b *Builder, w *vertex, kc codec.Codec[K], vc codec.Codec[V], s settings) Stream[K, V] {
	w.Name, w.KeyCodec, w.ValueCodec = s.name, codecName(kc), codecName(vc)
	w.outputs = []task.Output{{
		Topic: w.UID, Internal: true, Partitions: s.partitions, KeyCodec: w.KeyCodec, ValueCodec: w.ValueCodec,
		KeySchema: codec.Schema(kc), ValueSchema: codec.Schema(vc),
	}}
	w.needPartitions(s)
	r := newNode[K, V](b, "from-"+w.Kind, s, w)
	r.UID, r.hop, r.KeyCodec, r.ValueCodec = w.UID, true, w.KeyCodec, w.ValueCodec
	r.input = &task.Input{Topic: w.UID, Internal: true, Place: placing(kc)}
	uses(w, repartitionOf(w.UID, true), kc)
	uses(w, repartitionOf(w.UID, false), vc)
	r.open = func(t *task.Task, input int) func(*task.Raw) error {
		return open(t, r, input, bound(t, repartitionOf(r.UID, true), kc), bound(t, repartitionOf(r.UID, false), vc), nil)
	}
	return Stream[K, V]{b: b, n: r, k: kc, v: vc}
}

// needPartitions checks the number of partitions of an internal topic.
func (v *vertex) needPartitions(s settings) {
	if s.partitionsSet && s.partitions < 1 {
		v.b.reject(v, "its number of partitions is %d", s.partitions).fix("pass 1 or more to Partitions, or leave it out")
	}
}

// hop makes the way out into a repartition topic: a sink that refuses null keys.
func hop[K, V any](t *task.Task, v *vertex, kc codec.Codec[K], vc codec.Codec[V]) receiver[K, V] {
	id := v.ID
	w := newWriter(t, id, 0, NewTopic("", bound(t, repartitionOf(v.UID, true), kc), bound(t, repartitionOf(v.UID, false), vc)))
	return func(key K, value V) error {
		t.At(id)
		if w.keys.isNull(key) {
			return t.Fail(id, errNullKey)
		}
		return w.write(key, value)
	}
}
