package topology

import (
	"fmt"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// To writes the stream to a topic with the topic's codecs. Records carry the time and the
// headers they have in the topology.
func (s Stream[K, V]) To(t Topic[K, V], opts ...SinkOption) {
	n := newNode[K, V](s.b, "sink", settingsOf(opts), s.n.vertex)
	n.setTopic(t.name, t.key, t.value)
	writes(n.vertex, t)
	s.n.attach(func(tk *task.Task) receiver[K, V] {
		w := newWriter(tk, n.ID, 0, sunk(tk, n.ID, t))
		return w.write
	})
}

// To writes new values, and a tombstone for every deletion.
func (t Table[K, V]) To(topic Topic[K, V], opts ...SinkOption) {
	n := newNode[K, V](t.b, "sink", settingsOf(opts), t.n.vertex)
	n.setTopic(topic.name, topic.key, topic.value)
	writes(n.vertex, topic)
	t.n.attach(func(tk *task.Task) receiver[K, change[V]] {
		w := newWriter(tk, n.ID, 0, sunk(tk, n.ID, topic))
		return func(key K, c change[V]) error {
			if c.deleted {
				return w.tombstone(key)
			}
			return w.write(key, c.value)
		}
	})
}

// Route writes each record to the topic that choose names; all of them are declared.
func (s Stream[K, V]) Route(choose func(key K, value V) (Topic[K, V], error), topics ...Topic[K, V]) {
	n := newNode[K, V](s.b, "route", settings{}, s.n.vertex)
	n.needFunc(choose == nil)
	if len(topics) == 0 {
		s.b.reject(n.vertex, "it declares no topic").fix("pass every topic that the function may name")
	}
	index := map[string]int{}
	for _, t := range topics {
		if _, ok := index[t.name]; ok {
			s.b.reject(n.vertex, "topic %s is declared twice", t.name).fix("declare it once")
			continue
		}
		index[t.name] = len(index)
		n.needTopic(t.name, t.key == nil, t.value == nil)
		writes(n.vertex, t)
	}
	s.n.attach(func(tk *task.Task) receiver[K, V] {
		id := n.ID
		writers := make([]*writer[K, V], len(index))
		for _, t := range topics {
			writers[index[t.name]] = newWriter(tk, id, index[t.name], sunk(tk, id, t))
		}
		return func(key K, value V) error {
			tk.At(id)
			t, err := choose(key, value)
			if err != nil {
				return tk.Fail(id, err)
			}
			i, ok := index[t.name]
			if !ok {
				return tk.Fail(id, fmt.Errorf("topic %q is not among those that the Route declares", t.name))
			}
			return writers[i].write(key, value)
		}
	})
}

// setTopic describes a sink with one topic.
func (v *vertex) setTopic(name string, key, value interface{ Name() string }) {
	v.Topic = name
	v.needTopic(name, key == nil, value == nil)
	if key != nil && value != nil {
		v.KeyCodec, v.ValueCodec = key.Name(), value.Name()
	}
}

// writes describes one topic of a sink.
func writes[K, V any](v *vertex, t Topic[K, V]) {
	v.outputs = append(v.outputs, task.Output{
		Topic: t.name, KeyCodec: codecName(t.key), ValueCodec: codecName(t.value), KeySchema: codec.Schema(t.key), ValueSchema: codec.Schema(t.value),
	})
	uses(v, sinkOf(t.name, v.ID, true), t.key)
	uses(v, sinkOf(t.name, v.ID, false), t.value)
}

// sunk is the topic of a sink with the codecs that a task uses.
func sunk[K, V any](t *task.Task, id int, topic Topic[K, V]) Topic[K, V] {
	topic.key = bound(t, sinkOf(topic.name, id, true), topic.key)
	topic.value = bound(t, sinkOf(topic.name, id, false), topic.value)
	return topic
}

// writer is the way out into one topic, for one task.
type writer[K, V any] struct {
	t      *task.Task
	id, i  int
	keys   *encoder[K]
	values *encoder[V]
	place  func([]byte) []byte
	out    task.Out
}

func newWriter[K, V any](t *task.Task, id, i int, topic Topic[K, V]) *writer[K, V] {
	return &writer[K, V]{
		t: t, id: id, i: i, keys: newEncoder(topic.key), values: newEncoder(topic.value), place: placing(topic.key),
	}
}

func (w *writer[K, V]) write(key K, value V) (err error) {
	w.t.At(w.id)
	if w.out.Value, err = w.values.encode(value); err != nil {
		return w.t.Fail(w.id, fmt.Errorf("encode value: %w", err))
	}
	return w.emit(key)
}

func (w *writer[K, V]) tombstone(key K) error {
	w.t.At(w.id)
	w.out.Value = nil
	return w.emit(key)
}

func (w *writer[K, V]) emit(key K) (err error) {
	if w.out.Key, err = w.keys.encode(key); err != nil {
		return w.t.Fail(w.id, fmt.Errorf("encode key: %w", err))
	}
	w.out.PartitionKey = nil
	if w.place != nil && w.out.Key != nil {
		w.out.PartitionKey = w.place(w.out.Key)
	}
	w.out.Time, w.out.Headers = w.t.Time(), w.t.Headers()
	return w.t.Emit(w.id, w.i, &w.out)
}
