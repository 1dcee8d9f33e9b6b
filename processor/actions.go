package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/epoch"
)

// do carries out one order of the epoch machine.
func (l *lane) do(a epoch.Action) {
	switch a := a.(type) {
	case epoch.Begin:
		l.doBegin()
	case epoch.Flush:
		l.doFlush(a.Tasks)
	case epoch.SendOffsets:
		l.doSendOffsets(a.Attempts)
	case epoch.EndCommit:
		l.doEndCommit()
	case epoch.EndAbort:
		l.doEndAbort()
	case epoch.Reinit:
		l.cfg.listener.inDoubt(l.index, l.reason)
		l.outside(func(ctx context.Context) func() {
			err := l.txn.reinit(ctx)
			return func() { l.initialised(err) }
		})
	case epoch.ReadControl:
		l.outside(func(ctx context.Context) func() {
			stop, err := l.timelineOver(ctx)
			return func() {
				if err != nil {
					l.giveUp(err)
					return
				}
				l.tell(epoch.ControlRead{Stop: stop})
			}
		})
	case epoch.FetchOffsets:
		tasks := a.Tasks
		l.outside(func(ctx context.Context) func() {
			got, err := l.fetchEpochs(ctx, tasks)
			return func() {
				if err != nil {
					l.giveUp(err)
					return
				}
				l.tell(epoch.Fetched{Epochs: got})
			}
		})
	case epoch.Settle:
		l.doSettle(a)
	case epoch.Restore:
		l.startRestore(a.Task)
	case epoch.Close:
		l.doClose(a)
	case epoch.Release:
		l.wanted, l.bracket = false, false
		l.group.client.AllowRebalance()
	case epoch.Exit:
		l.exited, l.clean = true, a.Clean
	default:
		panic(fmt.Sprintf("lane: unknown action %T", a))
	}
}

// verdictOf translates the judgement of a Kafka error for the machine. What is not
// definitely refused counts as unknown.
func verdictOf(err error) epoch.Verdict {
	if err == nil {
		return epoch.OK
	}
	if errors.Is(err, errReinitialised) {
		return epoch.Refused
	}
	switch judge(err) {
	case verdictFenced:
		return epoch.Fenced
	case verdictFencedInstance:
		return epoch.FencedForEver
	case verdictLost:
		return epoch.Lost
	case verdictAbort, verdictRetry, verdictFatal:
		return epoch.Refused
	default:
		return epoch.Unknown
	}
}

func (l *lane) note(err error) epoch.Verdict {
	v := verdictOf(err)
	if err != nil {
		l.reason = err.Error()
	}
	if v == epoch.FencedForEver {
		l.fatal = fmt.Errorf("instance %s: %w: %w", l.instance, ErrInstanceTaken, err)
	}
	return v
}

func (l *lane) deadline() (context.Context, context.CancelFunc) {
	return context.WithTimeout(l.ctx, l.cfg.transactionTimeout)
}

func (l *lane) doBegin() {
	ctx, cancel := l.deadline()
	defer cancel()
	l.txn.settled()
	if err := l.txn.begin(ctx); err != nil {
		v := l.note(err)
		if v == epoch.Refused {
			v = epoch.Unknown // a transaction that cannot begin needs a new producer
		}
		l.tell(epoch.BeginFailed{Verdict: v})
		return
	}
	l.work.began(l.now())
	l.started, l.records, l.processed, l.held, l.reason, l.failed = l.now(), recordCount{}, 0, 0, "", false
	l.tell(epoch.Began{ProducerID: l.txn.who.id, ProducerEpoch: l.txn.who.epoch})
}

func (l *lane) doFlush(tasks []offsets.Task) {
	ctx, cancel := l.deadline()
	defer cancel()
	failpoint("flush")
	for _, id := range tasks {
		if err := l.tasks[id].finish(ctx); err != nil {
			l.epochFailed(l.tasks[id], err)
			return
		}
	}
	if l.txn.sent == 0 {
		// Offsets alone would not end the transaction: the client sends EndTxn only when
		// something was produced.
		rec := l.txn.arena.record()
		rec.Topic, rec.Partition, rec.Timestamp = l.app.names.Epochs(), l.app.witness(tasks[0]), l.started
		rec.Value = l.txn.arena.copy([]byte{witnessVersion})
		l.txn.produce(ctx, rec, l.txn.promise(nil, nil))
	}
	failpoint("produce")
	var err error
	if !planted("commit before the flush") {
		err = l.txn.flush(ctx)
	}
	failpoint("flushed")
	if r := l.txn.refused(); r != nil {
		l.epochFailed(r.of, refusedAt(r.of.id, r.err))
		return
	}
	v := l.note(err)
	if v == epoch.Unknown || v == epoch.Lost {
		v = epoch.Refused // nothing is committed before EndTxn: abort, or find out why not
	}
	l.tell(epoch.Flushed{Verdict: v})
}

// witnessVersion is the value of the record that stands for an epoch without any other.
const witnessVersion = 1

func (l *lane) doSendOffsets(attempts []epoch.Attempt) {
	ctx, cancel := l.deadline()
	defer cancel()
	now := l.group.current()
	if !now.validUnder(l.lease) {
		l.reason = l.leaseText()
		l.tell(epoch.Sent{Verdict: epoch.Lost})
		return
	}
	var os []offset
	for _, a := range attempts {
		p, err := l.tasks[a.Task].positions(a.Epoch, a.Prev)
		if err != nil {
			l.note(err)
			l.tell(epoch.Sent{Verdict: epoch.Refused})
			return
		}
		os = append(os, p...)
	}
	failpoint("offsets")
	err := l.txn.sendOffsets(ctx, l.group.name, now, os)
	failpoint("offsets.sent")
	if planted("ignore fencing") {
		err = nil
	}
	v := verdictOf(err)
	if v == epoch.FencedForEver {
		// The other member with our instance id may be ourselves: the client has joined anew
		// since we looked. If it is a twin, the group says so itself, at the next poll.
		v, l.reason = epoch.Lost, err.Error()
	} else {
		v = l.note(err)
	}
	if v == epoch.Unknown {
		v = epoch.Refused // not committed without EndTxn
	}
	l.tell(epoch.Sent{Verdict: v})
}

func (l *lane) doEndCommit() {
	ctx, cancel := l.deadline()
	defer cancel()
	failpoint("end")
	err := l.txn.commit(ctx)
	failpoint("ended")
	v := l.note(err)
	if v == epoch.Refused || v == epoch.Lost {
		v = epoch.Unknown // the only answer that says committed is nil; all others are asked for
	}
	if planted("take an unknown end for a commit") {
		v = epoch.OK
	}
	l.tell(epoch.Ended{Verdict: v})
}

func (l *lane) doEndAbort() {
	ctx, cancel := l.deadline()
	defer cancel()
	if l.reason != "" {
		var n recordCount
		for _, t := range l.tasks {
			n.add(t.records)
		}
		l.cfg.listener.aborted(l.index, n, l.reason)
		l.stats.aborts.Add(1)
	}
	err := l.txn.abort(ctx)
	v := epoch.OK
	if err != nil {
		reason := l.reason
		if v = l.note(err); v == epoch.Refused || v == epoch.Lost {
			v = epoch.Unknown
		}
		l.reason = reason + "; then " + l.reason
	}
	l.tell(epoch.Aborted{Verdict: v})
}

// initialised reports a new producer. Without one the lane cannot go on.
func (l *lane) initialised(err error) {
	if err == nil {
		l.tell(epoch.ProducerReady{})
		return
	}
	l.giveUp(err)
}

// giveUp ends the lane without an answer to what was in doubt. The next owner, or the next
// start, asks Kafka again; nothing undecided was written here.
func (l *lane) giveUp(err error) {
	if l.stopping && l.ctx.Err() != nil {
		err = &Error{What: fmt.Sprintf("stopped with an epoch undecided: no answer for %s (%v)", l.stopLimit(), l.reason),
			Where: fmt.Sprintf("lane %d", l.index), Fix: "nothing is lost: the next start asks Kafka what became of it", Err: ErrUnreachable}
	}
	l.fatal = err
	l.exited, l.clean = true, false
}

// fetchEpochs reads the stable epoch ids beside the positions of tasks. A task whose
// offsets are missing or disagree is left out, which makes the machine close it.
func (l *lane) fetchEpochs(ctx context.Context, tasks []offsets.Task) (map[offsets.Task]offsets.EpochID, error) {
	out := map[offsets.Task]offsets.EpochID{}
	for _, t := range tasks {
		for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			got, err := fetchCommitted(ctx, l.group.client, l.app, t)
			if err == nil {
				if id, err := epochOf(l.app, got, t); err == nil {
					out[t] = id
				} else {
					l.cfg.listener.warn("compare positions", err)
				}
				break
			}
			if errors.Is(err, ErrPosition) {
				l.cfg.listener.warn("compare positions", err)
				break
			}
			if v := judge(err); v == verdictFatal || ctx.Err() != nil {
				return nil, err
			}
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(pause):
			}
		}
	}
	return out, nil
}

// doSettle carries out the epoch's fate for one task.
func (l *lane) doSettle(a epoch.Settle) {
	t := l.tasks[a.Attempt.Task]
	if t == nil {
		return
	}
	switch a.Outcome {
	case epoch.Committed:
		n := t.records
		t.adopt(a.Attempt.Epoch)
		l.settleCut(t, true)
		l.stats.committed(n, l.started, l.now())
		l.records.add(n)
		failpoint("apply")
		for _, s := range t.stores {
			if err := s.Apply(); err != nil {
				l.stopNow(t, fmt.Errorf("write state of task %s: %w", t.id, err))
			}
		}
		l.epochCommitted()
	case epoch.RolledBack, epoch.Dropped:
		if !l.failed {
			l.failed = true
			l.pace.failed(l.processed, l.now())
		}
		t.rollback()
		l.settleCut(t, false)
	}
}

// epochCommitted counts the epoch once, when its last task is settled.
func (l *lane) epochCommitted() {
	for _, other := range l.tasks {
		if other.touched {
			return
		}
	}
	l.stats.commits.Add(1)
	l.pace.committed()
	l.cfg.listener.committed(CommittedInfo{
		Lane: l.index, Records: l.records.source, Internal: l.records.internal, Bytes: l.txn.bytes, Changelog: l.txn.ends,
		Took: l.now().Sub(l.started), Ending: l.now().Sub(l.ending), Cuts: l.cutWork.tasks, CutWork: l.cutWork.took,
	})
}

func (l *lane) doClose(a epoch.Close) {
	if r := l.restoring[a.Task]; r != nil {
		r.cancel()
		delete(l.restoring, a.Task)
	}
	gone := a.Reason == epoch.ReasonRevoked || a.Reason == epoch.ReasonLost || a.Reason == epoch.ReasonStopped
	if gone {
		l.waitsNoMore(a.Task)
		delete(l.rewinds, a.Task)
	}
	if !gone {
		l.rewinds[a.Task] = true
	}
	t := l.tasks[a.Task]
	if t == nil {
		return
	}
	if t.cut.member != nil {
		l.tellCuts(checkpoint.Went{Task: t.id})
	}
	delete(l.tasks, a.Task)
	l.sortTasks()
	l.pause(t)
	for _, s := range t.stores {
		if err := s.Close(l.ctx, a.Reason == epoch.ReasonStopped); err != nil {
			l.cfg.listener.warn("close state of task "+a.Task.String(), err)
		}
	}
	if a.Reason != epoch.ReasonFailed {
		l.cfg.listener.closed(a.Task, reasons[a.Reason])
		return
	}
	why := reasons[a.Reason]
	if failoverOf(t.stop.cause) != nil {
		why = "failover"
	}
	l.cfg.listener.closed(a.Task, why)
	l.taskFailed(a.Task, t.stop.cause)
}

// pause keeps the client from fetching for a task that does not run here; its buffered
// records are dropped with it.
func (l *lane) pause(t *runningTask) {
	ps := map[string][]int32{}
	for _, in := range t.inputs {
		if l.owned[in.topicPartition] {
			ps[in.Topic] = append(ps[in.Topic], in.Partition)
		}
	}
	if len(ps) > 0 {
		l.group.client.PauseFetchPartitions(ps)
	}
}

// resume starts fetching. After a restore in place the client stands further on than the
// position and is put back; else it starts at the position by itself. A partition that it
// has given up it cannot be put back to.
func (l *lane) resume(t *runningTask) {
	for _, in := range t.inputs {
		if err := l.unread[in.topicPartition]; err != nil {
			l.restart(fmt.Errorf("read %s: %w", in.topicPartition, err))
		}
	}
	ps := map[string][]int32{}
	at := map[string]map[int32]kgo.EpochOffset{}
	for i, in := range t.inputs {
		ps[in.Topic] = append(ps[in.Topic], in.Partition)
		if at[in.Topic] == nil {
			at[in.Topic] = map[int32]kgo.EpochOffset{}
		}
		at[in.Topic][in.Partition] = kgo.EpochOffset{Epoch: -1, Offset: t.ledger.Span(i).Committed}
	}
	if l.rewinds[t.id] {
		delete(l.rewinds, t.id)
		l.group.client.SetOffsets(at)
	}
	l.group.client.ResumeFetchPartitions(ps)
}

// closeAll releases what is left when the lane ends.
func (l *lane) closeAll(cancel context.CancelFunc) {
	cancel()
	l.helpers.Wait()
	for _, e := range l.inbox.drain() {
		if r, ok := e.(taskRestored); ok {
			closeStores(r.stores)
		}
	}
	for _, t := range l.tasks {
		t.rollback()
		closeStores(t.stores)
	}
	l.txn.close()
}
