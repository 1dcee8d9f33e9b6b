package topology

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// From reads a topic as a stream of independent records. A topic is read once per
// application; the stream may be used any number of times.
func From[K, V any](b *Builder, t Topic[K, V], opts ...SourceOption) Stream[K, V] {
	s := settingsOf(opts)
	n := newNode[K, V](b, "source", s)
	n.Topic, n.KeyCodec, n.ValueCodec = t.name, codecName(t.key), codecName(t.value)
	n.needTopic(t.name, t.key == nil, t.value == nil)
	n.checkSource(s)
	uses(n.vertex, sourceOf(t.name, true), t.key)
	uses(n.vertex, sourceOf(t.name, false), t.value)
	n.input = &task.Input{Topic: t.name, MaxDisorder: s.disorder, IdleAfter: s.idleAfter, Start: s.start.p}
	n.open = func(tk *task.Task, input int) func(*task.Raw) error {
		return open(tk, n, input, bound(tk, sourceOf(t.name, true), t.key), bound(tk, sourceOf(t.name, false), t.value), t.eventTime)
	}
	return Stream[K, V]{b: b, n: n, k: t.key, v: t.value}
}

func (v *vertex) checkSource(s settings) {
	if s.disorder < 0 {
		v.b.reject(v, "its MaxDisorder is %v", s.disorder).fix("pass 0 or more")
	}
	if s.idleAfter < 0 {
		v.b.reject(v, "its IdleAfter is %v", s.idleAfter).fix("pass 0 for never, or more")
	}
	if s.start.p.Kind == task.At && s.start.p.At.IsZero() {
		v.b.reject(v, "it starts at the zero time.Time").fix("pass a time to At, or use Earliest()")
	}
}

// open makes the way in: from here on a record has types. It is the same for source and
// repartition topics; only a source topic has its time in the records.
func open[K, V any](t *task.Task, n *node[K, V], input int, kc codec.Codec[K], vc codec.Codec[V], eventTime func(K, V) (time.Time, error)) func(*task.Raw) error {
	id, next := n.ID, n.next(t)
	keys, values := newDecoder(kc), newDecoder(vc)
	return func(r *task.Raw) error {
		t.At(id)
		key, err := keys.decode(r.Key)
		if err != nil {
			return t.Fail(id, fmt.Errorf("decode key as %s: %w", kc.Name(), err))
		}
		value, err := values.decode(r.Value)
		if err != nil {
			return t.Fail(id, fmt.Errorf("decode value as %s: %w", vc.Name(), err))
		}
		ms := r.Time
		if eventTime != nil {
			at, err := eventTime(key, value)
			if err == nil && at.IsZero() {
				err = errZeroTime
			}
			if err != nil {
				return t.Fail(id, fmt.Errorf("take event time: %w", err))
			}
			ms = at.UnixMilli()
		}
		t.Begin(ms)
		if err := next(key, value); err != nil {
			return err
		}
		t.End(input, ms)
		return nil
	}
}
