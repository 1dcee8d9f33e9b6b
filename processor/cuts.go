package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/processor/internal/epoch"
)

// taskCut is a running task's part in cuts; the control task has none.
type taskCut struct {
	member *checkpoint.Member // what it has taken
	take   uint64             // the cut that the closing epoch takes; 0: none
	ack    bool               // and acknowledges
	held   bool               // no record is processed until the task has taken a cut
	last   bool               // the cut that it has taken stops the application: nothing is processed behind it
}

// highest is what the open epoch commits as the highest cut taken.
func (c *taskCut) highest() uint64 {
	switch {
	case c.take != 0:
		return c.take
	case c.member != nil:
		return c.member.Cut()
	}
	return 0
}

// errCutFirst: the next record was sent behind a cut that the task has not taken. The state
// that the task gives to that cut must not hold any effect of it.
var errCutFirst = errors.New("a cut comes first")

// tellCuts tells the lane's machine of cuts a fact and carries out its orders.
func (l *lane) tellCuts(e checkpoint.Event) {
	l.cuts.Step(e)
	for _, a := range l.cuts.Ready() {
		switch a := a.(type) {
		case checkpoint.EndEpoch:
			l.cutDue = true // one that may be empty is asked for, too: see cutWanted
		case checkpoint.Take:
			t := l.tasks[a.Task]
			t.cut.take, t.cut.ack = a.ID, a.Ack
		case checkpoint.Hold:
			l.tasks[a.Task].cut.held = true
		case checkpoint.Resume:
			l.tasks[a.Task].cut.held = false
		case checkpoint.Upload:
			l.upload(l.tasks[a.Task], a.ID)
		case checkpoint.Abandon:
			l.uploads.abandon(a.ID)
		default:
			panic(fmt.Sprintf("lane: unknown action %T of cuts", a))
		}
	}
}

// seen turns a record of the control topic into what it means here.
func (l *lane) seen(e controlSeen) {
	if f := control.Fact(e.record); f != nil {
		l.tellCuts(checkpoint.Logged{Record: f})
	}
	switch r := e.record.(type) {
	case control.Trigger:
		for _, id := range l.order {
			l.tellMoved(l.tasks[id])
			l.holdLast(l.tasks[id])
		}
	case control.Declined:
		l.goOn()
	case control.Intent:
		l.overtaken(r)
	case control.Complete:
		if !e.stops {
			l.goOn()
		}
		if l.pinsTrim(r) {
			l.uploads.pinned(r) // what it needs is known when it is time to trim
		}
	}
}

// pinsTrim says whether repartition topics of this timeline are kept for the cut. A savepoint has
// copies.
func (l *lane) pinsTrim(k control.Complete) bool {
	return k.Timeline == l.app.names.Timeline && k.Kind == checkpoint.Checkpoint
}

// tellMoved lets the coordinator know, if the task came here after it had taken the undecided
// cut: it need not wait for who took it.
func (l *lane) tellMoved(t *runningTask) {
	if c, ok := l.cuts.Log().Undecided(); ok && t.cut.member != nil && t.cut.member.Cut() == c.ID {
		l.uploads.moved(t.id, c.ID)
	}
}

// holdLast ends the processing of a task that has taken a cut with which the application stops,
// until that is declined: what the savepoint does not have the outputs do not have either.
func (l *lane) holdLast(t *runningTask) {
	c, ok := l.cuts.Log().Undecided()
	if !ok || c.Kind != checkpoint.Savepoint || t.cut.member == nil || t.cut.member.Cut() != c.ID {
		return
	}
	if p, ok := l.control.savepoint(c.Request); ok && p.Request.Stop {
		t.cut.last = true
	}
}

// goOn lets all tasks process again: no cut stops this worker.
func (l *lane) goOn() {
	for _, t := range l.tasks {
		t.cut.last = false
	}
}

// cutWork is what the cuts that the ending epoch takes cost the lane.
type cutWork struct {
	tasks int // that take one
	took  time.Duration
}

// since adds the time since began.
func (c *cutWork) since(began time.Time) { c.took += time.Since(began) }

// cutWanted says whether an epoch is needed although no record waits: for a cut, or for what
// the coordinator has decided.
func (l *lane) cutWanted() bool {
	return l.cuts.CutWanted() || l.coordinator() != nil && l.coordinator().pending()
}

// closeWithCut tells that the open epoch ends, and makes it take the cuts that are due. All
// running tasks take part, those without a record, too.
func (l *lane) closeWithCut() {
	if l.machine.Phase() != epoch.Open {
		return
	}
	if c := l.coordinator(); c != nil && c.pending() {
		l.touch(c.task)
	}
	var touched []offsets.Task
	for _, id := range l.order {
		if t := l.tasks[id]; t.touched && t.cut.member != nil {
			touched = append(touched, id)
		}
	}
	l.cutDue = false
	began := time.Now()
	l.ending, l.cutWork = l.now(), cutWork{}
	l.tellCuts(checkpoint.Closing{Tasks: touched})
	for _, id := range l.order {
		if t := l.tasks[id]; t.cut.take != 0 {
			l.cutWork.tasks++
			l.touch(t)
		}
	}
	if l.cutWork.tasks > 0 {
		l.cutWork.since(began)
	}
}

func (l *lane) touch(t *runningTask) {
	if !t.touched {
		t.touched = true
		l.tell(epoch.Touched{Task: t.id})
	}
}

// settleCut tells the fate of the epoch for a task, after the task's own state has followed
// it: what a committed cut freezes is what the task has now.
func (l *lane) settleCut(t *runningTask, committed bool) {
	if t.cut.member == nil {
		return
	}
	if t.cut.take != 0 {
		defer l.cutWork.since(time.Now())
	}
	t.cut.take, t.cut.ack = 0, false
	if committed {
		l.tellCuts(checkpoint.Committed{Task: t.id})
		l.holdLast(t)
	} else {
		l.tellCuts(checkpoint.Aborted{Task: t.id})
	}
}

// acknowledge produces what the task says about the cut that the epoch takes. Its positions
// do not change any more.
func (t *runningTask) acknowledge(ctx context.Context) error {
	if !t.cut.ack {
		return nil
	}
	defer t.lane.cutWork.since(time.Now())
	m := control.Ack{Task: t.id, Cut: t.cut.take, Epoch: t.attempt(), Time: t.run.Watermark(), Wall: t.lane.now().UnixMilli()}
	for i, in := range t.inputs {
		at := t.ledger.Span(i).Processed
		if planted("acknowledge the positions before the epoch") {
			at = t.ledger.Span(i).Committed
		}
		m.Positions = append(m.Positions, control.Position{Topic: in.Topic, Partition: in.Partition, Offset: at})
		m.Times = append(m.Times, t.run.InputWatermark(i))
	}
	key, value, err := control.EncodeMessage(m)
	if err != nil {
		return fmt.Errorf("acknowledge cut %d: %w", m.Cut, err)
	}
	failpoint("cut.ack")
	txn := t.lane.txn
	rec := txn.arena.record()
	rec.Topic, rec.Key, rec.Value = t.lane.app.names.Acks(), txn.arena.copy(key), txn.arena.copy(value)
	rec.Timestamp = t.lane.started
	txn.produce(ctx, rec, txn.promise(t, nil))
	return nil
}

// attempt is the id of the open epoch, as the machine will name it.
func (t *runningTask) attempt() offsets.EpochID {
	who := t.lane.txn.who
	return offsets.EpochID{Counter: t.ledger.Epoch().Counter + 1, ProducerID: who.id, ProducerEpoch: who.epoch}
}

// upload freezes the state of a task as it is, at the end of the epoch that took the cut; it
// goes to the store in the background.
func (l *lane) upload(t *runningTask, id uint64) {
	failpoint("cut.taken")
	u := upload{task: t.id, cut: id, epoch: t.ledger.Epoch(), base: l.cutBase()}
	if c, ok := l.cuts.Log().Undecided(); ok && c.Kind == checkpoint.Savepoint {
		if p, ok := l.control.savepoint(c.Request); ok {
			u.to = &p
		} else {
			u.failed = fmt.Errorf("nobody has asked for savepoint %q", c.Request)
		}
	}
	for i, s := range t.stores {
		c, err := s.Cut()
		if err != nil {
			u.failed = fmt.Errorf("freeze store %s: %w", l.app.stores(t.id)[i].UID, err)
			break
		}
		u.stores = append(u.stores, storeCut{uid: l.app.stores(t.id)[i].UID, cut: c})
	}
	l.uploads.take(u)
}

// cutBase is the checkpoint that the undecided cut may build upon: the newest that was
// complete when it was triggered. A savepoint, or a full checkpoint, builds upon none.
func (l *lane) cutBase() uint64 {
	if c, ok := l.cuts.Log().Undecided(); !ok || c.Full || c.Kind == checkpoint.Savepoint || l.cfg.checkpoints.Full {
		return 0
	}
	for _, c := range slices.Backward(l.cuts.Log().Completed()) {
		if c.Kind == checkpoint.Checkpoint {
			return c.ID
		}
	}
	return 0
}

// unpinned is up to where what a task has committed may be deleted: a cut that is undecided,
// and every checkpoint that is kept, needs what was on its way when it was taken.
func (l *lane) unpinned(t *runningTask, tp topicPartition, committed int64) int64 {
	if t.cut.member == nil || planted("trim what a checkpoint needs") {
		return committed
	}
	if !l.cuts.MayTrim(t.id) {
		return 0
	}
	for _, k := range l.control.kept() {
		if !l.pinsTrim(k) {
			continue
		}
		pins, known := l.uploads.pinned(k)
		if !known {
			return 0
		}
		if at, ok := pins[tp]; ok {
			committed = min(committed, at)
		}
	}
	return committed
}
