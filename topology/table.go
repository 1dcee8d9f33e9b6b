package topology

import (
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// Table is the last value per key: a changing view, kept in a store named by its uid.
type Table[K, V any] struct {
	b *Builder
	n *node[K, change[V]]
	k codec.Codec[K]
	v codec.Codec[V]
}

// change is one step of a table.
type change[V any] struct {
	value   V
	deleted bool
}

// UID is the uid of the table's store.
func (t Table[K, V]) UID() string { return t.n.UID }

// KeyCodec is the codec of the keys.
func (t Table[K, V]) KeyCodec() codec.Codec[K] { return t.k }

// ValueCodec is the codec of the values.
func (t Table[K, V]) ValueCodec() codec.Codec[V] { return t.v }

// ToStream is every new value; deletions are not in it.
func (t Table[K, V]) ToStream() Stream[K, V] {
	n := derive(t.n, "to-stream", settings{}, func(_ *task.Task, _ int, next receiver[K, V]) receiver[K, change[V]] {
		return func(key K, c change[V]) error {
			if c.deleted {
				return nil
			}
			return next(key, c.value)
		}
	})
	return Stream[K, V]{b: t.b, n: n, k: t.k, v: t.v}
}
