package topologytest

import (
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// Source sends records to a topic that the topology reads.
type Source[K, V any] struct {
	d     *Driver
	topic topology.Topic[K, V]
}

// Input gives the sending end of a source topic.
func Input[K, V any](d *Driver, t topology.Topic[K, V]) Source[K, V] {
	d.t.Helper()
	if !strings.Contains(", "+d.sources()+",", ", "+t.Name()+",") {
		d.t.Fatalf("topologytest: the topology does not read %s: its sources are %s", t.Name(), d.sources())
	}
	return Source[K, V]{d, t}
}

// Send sends a record with the driver's processing time as its timestamp.
func (s Source[K, V]) Send(key K, value V) { s.d.t.Helper(); s.SendAt(s.d.now, key, value) }

// SendAt sends a record with a timestamp.
func (s Source[K, V]) SendAt(at time.Time, key K, value V) {
	s.d.t.Helper()
	s.d.must(s.try(-1, topology.Record[K, V]{Key: key, Value: value, Time: at}))
}

// TrySend is Send that returns the error, a *task.OperatorError, instead of failing the
// test. A record that failed has had no effect.
func (s Source[K, V]) TrySend(key K, value V) error {
	return s.try(-1, topology.Record[K, V]{Key: key, Value: value, Time: s.d.now})
}

// SendRecord sends a record to a partition, with its time and headers.
func (s Source[K, V]) SendRecord(partition int32, r topology.Record[K, V]) {
	s.d.t.Helper()
	s.d.must(s.try(partition, r))
}

// TrySendBytes sends bytes that need not decode, to partition 0.
func (s Source[K, V]) TrySendBytes(key, value []byte) error {
	return s.d.send(record{topic: s.topic.Name(), key: key, value: value, time: s.d.now.UnixMilli()})
}

func (s Source[K, V]) try(partition int32, r topology.Record[K, V]) error {
	k, v, err := s.topic.Encode(r.Key, r.Value)
	if err != nil {
		return err
	}
	if partition < 0 {
		partition = offsets.Partition(s.topic.PartitionKey(k), s.d.partitions)
	}
	rec := record{topic: s.topic.Name(), partition: partition, key: k, value: v, time: r.Time.UnixMilli()}
	for _, h := range r.Headers {
		rec.headers = append(rec.headers, task.Header(h))
	}
	return s.d.send(rec)
}

// Sink collects what the topology wrote to a topic.
type Sink[K, V any] struct {
	d     *Driver
	topic topology.Topic[K, V]
}

// Output gives the reading end of a sink topic.
func Output[K, V any](d *Driver, t topology.Topic[K, V]) Sink[K, V] {
	d.t.Helper()
	for _, s := range d.graph.Subs {
		for _, o := range s.Outputs {
			if !o.Internal && o.Topic == t.Name() {
				return Sink[K, V]{d, t}
			}
		}
	}
	d.t.Fatalf("topologytest: the topology does not write %s", t.Name())
	return Sink[K, V]{}
}

// Take returns what was written since the last Take, Want or WantLast.
func (s Sink[K, V]) Take() []topology.Record[K, V] {
	s.d.t.Helper()
	recs := s.d.outputs[s.topic.Name()]
	delete(s.d.outputs, s.topic.Name())
	out := make([]topology.Record[K, V], 0, len(recs))
	for _, r := range recs {
		k, v, err := s.topic.Decode(r.key, r.value)
		s.d.must(err)
		rec := topology.Record[K, V]{Key: k, Value: v, Time: time.UnixMilli(r.time).UTC(), Origin: topology.Origin{Topic: r.topic, Partition: r.partition, Offset: r.offset}}
		for _, h := range r.headers {
			rec.Headers = append(rec.Headers, topology.Header(h))
		}
		out = append(out, rec)
	}
	return out
}

// Want takes the output and compares keys and values in order.
func (s Sink[K, V]) Want(records ...topology.KV[K, V]) {
	s.d.t.Helper()
	var got []string
	for _, r := range s.Take() {
		got = append(got, line(r.Key, r.Value))
	}
	var want []string
	for _, r := range records {
		want = append(want, line(r.Key, r.Value))
	}
	compare(s.d.t, s.topic.Name(), got, want)
}

// WantLast takes the output and compares the last value of each key, in any order.
func (s Sink[K, V]) WantLast(records ...topology.KV[K, V]) {
	s.d.t.Helper()
	last := map[string]string{}
	for _, r := range s.Take() {
		last[fmt.Sprintf("%v", r.Key)] = line(r.Key, r.Value)
	}
	var want []string
	for _, r := range records {
		want = append(want, line(r.Key, r.Value))
	}
	got := slices.Sorted(maps.Values(last))
	slices.Sort(want)
	compare(s.d.t, s.topic.Name(), got, want)
}

// KV makes a record for Want.
func KV[K, V any](key K, value V) topology.KV[K, V] { return topology.KV[K, V]{Key: key, Value: value} }

func line(key, value any) string { return fmt.Sprintf("%v = %v", deref(key), deref(value)) }

// deref shows what a pointer of a nullable codec points to.
func deref(v any) any {
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && !r.IsNil() {
		return r.Elem().Interface()
	}
	return v
}

// compare shows both sides line by line: "-" is missing, "+" is too much.
func compare(t testing.TB, topic string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	var b strings.Builder
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			fmt.Fprintf(&b, "\n- %s", want[i])
		case i >= len(want):
			fmt.Fprintf(&b, "\n+ %s", got[i])
		case got[i] == want[i]:
			fmt.Fprintf(&b, "\n  %s", got[i])
		default:
			fmt.Fprintf(&b, "\n- %s\n+ %s", want[i], got[i])
		}
	}
	t.Errorf("topologytest: output of %s (- wanted, + got):%s", topic, b.String())
}

// Store reads a store by its uid, over all partitions.
type Store[K, V any] struct {
	d   *Driver
	uid string
	k   codec.Codec[K]
	v   codec.Codec[V]
}

// StoreOf gives the rows of a keyed store; String shows those of window stores.
func StoreOf[K, V any](d *Driver, uid string, k codec.Codec[K], v codec.Codec[V]) Store[K, V] {
	d.t.Helper()
	if len(d.storesOf(uid)) == 0 {
		d.t.Fatalf("topologytest: the topology has no store %s", uid)
	}
	return Store[K, V]{d, uid, k, v}
}

// Get reads the row of a key in a keyed store.
func (s Store[K, V]) Get(key K) (value V, ok bool) {
	s.d.t.Helper()
	b, err := s.k.Append(nil, key)
	s.d.must(err)
	for _, st := range s.d.storesOf(s.uid) {
		if row, found := st.rows[string(task.AppendKeyedRow(nil, b))]; found {
			v, err := s.v.Decode(row)
			s.d.must(err)
			return v, true
		}
	}
	return value, false
}

// All walks the rows of a keyed store, in key order within a partition.
func (s Store[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, st := range s.d.storesOf(s.uid) {
			for _, row := range st.keys() {
				key, ok := task.ParseKeyedRow([]byte(row))
				if !ok {
					continue
				}
				k, err := s.k.Decode(key)
				s.d.must(err)
				v, err := s.v.Decode(st.rows[row])
				s.d.must(err)
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

func (d *Driver) storesOf(uid string) (out []*store) {
	for _, id := range d.order {
		r := d.runners[id]
		for i, spec := range r.sub.Stores {
			if spec.UID == uid {
				out = append(out, r.stores[i])
			}
		}
	}
	return out
}

// String shows all outputs that were not taken and all stores, for golden files.
func (d *Driver) String() string {
	var b strings.Builder
	for _, topic := range slices.Sorted(maps.Keys(d.outputs)) {
		for _, r := range d.outputs[topic] {
			fmt.Fprintf(&b, "%s/%d@%d %q = %q at %s\n", r.topic, r.partition, r.offset, r.key, r.value, time.UnixMilli(r.time).UTC().Format(time.RFC3339Nano))
		}
	}
	for _, id := range d.order {
		r := d.runners[id]
		for i, spec := range r.sub.Stores {
			for _, k := range r.stores[i].keys() {
				fmt.Fprintf(&b, "%s %s %x = %x\n", spec.UID, id, k, r.stores[i].rows[k])
			}
		}
	}
	return b.String()
}
