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
	inbox  [][]record // what its inputs hold unread
	work   *record
	out    []record                // of the open epoch
	heard  map[heard]offsets.Stamp // the last of each channel, since start

	now, saved times // time as the offset metadata would have it
	touched    bool  // since the last commit
}

// times is the time of a task and of each of its inputs.
type times struct {
	task   int64
	inputs []int64
}

// heard names a channel: by which input, from whom.
type heard struct {
	input int
	from  offsets.Task
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
	r.heard = map[heard]offsets.Stamp{}
	for _, s := range r.stores {
		s.restart()
	}
	r.task = r.d.graph.Start(r.sub.ID, r.id.Partition, r)
	for i, in := range r.sub.Inputs {
		if in.Internal {
			r.task.SetUpstream(i, r.d.upstream(in))
		}
	}
	if err := r.task.Restore(r.now.task, r.now.inputs); err != nil {
		r.d.t.Fatalf("topologytest: restore task %s: %v", r.id, err)
	}
	r.commit()
}

// epoch runs f, ends the epoch and shows others what came of it. Whether it stays is
// decided by the driver's unit.
func (r *runner) epoch(f func() error) error {
	r.touched = true
	err := f()
	if err == nil {
		err = r.task.Flush()
	}
	out := r.out
	r.out, r.work = nil, nil
	if err != nil {
		return err
	}
	r.now = times{task: r.task.Watermark()}
	for i := range r.sub.Inputs {
		r.now.inputs = append(r.now.inputs, r.task.InputWatermark(i))
	}
	for _, rec := range out {
		r.d.emitted(rec)
	}
	r.heartbeat()
	return nil
}

// commit makes the present state the one to go back to.
func (r *runner) commit() {
	for _, s := range r.stores {
		s.commit()
	}
	r.task.Committed()
	r.saved, r.touched = r.now, false
}

// rollback goes back to the last commit; what waits belonged to the unit that failed.
func (r *runner) rollback() {
	clear(r.inbox)
	if !r.touched {
		return
	}
	for _, s := range r.stores {
		s.rollback()
	}
	r.task.Rollback()
	clear(r.heard) // hearing a thing twice does no harm
	r.now, r.touched = r.saved, false
}

// heartbeat tells all partitions of the task's repartition topics how far its time is. Of a
// loop nobody wants to know.
func (r *runner) heartbeat() {
	kind := offsets.Heartbeat
	if r.task.Idle() {
		kind = offsets.Idle
	}
	for i := range r.sub.Outputs {
		out := &r.sub.Outputs[i]
		if !out.Internal || out.Loop || r.now.task == offsets.NoTime && kind == offsets.Heartbeat {
			continue
		}
		for p := range r.d.partitionsOf(out) {
			r.d.emitted(record{topic: out.Topic, partition: p, stamp: &offsets.Stamp{Kind: kind, Task: r.id, Watermark: r.now.task}})
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

// news says whether a record tells its reader anything: heartbeats of a time that it has
// heard of would echo through the topology for ever.
func (r *runner) news(input int, rec *record) bool {
	if rec.stamp == nil {
		return true
	}
	key := heard{input, rec.stamp.Task}
	last, ok := r.heard[key]
	r.heard[key] = *rec.stamp
	return !ok || rec.stamp.Kind == offsets.Data || last != *rec.stamp
}
