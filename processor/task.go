package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/topology/task"
)

// runningTask is a task that a lane runs. The lane's goroutine owns it.
//
// queue[:read] is in the open epoch, queue[read:] is not processed yet; all of queue stays
// until the epoch's fate is known, so that an abort replays from memory.
type runningTask struct {
	id     offsets.Task
	lane   *lane
	run    work
	cut    taskCut
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
	internal bool     // its records carry stamps
	loop     bool
	trimmed  bool // what is committed is deleted
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

// newRunningTask makes the executable task over restored stores.
func (l *lane) newRunningTask(r taskRestored) (*runningTask, error) {
	t := &runningTask{id: r.task, lane: l, stores: r.stores, first: true}
	var positions []int64
	for _, tp := range l.app.inputs(r.task) {
		positions = append(positions, r.positions[tp].offset)
		t.inputs = append(t.inputs, input{topicPartition: tp, id: l.app.topicIDs[tp.Topic]})
	}
	t.ledger = offsets.NewLedger(r.task, r.metadata.Epoch, positions)
	t.settled = r.metadata.Ends
	t.ends = append([]int64(nil), r.metadata.Ends...)
	if r.control != nil {
		r.control.task, t.run = t, r.control
		t.inputs[acksInput].trimmed = true
		r.control.act()
		return t, nil
	}
	sub := &l.app.graph.Subs[r.task.Sub]
	t.wantTime = l.app.wantsTime(int(r.task.Sub))
	for i := range t.inputs {
		t.inputs[i].internal, t.inputs[i].trimmed = sub.Inputs[i].Internal, sub.Inputs[i].Internal
		t.inputs[i].loop = sub.Inputs[i].Loop
	}
	for i, o := range sub.Outputs {
		topic, n := l.app.outputTopic(int(r.task.Sub), i)
		out := output{topic: topic, partitions: n, internal: o.Internal, loop: o.Loop}
		if o.Internal && !o.Loop {
			out.told, out.undecided = make([]told, n), make([]told, n)
			out.forgetful, out.rowless = l.app.forgetsTime(o.Topic), l.app.keepsNoTime(o.Topic)
			out.forget()
		}
		t.outputs = append(t.outputs, out)
	}
	run := l.app.graph.Start(int(r.task.Sub), r.task.Partition, t)
	t.run = run
	for i, in := range sub.Inputs {
		if in.Internal {
			run.SetUpstream(i, l.app.upstream(int(r.task.Sub), i))
		}
	}
	var times []int64
	for _, in := range t.inputs {
		times = append(times, r.positions[in.topicPartition].metadata.InputTime)
	}
	if err := run.Restore(r.metadata.Time, times); err != nil {
		return nil, fmt.Errorf("restore time of task %s: %w", r.task, err)
	}
	run.Committed()
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

// accept takes over polled records of one input. A record below what was polled before
// would be processed twice: the client went back without telling us.
func (t *runningTask) accept(i int, recs []*kgo.Record) error {
	if t.leaves(i) && !planted("read on behind the end of time") {
		t.lane.group.client.PauseFetchPartitions(map[string][]int32{t.inputs[i].Topic: {t.inputs[i].Partition}})
		return nil
	}
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
		if !t.cut.member.Passes(st.Cut) && !planted("process what was sent behind the cut") {
			t.lane.tellCuts(checkpoint.Met{Task: t.id, Stamp: st.Cut})
			return errCutFirst
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
	case t.cut.member == nil: // of the control task: not the user's
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
	if t.wantTime && t.lane.now().Sub(t.beat) >= heartbeatEvery || t.ended() {
		t.heartbeat()
	}
	if err := t.acknowledge(ctx); err != nil {
		return err
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
			Timeline: t.lane.app.names.Timeline, Epoch: attempt, Prev: prev, Cut: t.cut.highest(),
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
	return t.read < len(t.queue) && !t.cut.held && !t.cut.last && (t.stop == nil || !t.stop.reached)
}

var (
	errNoStamp        = errors.New("record of a repartition topic without a stamp: something else writes to it")
	errRecordTooLarge = errors.New("record larger than the producer accepts")
)
