package topologytest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
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
	t, err := t.ForTopic(context.Background())
	d.must(err)
	return Source[K, V]{d, t}
}

// Send sends a record with the driver's processing time as its timestamp.
func (s Source[K, V]) Send(key K, value V) { s.d.t.Helper(); s.SendAt(s.d.now, key, value) }

// SendAt sends a record with a timestamp, to the partition of its key.
func (s Source[K, V]) SendAt(at time.Time, key K, value V) {
	s.d.t.Helper()
	s.mustSend(-1, topology.Record[K, V]{Key: key, Value: value, Time: at})
}

// SendRecord sends a record to a partition, with its time and headers. Partition -1 is
// that of its key.
func (s Source[K, V]) SendRecord(partition int32, r topology.Record[K, V]) {
	s.d.t.Helper()
	s.mustSend(partition, r)
}

// SendBytes sends a record as it is, to the partition of its key.
func (s Source[K, V]) SendBytes(key, value []byte) {
	s.d.t.Helper()
	s.d.must(s.TrySendBytes(key, value))
}

// TrySend is Send that returns the error, a *task.OperatorError, instead of failing the
// test. What was sent has had no effect then, in no task, not even behind a repartition
// topic. (The engine would commit what came before that hop, and stop the task behind it.)
func (s Source[K, V]) TrySend(key K, value V) error {
	return s.TrySendAt(s.d.now, key, value)
}

// TrySendAt is SendAt that returns the error.
func (s Source[K, V]) TrySendAt(at time.Time, key K, value V) error {
	return s.TrySendRecord(-1, topology.Record[K, V]{Key: key, Value: value, Time: at})
}

// TrySendRecord is SendRecord that returns the error.
func (s Source[K, V]) TrySendRecord(partition int32, r topology.Record[K, V]) error {
	rec, err := s.encode(partition, r)
	if err != nil {
		return err
	}
	return s.d.send(rec)
}

// TrySendBytes is SendBytes that returns the error: the bytes need not decode.
func (s Source[K, V]) TrySendBytes(key, value []byte) error {
	return s.d.send(record{
		topic: s.topic.Name(), partition: offsets.Partition(s.topic.PartitionKey(key), s.d.partitions),
		key: bytes.Clone(key), value: bytes.Clone(value), time: s.d.now.UnixMilli(),
	})
}

func (s Source[K, V]) mustSend(partition int32, r topology.Record[K, V]) {
	s.d.t.Helper()
	rec, err := s.encode(partition, r)
	s.d.must(err)
	if s.d.lagging {
		s.d.must(s.d.post(rec))
		return
	}
	s.d.must(s.d.send(rec))
}

func (s Source[K, V]) encode(partition int32, r topology.Record[K, V]) (record, error) {
	k, v, err := s.topic.Encode(r.Key, r.Value)
	if err != nil {
		return record{}, err
	}
	if partition < 0 {
		partition = offsets.Partition(s.topic.PartitionKey(k), s.d.partitions)
	}
	rec := record{topic: s.topic.Name(), partition: partition, key: k, value: v, time: r.Time.UnixMilli()}
	for _, h := range r.Headers {
		rec.headers = append(rec.headers, task.Header(h))
	}
	return rec, nil
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
				t, err := t.ForTopic(context.Background())
				d.must(err)
				return Sink[K, V]{d, t}
			}
		}
	}
	d.t.Fatalf("topologytest: the topology does not write %s", t.Name())
	return Sink[K, V]{}
}

// Take returns what was written since the last Take, Want or WantLast. Within a partition
// it is in order; between partitions one order of several.
func (s Sink[K, V]) Take() []topology.Record[K, V] {
	s.d.t.Helper()
	recs := s.take()
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

func (s Sink[K, V]) take() []record {
	s.d.t.Helper()
	s.d.settle()
	name := s.topic.Name()
	recs := s.d.outputs[name][s.d.taken[name]:]
	s.d.taken[name] += len(recs)
	return recs
}

// Want takes the output and compares keys and values in order.
func (s Sink[K, V]) Want(records ...topology.KV[K, V]) {
	s.d.t.Helper()
	compare(s.d.t, s.topic.Name(), s.got(s.take()), s.wanted(records))
}

// WantLast takes the output and compares the last value of each key, in any order.
func (s Sink[K, V]) WantLast(records ...topology.KV[K, V]) {
	s.d.t.Helper()
	last := map[string]record{}
	for _, r := range s.take() {
		last[string(r.key)] = r
	}
	got, want := s.got(slices.Collect(maps.Values(last))), s.wanted(records)
	slices.SortFunc(got, byText)
	slices.SortFunc(want, byText)
	compare(s.d.t, s.topic.Name(), got, want)
}

func (s Sink[K, V]) got(recs []record) []item {
	s.d.t.Helper()
	var out []item
	for _, r := range recs {
		k, v, err := s.topic.Decode(r.key, r.value)
		s.d.must(err)
		out = append(out, item{line(k, v), [2]any{k, v}, r.key, r.value})
	}
	return out
}

// wanted sends records through the codecs, so that both sides lost the same on the way.
func (s Sink[K, V]) wanted(records []topology.KV[K, V]) []item {
	s.d.t.Helper()
	var out []item
	for _, r := range records {
		kb, vb, err := s.topic.Encode(r.Key, r.Value)
		s.d.must(err)
		k, v, err := s.topic.Decode(kb, vb)
		s.d.must(err)
		out = append(out, item{line(k, v), [2]any{k, v}, kb, vb})
	}
	return out
}

// KV makes a record for Want.
func KV[K, V any](key K, value V) topology.KV[K, V] { return topology.KV[K, V]{Key: key, Value: value} }
