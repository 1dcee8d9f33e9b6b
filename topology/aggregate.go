package topology

import (
	"fmt"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
	"github.com/weir-stream/weir/topology/window"
)

// Groups is what can be aggregated: a Stream (G is its key) or a WindowedStream (G is
// Windowed of its key). Users never name it.
type Groups[K, V, G any] interface{ groups() grouping[K, V, G] }

// grouping has either a stream or windows.
type grouping[K, V, G any] struct {
	b       *Builder
	stream  *node[K, V]
	windows *node[K, pane[V]]
	spec    window.Spec
	k       codec.Codec[K]
	v       codec.Codec[V]
	group   codec.Codec[G] // nil if k is
	name    func(key K, start int64) G
}

func (s Stream[K, V]) groups() grouping[K, V, K] {
	return grouping[K, V, K]{b: s.b, stream: s.n, k: s.k, v: s.v, group: s.k, name: func(key K, _ int64) K { return key }}
}

// parent is the vertex that the groups come from.
func (g *grouping[K, V, G]) parent() *vertex {
	if g.stream != nil {
		return g.stream.vertex
	}
	return g.windows.vertex
}

// fold puts a value into the accumulator of its group; first says that there is none yet.
type fold[K, V, A any] func(key K, value V, acc A, first bool) (A, error)

// Count counts the records of each key.
func (s Stream[K, V]) Count(uid string, opts ...StoreOption) Table[K, int64] {
	return count(s.groups(), uid, opts)
}

// Reduce combines the values of each key; the first value of a key is taken as it is.
func (s Stream[K, V]) Reduce(uid string, combine func(key K, a, b V) (V, error), opts ...StoreOption) Table[K, V] {
	return reduce(s.groups(), uid, combine, opts)
}

// Aggregate keeps one value per group in a durable store, and emits it whenever it
// changes. add starts from the zero value of A. If it returns what the codec takes for
// null (codec.Nullable: a nil pointer), the group is deleted.
func Aggregate[K, V, G, A any](g Groups[K, V, G], uid string, c codec.Codec[A], add func(key K, value V, acc A) (A, error), opts ...StoreOption) Table[G, A] {
	of := g.groups()
	t := aggregate(of, "aggregate", uid, c, func(key K, value V, acc A, _ bool) (A, error) { return add(key, value, acc) }, opts)
	t.n.needFunc(add == nil)
	t.n.needCodec(c == nil, "value")
	return t
}

func count[K, V, G any](g grouping[K, V, G], uid string, opts []StoreOption) Table[G, int64] {
	return aggregate(g, "count", uid, codec.Int64, func(_ K, _ V, n int64, _ bool) (int64, error) { return n + 1, nil }, opts)
}

func reduce[K, V, G any](g grouping[K, V, G], uid string, combine func(key K, a, b V) (V, error), opts []StoreOption) Table[G, V] {
	t := aggregate(g, "reduce", uid, g.v, func(key K, value, acc V, first bool) (V, error) {
		if first {
			return value, nil
		}
		return combine(key, acc, value)
	}, opts)
	t.n.needFunc(combine == nil)
	t.n.needValue(g.v == nil, g.parent())
	return t
}

func aggregate[K, V, G, A any](g grouping[K, V, G], kind, uid string, c codec.Codec[A], f fold[K, V, A], opts []StoreOption) Table[G, A] {
	s := settingsOf(opts)
	n := newNode[G, change[A]](g.b, kind, s, g.parent())
	n.setUID(uid)
	n.needKey(g.k == nil, g.parent())
	n.stateful, n.KeyCodec, n.ValueCodec = true, codecName(g.k), codecName(c)
	n.store = &task.StoreSpec{
		UID: uid, Kind: task.StoreKeyed, KeyCodec: n.KeyCodec, ValueCodec: n.ValueCodec,
		KeySchema: codec.Schema(g.k), ValueSchema: codec.Schema(c), InMemory: s.inMemory, Place: placing(g.k),
	}
	uses(n.vertex, changelogOf(uid, true), g.k)
	uses(n.vertex, changelogOf(uid, false), c)
	if g.stream != nil {
		g.stream.attach(func(t *task.Task) receiver[K, V] { return keyed(t, n, g, c, f) })
	} else {
		n.store.Kind, n.store.Window = task.StoreWindow, g.spec.Size()
		n.store.Retention = g.spec.Size() + g.spec.GracePeriod()
		n.grace = g.spec.GracePeriod()
		g.windows.attach(func(t *task.Task) receiver[K, pane[V]] { return windowed(t, n, g, c, f) })
	}
	return Table[G, A]{b: g.b, n: n, k: g.group, v: c}
}

// keyed keeps one row per key.
func keyed[K, V, G, A any](t *task.Task, n *node[G, change[A]], g grouping[K, V, G], c codec.Codec[A], f fold[K, V, A]) receiver[K, V] {
	id, next, store := n.ID, n.next(t), t.Store(n.ID)
	kc, c := bound(t, changelogOf(n.UID, true), g.k), bound(t, changelogOf(n.UID, false), c)
	keys, values, accs := newEncoder(kc), newEncoder(c), newDecoder(c)
	row := make([]byte, 0, 64)
	return func(key K, value V) error {
		t.At(id)
		k, err := keys.encode(key)
		if err != nil {
			return t.Fail(id, fmt.Errorf("encode key: %w", err))
		}
		if k == nil {
			return t.Fail(id, errNullKey)
		}
		row = task.AppendKeyedRow(row[:0], k)
		old, ok, err := store.Get(row)
		if err != nil {
			return t.EnvFailed(id, "read store", err)
		}
		var acc A
		if ok {
			if acc, err = accs.decode(old); err != nil {
				return t.Fail(id, fmt.Errorf("decode stored value: %w", err))
			}
		}
		if acc, err = f(key, value, acc, !ok); err != nil {
			return t.Fail(id, err)
		}
		v, err := values.encode(acc)
		switch {
		case err != nil:
			return t.Fail(id, fmt.Errorf("encode value to store: %w", err))
		case v != nil:
			err = store.Put(row, v)
		case ok:
			err = store.Delete(row)
		default:
			return nil // null, and there was none: nothing changes
		}
		if err != nil {
			return t.EnvFailed(id, "write store", err)
		}
		return next(g.name(key, 0), change[A]{acc, v == nil})
	}
}
