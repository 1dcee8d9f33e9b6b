package checkpoint

import (
	"fmt"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// The model of Kafka: topics with transactions as a read-committed reader sees them, one transaction
// coordinator, and positions with metadata. One piece of memory; what happens when is the scheduler's choice.

// Tasks 0 and 1 read a source partition each and send every record on to a repartition topic; tasks 2 and 3
// read a partition of that and one of a loop, to which they send in turn. The last task is the control task.
const (
	nTasks  = 4
	control = 4
	nSlots  = 3
	nRecs   = 64
)

var taskIDs = [nTasks + 1]offsets.Task{{Sub: 0, Partition: 0}, {Sub: 0, Partition: 1}, {Sub: 1, Partition: 0}, {Sub: 1, Partition: 1}, {Sub: 2, Partition: 0}}

// Inputs: 0 and 1 sources, 2 and 3 repartition, 4 and 5 loop.
var taskInputs = [nTasks][]int{{0}, {1}, {2, 4}, {3, 5}}

func taskIndex(t offsets.Task) int { return int(2*t.Sub + t.Partition) }

// A source record passes 2 to 4 stages: one of the first tasks, then one of the second, then up to two rounds
// of the loop. Each stage leaves one effect in the state of its task: a bit.
func stages(id int) int           { return 2 + id%3 }
func partition(id, stage int) int { return (id*5 + id/2 + stage*(id/4)) % 2 }
func target(id, stage int) int    { return min(stage, 2)*2 + partition(id, stage) }

// effects has a word per stage with a bit per record.
type effects [4]uint64

func (e *effects) has(id, stage int) bool { return e[stage]&(1<<id) != 0 }
func (e *effects) add(id, stage int)      { e[stage] |= 1 << id }

// rest are the effects of a record from a stage on.
func rest(id, stage int) (e effects) {
	for ; stage < stages(id); stage++ {
		e.add(id, stage)
	}
	return e
}

// join adds effects; it returns those that were there already.
func (e *effects) join(o effects) (twice effects) {
	for stage := range e {
		twice[stage] = e[stage] & o[stage]
		e[stage] |= o[stage]
	}
	return twice
}

// without are those of e that are not in o.
func (e effects) without(o effects) effects {
	for stage := range e {
		e[stage] &^= o[stage]
	}
	return e
}

// message is a record of a source, repartition or loop partition.
type message struct {
	id, stage int
	stamp     uint64
}

// report is a record of the acks log.
type report struct {
	ack    bool
	task   int
	cut    uint64
	epoch  offsets.EpochID
	pos    [2]int // of an acknowledgement
	object string // of an upload
	lost   bool
}

// transaction is one of a producer. Its end is decided when it is prepared; partitions and positions learn it
// one by one, when their marker is written.
type transaction struct {
	epoch    int16
	prepared bool
	commit   bool
	topics   []interface{ mark(*transaction) } // still without marker
	offsets  []pending                         // positions that wait for the marker
	records  []Record                          // of the control log in it
}

type pending struct {
	task int
	at   progress
}

// progress is what the group remembers of a task. Its state stands for what the changelog gives.
type progress struct {
	pos      [2]int
	cut      uint64
	id, prev offsets.EpochID
	state    effects
}

type entry[T any] struct {
	tx *transaction // nil: not transactional
	v  T
}

type opened struct {
	tx    *transaction
	first int
}

type topic[T any] struct {
	log   []entry[T]
	open  []opened // transactions without marker here
	start int      // what was trimmed is below
}

func (t *topic[T]) add(tx *transaction, v T) {
	if tx != nil && !slices.ContainsFunc(t.open, func(o opened) bool { return o.tx == tx }) {
		tx.topics = append(tx.topics, t)
		t.open = append(t.open, opened{tx, len(t.log)})
	}
	t.log = append(t.log, entry[T]{tx, v})
}

func (t *topic[T]) mark(tx *transaction) {
	t.open = slices.DeleteFunc(t.open, func(o opened) bool { return o.tx == tx })
}

// stable is the end of what a read-committed reader gets; len(log) is the high watermark.
func (t *topic[T]) stable() int {
	n := len(t.log)
	for _, o := range t.open {
		n = min(n, o.first)
	}
	return n
}

// committed says whether a read-committed reader gets the record at i, for i below stable.
func (t *topic[T]) committed(i int) bool {
	tx := t.log[i].tx
	return tx == nil || tx.prepared && tx.commit
}

// producer is a transactional id at the coordinator.
type producer struct {
	epoch int16
	cur   *transaction
}

// lease says which lane has a task, and since when.
type lease struct{ lane, gen int }

type kafka struct {
	inputs    [6]*topic[message]
	control   *topic[Record]
	compacted compaction // of control
	acks      *topic[report]
	progress  [nTasks + 1]progress
	producers [nSlots]producer
	owners    [nTasks + 1]lease
	truth     Log // of all that is committed, in the order of the commits
	onRecord  func(Record)
	broken    error // first violation
}

func newKafka() *kafka {
	k := &kafka{control: &topic[Record]{}, acks: &topic[report]{}}
	for i := range k.inputs {
		k.inputs[i] = &topic[message]{}
	}
	return k
}

func (k *kafka) violated(format string, args ...any) {
	if k.broken == nil {
		k.broken = fmt.Errorf(format, args...)
	}
}

// initialise is InitProducerId: it aborts what is open, and answers when nothing is undecided.
func (k *kafka) initialise(slot int) (epoch int16, ok bool) {
	p := &k.producers[slot]
	if p.cur != nil {
		k.expire(slot)
		return 0, false
	}
	p.epoch++
	return p.epoch, true
}

// expire aborts a transaction that nobody ends, and fences its owner.
func (k *kafka) expire(slot int) {
	if p := &k.producers[slot]; p.cur != nil && !p.cur.prepared {
		p.epoch++
		p.cur.prepared = true
	}
}

// begin opens the transaction of a producer, unless it was fenced.
func (k *kafka) begin(slot int, epoch int16) *transaction {
	p := &k.producers[slot]
	if p.epoch != epoch {
		return nil
	}
	if p.cur == nil {
		p.cur = &transaction{epoch: epoch}
	}
	return p.cur
}

// fenced says whether the transaction can no longer be written to.
func (k *kafka) fenced(slot int, tx *transaction) bool {
	p := &k.producers[slot]
	return p.epoch != tx.epoch || p.cur != tx
}

// commitOffsets is TxnOffsetCommit under the leases of the tasks; false: refused.
func (k *kafka) commitOffsets(slot int, tx *transaction, leases []lease, at []pending) bool {
	if k.fenced(slot, tx) {
		return false
	}
	for i, o := range at {
		if k.owners[o.task] != leases[i] {
			return false
		}
	}
	tx.offsets = at
	return true
}

// end is EndTxn. Like every end it bumps the producer epoch.
func (k *kafka) end(slot int, tx *transaction, commit bool) bool {
	if k.fenced(slot, tx) {
		return false
	}
	tx.prepared, tx.commit = true, commit
	k.producers[slot].epoch++
	if commit {
		for _, r := range tx.records {
			k.record(r)
		}
	}
	return true
}

// record: a record of the control log is committed.
func (k *kafka) record(r Record) {
	// Readers cannot see this: for them, the record between the two may have been compacted away.
	if t, ok := r.(Triggered); ok && k.truth.undecided.ID != 0 {
		k.violated("control record %q: cut %d is undecided", recordText(t), k.truth.undecided.ID)
		return
	}
	if err := k.truth.Apply(r); err != nil {
		k.violated("%v", err)
		return
	}
	k.onRecord(r)
}

// mark writes the next marker of a decided transaction; false: there is none.
func (k *kafka) mark(slot int, pick func(int) int) bool {
	p := &k.producers[slot]
	tx := p.cur
	if tx == nil || !tx.prepared {
		return false
	}
	n := len(tx.topics)
	if len(tx.offsets) > 0 {
		n++
	}
	if n > 0 {
		if i := pick(n); i < len(tx.topics) {
			tx.topics[i].mark(tx)
			tx.topics = slices.Delete(tx.topics, i, i+1)
		} else {
			if tx.commit {
				k.move(tx.offsets)
			}
			tx.offsets = nil
		}
		n--
	}
	if n == 0 {
		p.cur = nil
	}
	return true
}

func (k *kafka) move(at []pending) {
	for _, o := range at {
		was := &k.progress[o.task]
		if o.at.prev != was.id || o.at.cut < was.cut {
			k.violated("task %s: epoch %s with cut %d follows %s with cut %d", taskIDs[o.task], o.at.id, o.at.cut, was.id, was.cut)
		}
		*was = o.at
	}
}

// stableOffsets is OffsetFetch with RequireStable; false: later.
func (k *kafka) stableOffsets(task int) (progress, bool) {
	for s := range k.producers {
		if tx := k.producers[s].cur; tx != nil && slices.ContainsFunc(tx.offsets, func(o pending) bool { return o.task == task }) {
			return progress{}, false
		}
	}
	return k.progress[task], true
}
