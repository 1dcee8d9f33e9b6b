package topologytest

import (
	"bytes"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// record is one in a topic.
type record struct {
	topic      string // of the user, or the uid of a repartition topic
	partition  int32
	offset     int64
	key, value []byte
	headers    []task.Header
	time       int64
	stamp      *offsets.Stamp // of a repartition record
}

// runner is one task: its environment, and the epoch of the record in work.
type runner struct {
	d      *Driver
	id     offsets.Task
	sub    *task.Sub
	task   *task.Task
	stores []*store
	floor  int64 // time as the offset metadata would have it
	work   *record
	out    []record // of the open record
}

func (r *runner) Store(i int) task.Store { return r.stores[i] }

func (r *runner) Headers() []task.Header {
	if r.work == nil {
		return nil
	}
	return r.work.headers
}

func (r *runner) Emit(i int, o *task.Out) error {
	out := &r.sub.Outputs[i]
	rec := record{topic: out.Topic, key: bytes.Clone(o.Key), value: bytes.Clone(o.Value), time: o.Time}
	for _, h := range o.Headers {
		rec.headers = append(rec.headers, task.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	place := o.PartitionKey
	if place == nil {
		place = o.Key
	}
	rec.partition = offsets.Partition(place, r.d.partitionsOf(out))
	if out.Internal {
		rec.stamp = &offsets.Stamp{Kind: offsets.Data, Task: r.id, Watermark: r.task.Watermark()}
	}
	r.out = append(r.out, rec)
	return nil
}

// start makes the task as the engine does: over its stores, from its committed time.
func (r *runner) start() {
	r.task = r.d.graph.Start(r.sub.ID, r.id.Partition, r)
	for i, in := range r.sub.Inputs {
		if in.Internal {
			r.task.SetUpstream(i, r.d.upstream(in))
		}
	}
	if err := r.task.Restore(r.floor); err != nil {
		r.d.t.Fatalf("topologytest: restore task %s: %v", r.id, err)
	}
	r.task.Committed()
	for _, s := range r.stores {
		s.commit()
	}
}

// epoch runs f and all that follows from it in this task. An error takes everything back.
func (r *runner) epoch(f func() error) error {
	err := f()
	if err == nil {
		err = r.task.Flush()
	}
	if err != nil {
		for _, s := range r.stores {
			s.rollback()
		}
		r.task.Rollback()
		r.out, r.work = nil, nil
		return err
	}
	for _, s := range r.stores {
		s.commit()
	}
	r.task.Committed()
	r.floor = r.task.Watermark()
	for _, rec := range r.out {
		r.d.deliver(rec)
	}
	r.out, r.work = nil, nil
	r.heartbeat()
	return nil
}

// heartbeat tells all partitions of the task's repartition topics how far its time is.
func (r *runner) heartbeat() {
	kind := offsets.Heartbeat
	if r.task.Idle() {
		kind = offsets.Idle
	}
	for i := range r.sub.Outputs {
		out := &r.sub.Outputs[i]
		if !out.Internal || r.floor == offsets.NoTime && kind == offsets.Heartbeat {
			continue
		}
		for p := range r.d.partitionsOf(out) {
			r.d.queue(record{topic: out.Topic, partition: p, stamp: &offsets.Stamp{Kind: kind, Task: r.id, Watermark: r.floor}})
		}
	}
}

// process takes one record of an input.
func (r *runner) process(input int, rec *record) error {
	return r.epoch(func() error {
		r.work = rec
		if rec.stamp != nil {
			if err := r.task.Stamped(input, rec.stamp.Task, rec.stamp.Watermark, rec.stamp.Kind); err != nil {
				return err
			}
			if rec.stamp.Kind != offsets.Data {
				return nil
			}
		}
		return r.task.Process(input, &task.Raw{Key: rec.key, Value: rec.value, Time: rec.time, Topic: rec.topic, Partition: rec.partition, Offset: rec.offset})
	})
}
