package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// heartbeatEvery is how often a task tells the silent partitions of its repartition topics
// how far its time is, or that it is idle: producers x partitions records per period at
// most.
const heartbeatEvery = time.Second

// runningTask is a task that a lane runs. The lane's goroutine owns it.
//
// queue[:read] is in the open epoch, queue[read:] is not processed yet; all of queue stays
// until the epoch's fate is known, so that an abort replays from memory.
type runningTask struct {
	id     offsets.Task
	lane   *lane
	run    *task.Task
	ledger *offsets.Ledger // per input: committed <= processed <= polled
	inputs []input
	queue  []polled
	read   int
	bytes  int64  // keys and values of queue[:read]
	ahead  int    // records of queue whose rows were asked for
	rows   []byte // guessed keys of their rows
	keys   [prefetched][]byte

	held  bool      // its partitions are paused because its queue is long: see lane.holdSlow
	done  int       // records processed since
	since time.Time // begin of the present measurement, or when the queue was last empty

	stores  []*changelog.Store
	ends    []int64 // changelog ends of the open epoch
	settled []int64 // committed ends
	outputs []output

	counted  int64       // of epochBytes in lane.held
	touched  bool        // in the open epoch
	records  recordCount // processed in it
	first    bool        // no record processed since the restore
	stop     *stop
	wantTime bool // somebody downstream, or the task itself, waits for its watermark
	beat     time.Time
	reminded time.Time
}

// stop is where the replay of a failed task ends.
type stop struct {
	input   int
	offset  int64
	cause   error
	reached bool
	now     bool // nothing to replay: the failure was not at a record
}

type input struct {
	topicPartition
	id       [16]byte // topic id
	internal bool
}

// recordCount counts records of the user, by where they were read.
type recordCount struct{ source, internal int64 }

func (n *recordCount) add(m recordCount) {
	n.source, n.internal = n.source+m.source, n.internal+m.internal
}

// polled is a record in memory with the input that it came by.
type polled struct {
	rec   *kgo.Record
	input int32
}

type output struct {
	topic      string
	partitions int32
	internal   bool
	loop       bool                     // nobody waits for time from it
	promise    func(*kgo.Record, error) // of the open epoch
	told       []told                   // per partition: what its reader heard last; internal only, and no loop
	undecided  []told                   // the same with the open epoch
	forgetful  bool                     // its readers keep no row of what they heard
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

// newRunningTask makes the executable task over restored stores.
func (l *lane) newRunningTask(r taskRestored) (*runningTask, error) {
	sub := &l.app.graph.Subs[r.task.Sub]
	t := &runningTask{id: r.task, lane: l, stores: r.stores, first: true, wantTime: l.app.wantsTime(int(r.task.Sub))}
	var positions []int64
	for i, tp := range l.app.inputs(r.task) {
		positions = append(positions, r.positions[tp].offset)
		t.inputs = append(t.inputs, input{tp, l.app.topicIDs[tp.Topic], sub.Inputs[i].Internal})
	}
	t.ledger = offsets.NewLedger(r.task, r.metadata.Epoch, positions)
	t.settled = r.metadata.Ends
	t.ends = append([]int64(nil), r.metadata.Ends...)
	for i, o := range sub.Outputs {
		topic, n := l.app.outputTopic(int(r.task.Sub), i)
		out := output{topic: topic, partitions: n, internal: o.Internal, loop: o.Loop}
		if o.Internal && !o.Loop {
			out.told, out.undecided = make([]told, n), make([]told, n)
			out.forgetful = l.app.forgetsTime(o.Topic)
			out.forget()
		}
		t.outputs = append(t.outputs, out)
	}
	t.run = l.app.graph.Start(int(r.task.Sub), r.task.Partition, t)
	for i, in := range sub.Inputs {
		if in.Internal {
			t.run.SetUpstream(i, l.app.upstream(int(r.task.Sub), i))
		}
	}
	var times []int64
	for _, in := range t.inputs {
		times = append(times, r.positions[in.topicPartition].metadata.InputTime)
	}
	if err := t.run.Restore(r.metadata.Time, times); err != nil {
		return nil, fmt.Errorf("restore time of task %s: %w", r.task, err)
	}
	t.run.Committed()
	return t, nil
}

// Store, Emit and Headers make it the task's task.Env.

func (t *runningTask) Store(i int) task.Store { return t.stores[i] }

func (t *runningTask) Headers() []task.Header {
	rec := t.queue[t.read].rec
	if len(rec.Headers) == 0 {
		return nil
	}
	hs := make([]task.Header, 0, len(rec.Headers))
	for _, h := range rec.Headers {
		if h.Key != offsets.StampHeader {
			hs = append(hs, task.Header{Key: h.Key, Value: h.Value})
		}
	}
	return hs
}

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
			rec.Headers = txn.arena.header1(offsets.StampHeader, t.lane.stamp(t.id, offsets.Data, wm))
			break
		}
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: offsets.StampHeader, Value: t.lane.stamp(t.id, offsets.Data, wm)})
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
	for i := range t.outputs {
		out := &t.outputs[i]
		for p := range out.undecided {
			if out.undecided[p].knows(wm, idle) {
				continue
			}
			out.undecided[p].hears(wm, idle)
			rec := t.lane.txn.arena.record()
			rec.Topic, rec.Partition, rec.Timestamp = out.topic, int32(p), time.UnixMilli(max(wm, 0))
			rec.Headers = t.lane.txn.arena.header1(offsets.StampHeader, t.lane.stamp(t.id, kind, wm))
			if out.promise == nil {
				out.promise = t.lane.txn.promise(t, nil)
			}
			t.lane.txn.produce(t.lane.ctx, rec, out.promise)
		}
	}
	t.beat = t.lane.now()
}

// accept takes over polled records of one input. A record below what was polled before
// would be processed twice: the client went back without telling us.
func (t *runningTask) accept(i int, recs []*kgo.Record) error {
	if len(t.queue) == 0 {
		t.since, t.done = t.lane.now(), 0
	}
	for _, r := range recs {
		if err := t.ledger.Poll(i, r.Offset); err != nil {
			return fmt.Errorf("read %s: %w", t.inputs[i].topicPartition, err)
		}
		t.queue = append(t.queue, polled{r, int32(i)})
	}
	return nil
}

// step processes the next queued record. The caller has touched the task.
func (t *runningTask) step() error {
	q := &t.queue[t.read]
	r := q.rec
	in := &t.inputs[q.input]
	if t.read >= t.ahead {
		t.prefetch()
	}
	if t.first {
		failpoint("first-record")
		t.first = false
	}
	data := true
	if in.internal {
		st, err := stampOf(r)
		if err != nil {
			return fmt.Errorf("%s@%d: %w", in.topicPartition, r.Offset, err)
		}
		if st.Timeline != t.lane.app.names.Timeline {
			return fmt.Errorf("%s@%d: stamp of timeline %d, this is %d", in.topicPartition, r.Offset, st.Timeline, t.lane.app.names.Timeline)
		}
		if err := t.run.Stamped(int(q.input), st.Task, st.Watermark, st.Kind); err != nil {
			return err
		}
		data = st.Kind == offsets.Data
	}
	if data {
		raw := task.Raw{Key: r.Key, Value: r.Value, Time: r.Timestamp.UnixMilli(), Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
		if err := t.run.Process(int(q.input), &raw); err != nil {
			return err
		}
		if r.Offset == 7 && planted("process a record twice") {
			_ = t.run.Process(int(q.input), &raw)
		}
	}
	switch {
	case in.internal && data:
		t.records.internal++
	case data:
		t.records.source++
	}
	t.ledger.ProcessedTo(int(q.input), r.Offset+1)
	t.bytes += int64(len(r.Key) + len(r.Value))
	t.read++
	t.done++
	return nil
}

const (
	prefetched = 16   // records whose rows are asked for at a time
	blind      = 1024 // records until the next try after one that found few rows
)

// prefetch asks the stores for the rows of the next records, all at once, so that memory
// is waited for once and not for each. Which rows is a guess, from the record's key: it is
// right where a store is of the input's key, and where it is not it is rarely tried.
func (t *runningTask) prefetch() {
	if len(t.stores) == 0 {
		t.ahead = t.read + blind
		return
	}
	n := min(prefetched, len(t.queue)-t.read)
	t.ahead = t.read + n
	t.rows = t.rows[:0]
	for i, q := range t.queue[t.read:t.ahead] {
		at := len(t.rows)
		t.rows = t.run.GuessRow(t.rows, q.rec.Key)
		t.keys[i] = t.rows[at:]
	}
	found := 0
	for _, s := range t.stores {
		found += s.Prefetch(t.keys[:n])
	}
	if found < n/4 {
		t.ahead = t.read + blind
	}
}

func stampOf(r *kgo.Record) (offsets.Stamp, error) {
	for i := range r.Headers {
		if r.Headers[i].Key == offsets.StampHeader {
			return offsets.DecodeStamp(r.Headers[i].Value)
		}
	}
	return offsets.Stamp{}, errNoStamp
}

// finish is the operators' and the changelog's part of an epoch's end: the last value per
// touched key goes to the changelog.
func (t *runningTask) finish(ctx context.Context) error {
	if err := t.run.Flush(); err != nil {
		return err
	}
	if t.wantTime && t.lane.now().Sub(t.beat) >= heartbeatEvery {
		t.heartbeat()
	}
	txn := t.lane.txn
	for i, s := range t.stores {
		topic := t.lane.app.changelogTopic(int(t.id.Sub), i)
		end := &t.ends[i]
		promise := txn.promise(t, func(r *kgo.Record) { *end = max(*end, r.Offset+1) })
		err := s.Changes(func(key, value []byte) error {
			rec := txn.arena.record()
			rec.Topic, rec.Partition = topic, t.id.Partition
			// Changes keeps its bytes until the epoch is settled, as the arena does.
			rec.Key, rec.Value = txn.arena.copy(key), txn.arena.copy(value)
			rec.Timestamp = t.lane.started
			txn.ends++
			txn.produce(ctx, rec, promise)
			return nil
		})
		if err != nil {
			return fmt.Errorf("changelog of task %s: %w", t.id, err)
		}
	}
	return nil
}

// positions are the offsets to commit with the attempt.
func (t *runningTask) positions(attempt, prev offsets.EpochID) ([]offset, error) {
	os := make([]offset, 0, len(t.inputs))
	for i, in := range t.inputs {
		m := offsets.Metadata{
			Timeline: t.lane.app.names.Timeline, Epoch: attempt, Prev: prev,
			Time: t.run.Watermark(), InputTime: t.run.InputWatermark(i), Wall: t.lane.now().UnixMilli(), Ends: t.ends,
		}
		text, err := m.Encode()
		if err != nil {
			return nil, fmt.Errorf("metadata of task %s: %w", t.id, err)
		}
		os = append(os, offset{in.Topic, in.id, in.Partition, t.ledger.Span(i).Processed, text})
	}
	return os, nil
}

// adopt makes the open epoch the task's committed state.
func (t *runningTask) adopt(epoch offsets.EpochID) {
	copy(t.settled, t.ends)
	t.ledger.Commit(epoch)
	for i, s := range t.stores {
		s.Commit(epoch, t.ends[i])
	}
	t.run.Committed()
	n := copy(t.queue, t.queue[t.read:])
	clear(t.queue[n:])
	t.queue, t.read, t.ahead = t.queue[:n], 0, 0
	t.bytes, t.counted = 0, 0
	for i := range t.outputs {
		copy(t.outputs[i].told, t.outputs[i].undecided)
		t.outputs[i].promise = nil
	}
	t.touched, t.records = false, recordCount{}
}

// rollback takes the open epoch back; its records are processed again from memory.
func (t *runningTask) rollback() {
	copy(t.ends, t.settled)
	for _, s := range t.stores {
		s.Rollback()
	}
	t.run.Rollback()
	t.ledger.Rollback()
	if t.stop != nil {
		t.stop.reached = false
	}
	t.read, t.ahead, t.bytes, t.counted = 0, 0, 0, 0
	for i := range t.outputs {
		copy(t.outputs[i].undecided, t.outputs[i].told)
		t.outputs[i].promise = nil
	}
	t.touched, t.records = false, recordCount{}
}

// failed notes where the replay has to end, and what to tell the user then.
func (t *runningTask) failed(err error) {
	s := &stop{cause: err, now: true}
	if t.read < len(t.queue) {
		q := t.queue[t.read]
		s.input, s.offset, s.now = int(q.input), q.rec.Offset, false
	}
	t.stop = s
}

// atStop says whether the next record is the one that failed.
func (t *runningTask) atStop() bool {
	if t.stop == nil {
		return false
	}
	if t.stop.now {
		return true
	}
	q := t.queue[t.read]
	return int(q.input) == t.stop.input && q.rec.Offset == t.stop.offset
}

// recordBytes is what a record costs in memory beside its key and value: a kgo.Record and the
// pointers to it.
const recordBytes = 200

// epochBytes is what the open epoch of the task keeps in memory: the records processed, for a
// replay, and the rows that they changed.
func (t *runningTask) epochBytes() int64 {
	n := t.bytes + int64(t.read)*recordBytes
	for _, s := range t.stores {
		n += s.EpochBytes()
	}
	return n
}

// waiting is the number of records that are not processed yet.
func (t *runningTask) waiting() int { return len(t.queue) - t.read }

// pending says whether the task has work that a transaction is needed for.
func (t *runningTask) pending() bool {
	return t.read < len(t.queue) && (t.stop == nil || !t.stop.reached)
}

var (
	errNoStamp        = errors.New("record of a repartition topic without a stamp: something else writes to it")
	errRecordTooLarge = errors.New("record larger than the producer accepts")
)
