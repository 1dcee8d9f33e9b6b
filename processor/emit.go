package processor

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// heartbeatEvery is how often a task tells the silent partitions of its repartition topics
// how far its time is, or that it is idle: producers x partitions records per period at
// most.
const heartbeatEvery = time.Second

type output struct {
	topic      string
	partitions int32
	internal   bool
	loop       bool                     // nobody waits for time from it
	promise    func(*kgo.Record, error) // of the open epoch
	told       []told                   // per partition: what its reader heard last; internal only, and no loop
	undecided  []told                   // the same with the open epoch
	rowless    bool                     // its readers keep no row of what they heard
	forgetful  bool                     // and pass it on to who waits for it
}

// told is what the reader of a partition knows of a task's time.
type told struct {
	time int64
	idle bool
}

// hears notes that the reader hears of a time, which wakes the task up for it, or that the
// task is idle.
func (t *told) hears(time int64, idle bool) { t.time, t.idle = max(t.time, time), idle }

// knows says whether a reader that was told this knows all of it.
func (t told) knows(time int64, idle bool) bool { return t.time >= time && t.idle == idle }

var toldNothing = told{time: offsets.NoTime}

// Emit produces an output at once, inside the open transaction.
func (t *runningTask) Emit(i int, o *task.Out) error {
	out, txn := &t.outputs[i], t.lane.txn
	if n := len(o.Key) + len(o.Value); n > t.lane.cfg.maxRecordBytes {
		return fmt.Errorf("record of %d bytes for %s: %w", n, out.topic, errRecordTooLarge)
	}
	rec := txn.arena.record()
	rec.Topic = out.topic
	rec.Key, rec.Value = txn.arena.copy(o.Key), txn.arena.copy(o.Value)
	rec.Timestamp = time.UnixMilli(max(o.Time, 0))
	key := o.PartitionKey
	if key == nil {
		key = o.Key
	}
	if key == nil {
		rec.Partition = t.lane.spread % out.partitions
	} else {
		rec.Partition = offsets.Partition(key, out.partitions)
	}
	switch {
	case out.internal:
		wm := t.run.Watermark()
		if !out.loop {
			out.undecided[rec.Partition].hears(wm, false)
		}
		if len(o.Headers) == 0 {
			rec.Headers = txn.arena.header1(offsets.StampHeader, t.stamp(offsets.Data, wm))
			break
		}
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: offsets.StampHeader, Value: t.stamp(offsets.Data, wm)})
		fallthrough
	default:
		for _, h := range o.Headers {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: txn.arena.copy(h.Value)})
		}
	}
	if out.promise == nil {
		out.promise = txn.promise(t, nil)
	}
	txn.produce(t.lane.ctx, rec, out.promise)
	return nil
}

// stamp encodes who sends, behind which cut, and how far its time is. Its bytes live as long
// as the epoch.
func (t *runningTask) stamp(kind offsets.StampKind, watermark int64) []byte {
	l := t.lane
	l.stampBuf = offsets.Stamp{Kind: kind, Timeline: l.app.names.Timeline, Task: t.id, Cut: t.cut.member.Cut(), Watermark: watermark}.Append(l.stampBuf[:0])
	return l.txn.arena.copy(l.stampBuf)
}

// forget makes as if the readers had heard nothing yet.
func (o *output) forget() {
	for p := range o.told {
		o.told[p], o.undecided[p] = toldNothing, toldNothing
	}
}

// heartbeat tells the partitions of the internal outputs whose readers do not know it how
// far this task is, or that it is idle.
func (t *runningTask) heartbeat() {
	wm, idle, kind := t.run.Watermark(), t.run.Idle(), offsets.Heartbeat
	if idle {
		kind = offsets.Idle
	}
	at := time.UnixMilli(max(wm, 0))
	if t.ended() {
		at = t.lane.started // there is no moment at the end of time
	}
	for i := range t.outputs {
		out := &t.outputs[i]
		for p := range out.undecided {
			if out.undecided[p].knows(wm, idle) {
				continue
			}
			out.undecided[p].hears(wm, idle)
			rec := t.lane.txn.arena.record()
			rec.Topic, rec.Partition, rec.Timestamp = out.topic, int32(p), at
			rec.Headers = t.lane.txn.arena.header1(offsets.StampHeader, t.stamp(kind, wm))
			if out.promise == nil {
				out.promise = t.lane.txn.promise(t, nil)
			}
			t.lane.txn.produce(t.lane.ctx, rec, out.promise)
		}
	}
	t.beat = t.lane.now()
}
