package processor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// identity is a producer id and epoch: one attempt's signature on the log.
type identity struct {
	id    int64
	epoch int16
}

func (i identity) String() string { return fmt.Sprintf("%d.%d", i.id, i.epoch) }

// transaction is the producing half of a lane: one transactional client, one open
// transaction at a time. The lane's goroutine calls everything but the promises, which
// the client calls.
//
//	acked <= sent;  clean means acked == sent >= 1 and every acknowledgement carries who.
type transaction struct {
	name    string // transactional id
	timeout time.Duration
	make    func() (*kgo.Client, error)

	client *kgo.Client
	next   identity // what the next transaction must begin with
	who    identity // of the open transaction
	arena  *arena
	sent   int
	bytes  int64
	ends   int // changelog records sent

	mu struct {
		sync.Mutex
		attempt  int // guards against promises of an abandoned client
		answered int
		foreign  int   // acknowledgements with another identity (the client re-initialised inside)
		err      error // first failed promise
		refused  *refusedRecord
	}
}

// reinit replaces the client by a new one and initialises its producer id, which aborts or
// waits for whatever the old one had open: afterwards its outcome is decided. It tries
// until ctx ends.
func (t *transaction) reinit(ctx context.Context) error {
	t.close()
	cl, err := t.make()
	if err != nil {
		return fmt.Errorf("producer %s: %w", t.name, err)
	}
	t.client = cl
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		try, cancel := context.WithTimeout(ctx, t.timeout)
		id, epoch, err := cl.ProducerID(try)
		cancel()
		if err == nil {
			t.next = identity{id, epoch}
			return nil
		}
		if v := judge(err); v == verdictFatal || v == verdictFencedInstance {
			return fmt.Errorf("initialise transactional id %s: %w", t.name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("initialise transactional id %s: %w", t.name, errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
		// A client whose id failed for good never loads another one: take a new client.
		cl.Close()
		if cl, err = t.make(); err != nil {
			return fmt.Errorf("producer %s: %w", t.name, err)
		}
		t.client = cl
	}
}

// errReinitialised: the client took a new producer id on its own. What it had open was
// aborted, and a newer timeline may have been written meanwhile.
var errReinitialised = errors.New("the producer id changed outside a transaction's end")

// begin opens a transaction. The identity must be the one that the last reinit or end left
// behind; every other one means an initialisation that we did not see.
func (t *transaction) begin(ctx context.Context) error {
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("producer id of %s: %w", t.name, err)
	}
	if err := t.client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction of %s: %w", t.name, err)
	}
	id2, epoch2, err := t.client.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("producer id of %s: %w", t.name, err)
	}
	t.who = identity{id2, epoch2}
	if got := (identity{id, epoch}); got != t.next || t.who != t.next {
		return fmt.Errorf("begin a transaction of %s as %s, expected %s: %w", t.name, t.who, t.next, errReinitialised)
	}
	t.mu.Lock()
	t.mu.attempt++
	t.mu.answered, t.mu.foreign, t.mu.err, t.mu.refused = 0, 0, nil, nil
	t.mu.Unlock()
	if t.arena == nil {
		t.arena = new(arena)
	}
	t.sent, t.bytes, t.ends = 0, 0, 0
	return nil
}

// refusedRecord is one that the brokers will not take however often it is sent.
type refusedRecord struct {
	of  *runningTask
	err error
}

// refused is the first record of a task that the brokers do not take for what it is.
func (t *transaction) refused() *refusedRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.refused
}

// promise returns the callback for the records of the open transaction that a task sends, or
// the lane itself: nil. after, if not nil, sees each clean acknowledgement, one at a time.
func (t *transaction) promise(of *runningTask, after func(*kgo.Record)) func(*kgo.Record, error) {
	attempt, who := t.mu.attempt, t.who // written by this goroutine only
	return func(r *kgo.Record, err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.mu.attempt != attempt {
			return
		}
		t.mu.answered++
		switch {
		case err != nil:
			err := fmt.Errorf("produce to %s/%d: %w", r.Topic, r.Partition, err)
			if t.mu.err == nil {
				t.mu.err = err
			}
			if of != nil && t.mu.refused == nil && refusesRecords(err) {
				t.mu.refused = &refusedRecord{of, err}
			}
		case r.ProducerID != who.id || r.ProducerEpoch != who.epoch:
			t.mu.foreign++
		case after != nil:
			after(r)
		}
	}
}

// produce hands a record to the client. Its bytes must live in t.arena.
func (t *transaction) produce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	t.sent++
	t.bytes += int64(len(r.Key) + len(r.Value))
	t.client.Produce(ctx, r, promise)
}

// flush waits until every record is answered and says whether all answers were clean.
func (t *transaction) flush(ctx context.Context) error {
	if err := t.client.Flush(ctx); err != nil {
		return fmt.Errorf("flush %s: %w", t.name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.mu.err != nil:
		return t.mu.err
	case t.mu.foreign > 0:
		return fmt.Errorf("%d of %d acknowledgements of %s do not carry %s: %w", t.mu.foreign, t.sent, t.name, t.who, errReinitialised)
	case t.mu.answered != t.sent || t.sent == 0:
		return fmt.Errorf("flush %s: %d of %d records answered", t.name, t.mu.answered, t.sent)
	}
	return nil
}

// offset is one input position to commit.
type offset struct {
	topic     string
	topicID   [16]byte
	partition int32
	position  int64
	metadata  string
}

// lease is the membership under which records were read.
type lease struct {
	member     string
	generation int32
	instance   string
}

// sendOffsets adds positions to the open transaction, under the lease: a raw request,
// because the client's own commits everything polled instead of what was processed.
func (t *transaction) sendOffsets(ctx context.Context, group string, l lease, os []offset) error {
	if l.member == "" || l.generation < 0 {
		// Kafka does not fence a commit without member and generation.
		return fmt.Errorf("commit offsets of %s: no lease (member %q, generation %d)", group, l.member, l.generation)
	}
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("commit offsets of %s: %w", group, err)
	}
	if now := (identity{id, epoch}); now != t.who {
		return fmt.Errorf("commit offsets of %s as %s, began as %s: %w", group, now, t.who, errReinitialised)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = t.name, group
	req.ProducerID, req.ProducerEpoch = id, epoch
	req.MemberID, req.Generation, req.InstanceID = l.member, l.generation, &l.instance
	at := map[string]int{}
	for _, o := range os {
		i, ok := at[o.topic]
		if !ok {
			i = len(req.Topics)
			at[o.topic] = i
			rt := kmsg.NewTxnOffsetCommitRequestTopic()
			rt.Topic, rt.TopicID = o.topic, o.topicID
			req.Topics = append(req.Topics, rt)
		}
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = o.partition, o.position, &o.metadata
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return fmt.Errorf("commit offsets of %s: %w", group, err)
	}
	n := 0
	for i, rt := range resp.Topics {
		topic := rt.Topic
		if topic == "" && i < len(req.Topics) {
			topic = req.Topics[i].Topic // answers with topic ids do not say the name
		}
		for _, p := range rt.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("commit offset of %s/%d in %s: %w", topic, p.Partition, group, err)
			}
			n++
		}
	}
	if n != len(os) {
		return fmt.Errorf("commit offsets of %s: %d of %d positions answered", group, n, len(os))
	}
	return nil
}

// commit ends the transaction. nil means committed, because flush and sendOffsets
// succeeded before: the client sends the request when anything was produced.
func (t *transaction) commit(ctx context.Context) error {
	if err := t.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("commit transaction of %s: %w", t.name, err)
	}
	return t.learnNext(ctx)
}

// abort ends the transaction without effect.
func (t *transaction) abort(ctx context.Context) error {
	if err := t.client.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("abort transaction of %s: %w", t.name, err)
	}
	if err := t.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return fmt.Errorf("abort transaction of %s: %w", t.name, err)
	}
	if err := t.learnNext(ctx); err != nil {
		return err
	}
	// An end bumps the epoch by one, an abort of nothing leaves it. Anything else is an
	// initialisation that the client did on its own: the control topic must be read again.
	if t.next != t.who && t.next != (identity{t.who.id, t.who.epoch + 1}) {
		return fmt.Errorf("abort transaction of %s: now %s after %s: %w", t.name, t.next, t.who, errReinitialised)
	}
	return nil
}

func (t *transaction) learnNext(ctx context.Context) error {
	id, epoch, err := t.client.ProducerID(ctx)
	if err != nil {
		// The transaction has ended as asked; the next begin will find the client dead.
		t.next = identity{-1, -1}
		return nil
	}
	t.next = identity{id, epoch}
	return nil
}

// settled frees the epoch's memory. When promises are missing (the client was closed under
// them) the memory is left to the collector instead of being reused.
func (t *transaction) settled() {
	t.mu.Lock()
	whole := t.mu.answered == t.sent
	t.mu.attempt++
	t.mu.Unlock()
	if whole && t.arena != nil {
		t.arena.reset()
	} else {
		t.arena = nil
	}
	t.sent, t.bytes, t.ends = 0, 0, 0
}

// close drops the client; what it had open stays for the next initialisation to abort.
func (t *transaction) close() {
	if t.client != nil {
		t.client.Close()
		t.client = nil
	}
}
