package epoch

import (
	"fmt"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// The model of Kafka: logs with transactions as a read-committed reader sees them, one
// transaction coordinator with transaction.version 2 (every end bumps the producer epoch),
// and positions beside which epoch ids are kept. All of it is one piece of memory without
// goroutines; what happens when is the scheduler's choice.

// code is the answer to a request.
type code uint8

const (
	ok                code = iota
	concurrent             // CONCURRENT_TRANSACTIONS: later
	staleEpoch             // PRODUCER_FENCED or INVALID_PRODUCER_EPOCH
	invalidState           // INVALID_TXN_STATE
	unstable               // UNSTABLE_OFFSET_COMMIT: later
	unknownMember          // UNKNOWN_MEMBER_ID
	illegalGeneration      // ILLEGAL_GENERATION
	fencedInstance         // FENCED_INSTANCE_ID
	refused                // any other error that says "not done"
	noAnswer               // the request or its answer is lost
)

// transaction is one of a producer. Its end is decided when it is prepared; partitions and positions
// learn it one by one, when their marker is written.
type transaction struct {
	epoch    int16
	prepared bool
	commit   bool
	parts    []*partition // still without marker
	offsets  []pending    // positions that wait for the marker
}

type pending struct {
	part int
	at   position
}

// position is what the group remembers of an input partition.
type position struct {
	offset   int
	id, prev offsets.EpochID
	end      int // of the task's changelog
}

// entry is one record of a log, or a marker.
type entry struct {
	tx     *transaction // nil: not transactional
	marker bool
	key    int // of the record
	count  int // how many records of the key there were, this one included
	id     int // of the source record
	task   int // that wrote it
}

type partition struct {
	name string
	log  []entry
	open []opened // transactions without marker here
}

type opened struct {
	tx    *transaction
	first int
}

// stable is the end of what a read-committed reader gets: the last stable offset.
func (p *partition) stable() int {
	n := len(p.log)
	for _, o := range p.open {
		n = min(n, o.first)
	}
	return n
}

// visible says whether a read-committed reader gets the record at i, for i below stable.
func (p *partition) visible(i int) bool {
	e := &p.log[i]
	return !e.marker && (e.tx == nil || e.tx.commit)
}

func (p *partition) add(tx *transaction, e entry) {
	e.tx = tx
	if tx != nil && !e.marker && !slices.Contains(tx.parts, p) {
		tx.parts = append(tx.parts, p)
		p.open = append(p.open, opened{tx, len(p.log)})
	}
	p.log = append(p.log, e)
}

// producer is a transactional id at the coordinator. Producer ids are 1000 + slot.
type producer struct {
	epoch   int16
	cur     *transaction
	ended   int16 // epoch of the last transaction that its owner ended, and how
	endedBy bool
}

const firstProducerID = 1000

type kafka struct {
	parts     []*partition
	positions []position // by input partition
	producers []producer // by slot
	group     *group
	commits   int // positions moved
	closed    bool
	broken    error // first violation
}

func (k *kafka) violated(format string, args ...any) {
	if k.broken == nil {
		k.broken = fmt.Errorf(format, args...)
	}
}

// initialise is InitProducerId: it aborts what is open and fences whoever had the id.
func (k *kafka) initialise(slot int) (int16, code) {
	p := &k.producers[slot]
	if p.cur != nil {
		if !p.cur.prepared {
			p.epoch++
			p.prepare(false)
		}
		return 0, concurrent
	}
	p.epoch++
	return p.epoch, ok
}

func (p *producer) prepare(commit bool) { p.cur.prepared, p.cur.commit = true, commit }

// open checks who asks and gives the transaction to add to.
func (k *kafka) open(slot int, epoch int16) (*transaction, code) {
	p := &k.producers[slot]
	switch {
	case p.epoch != epoch:
		return nil, staleEpoch
	case p.cur == nil:
		p.cur = &transaction{epoch: epoch}
	case p.cur.prepared:
		return nil, concurrent
	}
	return p.cur, ok
}

func (k *kafka) produce(slot int, epoch int16, part int, e entry) code {
	tx, c := k.open(slot, epoch)
	if c == ok {
		k.parts[part].add(tx, e)
	}
	return c
}

// commitOffsets is TxnOffsetCommit.
func (k *kafka) commitOffsets(slot int, epoch int16, member, gen int, at []pending) code {
	if c := k.group.valid(member, gen); c != ok {
		return c
	}
	tx, c := k.open(slot, epoch)
	if c != ok {
		return c
	}
	for _, o := range at {
		tx.offsets = slices.DeleteFunc(tx.offsets, func(p pending) bool { return p.part == o.part })
	}
	tx.offsets = append(tx.offsets, at...)
	return ok
}

// end is EndTxn. The answer goes out when the end is decided, before any marker.
func (k *kafka) end(slot int, epoch int16, commit bool) code {
	p := &k.producers[slot]
	switch {
	case p.epoch == epoch+1 && p.ended == epoch && p.endedBy == commit:
		return ok // asked again
	case p.epoch != epoch:
		return staleEpoch
	case p.cur == nil && commit:
		return invalidState
	case p.cur != nil && p.cur.prepared:
		return concurrent
	case p.cur != nil:
		p.prepare(commit)
	}
	p.ended, p.endedBy = epoch, commit
	p.epoch++
	return ok
}

// expire is the coordinator's sweep: a transaction older than its time-out is aborted and
// its producer fenced.
func (k *kafka) expire(slot int) {
	if p := &k.producers[slot]; p.cur != nil && !p.cur.prepared {
		p.epoch++
		p.prepare(false)
	}
}

// mark writes the next marker of a decided transaction; pick chooses which.
func (k *kafka) mark(slot int, pick func(int) int) {
	p := &k.producers[slot]
	tx := p.cur
	n := len(tx.parts)
	if len(tx.offsets) > 0 {
		n++
	}
	if n > 0 {
		if i := pick(n); i < len(tx.parts) {
			part := tx.parts[i]
			tx.parts = slices.Delete(tx.parts, i, i+1)
			part.log = append(part.log, entry{tx: tx, marker: true})
			part.open = slices.DeleteFunc(part.open, func(o opened) bool { return o.tx == tx })
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
}

// move makes committed positions visible. The epochs of a task form a chain.
func (k *kafka) move(at []pending) {
	for _, o := range at {
		was := &k.positions[o.part]
		switch {
		case o.at.prev != was.id:
			k.violated("epoch %s of %s follows %s, but %s was committed", o.at.id, k.parts[o.part].name, o.at.prev, was.id)
		case o.at.id.Counter != was.id.Counter+1:
			k.violated("epoch %s of %s follows %s", o.at.id, k.parts[o.part].name, was.id)
		case o.at.offset < was.offset || o.at.end < was.end:
			k.violated("position of %s goes back from %d to %d", k.parts[o.part].name, was.offset, o.at.offset)
		case k.closed:
			k.violated("epoch %s of %s was committed after the timeline's end", o.at.id, k.parts[o.part].name)
		}
		*was = o.at
		k.commits++
	}
}

// fetchOffsets is OffsetFetch of one task's inputs, with RequireStable unless told not to.
func (k *kafka) fetchOffsets(inputs []int, requireStable bool) ([]position, code) {
	var out []position
	for _, i := range inputs {
		if requireStable {
			for s := range k.producers {
				if tx := k.producers[s].cur; tx != nil && slices.ContainsFunc(tx.offsets, func(o pending) bool { return o.part == i }) {
					return nil, unstable
				}
			}
		}
		out = append(out, k.positions[i])
	}
	return out, ok
}

// hanging says which transaction is not over.
func (k *kafka) hanging() error {
	for s := range k.producers {
		if tx := k.producers[s].cur; tx != nil {
			return fmt.Errorf("transaction of producer %d.%d hangs, decided: %t", firstProducerID+s, tx.epoch, tx.prepared)
		}
	}
	return nil
}
