package topology

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
	"github.com/weir-stream/weir/topology/window"
)

// Windowed is the key of a windowed result. End is exclusive.
type Windowed[K any] struct {
	Key        K
	Start, End time.Time
}

// WindowedKey encodes the key, then start and end in ms, 8 bytes each, big-endian. The
// record's partition follows the key alone.
func WindowedKey[K any](key codec.Codec[K]) codec.Codec[Windowed[K]] {
	return windowedKey[K]{key}
}

type windowedKey[K any] struct{ key codec.Codec[K] }

const windowBounds = 16

func (c windowedKey[K]) Name() string { return "windowed " + c.key.Name() }

func (c windowedKey[K]) Check() error { return codec.Check(c.key) }

// Schema is that of the key within.
func (c windowedKey[K]) Schema() string { return codec.Schema(c.key) }

func (c windowedKey[K]) ForTopic(ctx context.Context, topic string, key bool) (codec.Codec[Windowed[K]], error) {
	bound, err := codec.ForTopic(ctx, c.key, topic, key)
	return windowedKey[K]{bound}, err
}

func (c windowedKey[K]) Append(dst []byte, w Windowed[K]) ([]byte, error) {
	dst, err := c.key.Append(dst, w.Key)
	dst = binary.BigEndian.AppendUint64(dst, uint64(w.Start.UnixMilli()))
	return binary.BigEndian.AppendUint64(dst, uint64(w.End.UnixMilli())), err
}

func (c windowedKey[K]) Decode(src []byte) (Windowed[K], error) {
	n := len(src) - windowBounds
	if n < 0 {
		return Windowed[K]{}, fmt.Errorf("%d bytes are no windowed key: it ends with start and end, 8 bytes each", len(src))
	}
	key, err := c.key.Decode(src[:n:n])
	if err != nil {
		return Windowed[K]{}, fmt.Errorf("key of window: %w", err)
	}
	return Windowed[K]{
		Key:   key,
		Start: time.UnixMilli(int64(binary.BigEndian.Uint64(src[n:]))).UTC(),
		End:   time.UnixMilli(int64(binary.BigEndian.Uint64(src[n+8:]))).UTC(),
	}, nil
}

// PartitionKey is the part of an encoded key that places its record.
func (windowedKey[K]) PartitionKey(encoded []byte) []byte {
	n := max(len(encoded)-windowBounds, 0)
	return encoded[:n:n]
}

// WindowedStream is a stream assigned to windows; it can only be aggregated.
type WindowedStream[K, V any] struct {
	b    *Builder
	n    *node[K, pane[V]]
	late *lateness[K, V]
	spec window.Spec
	k    codec.Codec[K]
	v    codec.Codec[V]
}

// pane is a value in the window that starts there.
type pane[V any] struct {
	value V
	start int64 // ms
}

// lateness holds the side output, once somebody asks for it.
type lateness[K, V any] struct{ n *node[K, V] }

// Window assigns a stream to windows by the time of its records. A function for ever: as
// a method it would make an instantiation cycle with Table.ToStream.
func Window[K, V any](s Stream[K, V], spec window.Spec) WindowedStream[K, V] {
	late := &lateness[K, V]{}
	n := derive(s.n, "window", settings{name: spec.String()}, func(t *task.Task, id int, next receiver[K, pane[V]]) receiver[K, V] {
		side := func(K, V) error { return nil }
		if late.n != nil {
			side = late.n.next(t)
		}
		closeAfter := closeAfter(t, id, spec)
		return func(key K, value V) error {
			start := spec.Start(t.Time())
			if t.Closed(start + closeAfter) {
				t.CountLate()
				return side(key, value)
			}
			return next(key, pane[V]{value, start})
		}
	})
	if err := spec.Check(); err != nil {
		n.b.reject(n.vertex, "%v", err).fix("start from window.Tumbling(size), with size and grace in whole milliseconds")
	}
	return WindowedStream[K, V]{b: s.b, n: n, late: late, spec: spec, k: s.k, v: s.v}
}

// closeAfter is how far behind the start of a window the watermark closes it.
func closeAfter(t *task.Task, id int, spec window.Spec) int64 {
	return (spec.Size() + spec.GracePeriod() + t.Node(id).Delay).Milliseconds()
}

// Late is the stream of records that came after their window had closed. Without it they
// are only counted.
func (s WindowedStream[K, V]) Late() Stream[K, V] {
	if s.late.n == nil {
		n := newNode[K, V](s.b, "late", settings{}, s.n.vertex)
		if s.b.built {
			return Stream[K, V]{b: s.b, n: n, k: s.k, v: s.v}
		}
		s.late.n = n
	}
	return Stream[K, V]{b: s.b, n: s.late.n, k: s.k, v: s.v}
}

// Count counts the records of each key and window.
func (s WindowedStream[K, V]) Count(uid string, opts ...StoreOption) Table[Windowed[K], int64] {
	return count(s.groups(), uid, opts)
}

// Reduce combines the values of each key and window; the first is taken as it is.
func (s WindowedStream[K, V]) Reduce(uid string, combine func(key K, a, b V) (V, error), opts ...StoreOption) Table[Windowed[K], V] {
	return reduce(s.groups(), uid, combine, opts)
}

func (s WindowedStream[K, V]) groups() grouping[K, V, Windowed[K]] {
	size := s.spec.Size().Milliseconds()
	g := grouping[K, V, Windowed[K]]{
		b: s.b, windows: s.n, spec: s.spec, k: s.k, v: s.v,
		name: func(key K, start int64) Windowed[K] {
			return Windowed[K]{Key: key, Start: time.UnixMilli(start).UTC(), End: time.UnixMilli(start + size).UTC()}
		},
	}
	if s.k != nil {
		g.group = WindowedKey(s.k)
	}
	return g
}

// windowed keeps one row per window and key.
func windowed[K, V, G, A any](t *task.Task, n *node[G, change[A]], g grouping[K, V, G], c codec.Codec[A], f fold[K, V, A]) receiver[K, pane[V]] {
	id, next := n.ID, n.next(t)
	kc, c := bound(t, changelogOf(n.UID, true), g.k), bound(t, changelogOf(n.UID, false), c)
	keys, names := newEncoder(kc), newDecoder(kc)
	values, accs := newEncoder(c), newDecoder(c)
	last := g.spec.Size().Milliseconds() - 1

	// Results have the last time of their window, and come from no record.
	emit := func(start int64, name G, to change[A]) error {
		before := t.Record()
		t.SetRecord(task.Record{Time: start + last, Made: true})
		if err := next(name, to); err != nil {
			return err
		}
		t.SetRecord(before)
		return nil
	}
	fire := func(start int64, k, v []byte) error {
		t.At(id)
		key, err := names.decode(k)
		if err != nil {
			return t.Fail(id, fmt.Errorf("decode stored key: %w", err))
		}
		acc, err := accs.decode(v)
		if err != nil {
			return t.Fail(id, fmt.Errorf("decode stored value: %w", err))
		}
		return emit(start, g.name(key, start), change[A]{value: acc})
	}
	emission := g.spec.Emission()
	rows := t.NewWindows(id, closeAfter(t, g.windows.ID, g.spec), map[window.Emission]task.WindowEmission{
		window.Updates: task.FireNever, window.Commits: task.FireDeferred, window.Final: task.FireAll,
	}[emission], fire)

	return func(key K, p pane[V]) error {
		t.At(id)
		k, err := keys.encode(key)
		if err != nil {
			return t.Fail(id, fmt.Errorf("encode key: %w", err))
		}
		if k == nil {
			return t.Fail(id, errNullKey)
		}
		old, ok, err := rows.Get(p.start, k)
		if err != nil {
			return err
		}
		var acc A
		if ok {
			if acc, err = accs.decode(old); err != nil {
				return t.Fail(id, fmt.Errorf("decode stored value: %w", err))
			}
		}
		if acc, err = f(key, p.value, acc, !ok); err != nil {
			return t.Fail(id, err)
		}
		v, err := values.encode(acc)
		if err != nil {
			return t.Fail(id, fmt.Errorf("encode value to store: %w", err))
		}
		if v == nil {
			if !ok {
				return nil // null, and there was none: nothing changes
			}
			if err := rows.Delete(); err != nil || emission == window.Final {
				return err
			}
			return emit(p.start, g.name(key, p.start), change[A]{value: acc, deleted: true})
		}
		if err := rows.Put(v); err != nil {
			return err
		}
		switch emission {
		case window.Updates:
			return emit(p.start, g.name(key, p.start), change[A]{value: acc})
		case window.Commits:
			rows.Defer()
		}
		return nil
	}
}
