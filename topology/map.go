package topology

import (
	"time"

	"github.com/weir-stream/weir/topology/task"
)

// Map changes key and value. A stateful operator behind it needs a Repartition or KeyBy first.
func Map[K, V, K2, V2 any](s Stream[K, V], f func(key K, value V) (K2, V2, error), opts ...Option) Stream[K2, V2] {
	n := derive(s.n, "map", settingsOf(opts), func(t *task.Task, id int, next receiver[K2, V2]) receiver[K, V] {
		return func(key K, value V) error {
			t.At(id)
			k2, v2, err := f(key, value)
			if err != nil {
				return t.Fail(id, err)
			}
			return next(k2, v2)
		}
	})
	n.needFunc(f == nil)
	return mapped(s, n, true)
}

// MapValues changes the value.
func MapValues[K, V, R any](s Stream[K, V], f func(key K, value V) (R, error), opts ...Option) Stream[K, R] {
	n := derive(s.n, "map-values", settingsOf(opts), func(t *task.Task, id int, next receiver[K, R]) receiver[K, V] {
		return func(key K, value V) error {
			t.At(id)
			r, err := f(key, value)
			if err != nil {
				return t.Fail(id, err)
			}
			return next(key, r)
		}
	})
	n.needFunc(f == nil)
	return mapped(s, n, false)
}

// FlatMap makes any number of records of one.
func FlatMap[K, V, K2, V2 any](s Stream[K, V], f func(key K, value V) ([]KV[K2, V2], error), opts ...Option) Stream[K2, V2] {
	n := derive(s.n, "flat-map", settingsOf(opts), func(t *task.Task, id int, next receiver[K2, V2]) receiver[K, V] {
		return func(key K, value V) error {
			t.At(id)
			all, err := f(key, value)
			if err != nil {
				return t.Fail(id, err)
			}
			for i := range all {
				if err := next(all[i].Key, all[i].Value); err != nil {
					return err
				}
			}
			return nil
		}
	})
	n.needFunc(f == nil)
	return mapped(s, n, true)
}

// FlatMapValues makes any number of records of one, all with its key.
func FlatMapValues[K, V, R any](s Stream[K, V], f func(key K, value V) ([]R, error), opts ...Option) Stream[K, R] {
	n := derive(s.n, "flat-map-values", settingsOf(opts), func(t *task.Task, id int, next receiver[K, R]) receiver[K, V] {
		return func(key K, value V) error {
			t.At(id)
			all, err := f(key, value)
			if err != nil {
				return t.Fail(id, err)
			}
			for i := range all {
				if err := next(key, all[i]); err != nil {
					return err
				}
			}
			return nil
		}
	})
	n.needFunc(f == nil)
	return mapped(s, n, false)
}

// MapRecord sees and sets time and headers too. Headers are exactly what f returns; a
// zero Time keeps that of the record. Origin is for reading.
func MapRecord[K, V, K2, V2 any](s Stream[K, V], f func(r Record[K, V]) (Record[K2, V2], error), opts ...Option) Stream[K2, V2] {
	n := derive(s.n, "map-record", settingsOf(opts), func(t *task.Task, id int, next receiver[K2, V2]) receiver[K, V] {
		return func(key K, value V) error {
			in := Record[K, V]{Key: key, Value: value, Time: time.UnixMilli(t.Time()).UTC(), Headers: t.Headers()}
			if o := t.Origin(); o != nil {
				in.Origin = Origin{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset}
			}
			t.At(id)
			out, err := f(in)
			if err != nil {
				return t.Fail(id, err)
			}
			before := t.Record()
			changed := before
			changed.Own, changed.Headers = true, out.Headers
			if !out.Time.IsZero() {
				changed.Time = out.Time.UnixMilli()
			}
			t.SetRecord(changed)
			if err := next(out.Key, out.Value); err != nil {
				return err
			}
			t.SetRecord(before)
			return nil
		}
	})
	n.needFunc(f == nil)
	return mapped(s, n, true)
}

// mapped is the stream behind a map: a codec stays where the Go type does.
func mapped[K, V, K2, V2 any](s Stream[K, V], n *node[K2, V2], rekeys bool) Stream[K2, V2] {
	out := Stream[K2, V2]{b: s.b, n: n, k: keep[K, K2](s.k), v: keep[V, V2](s.v)}
	n.rekeys = rekeys
	if out.k == nil && rekeys {
		n.newKey = typeName[K2]()
	}
	if out.v == nil {
		n.newValue = typeName[V2]()
	}
	return out
}
