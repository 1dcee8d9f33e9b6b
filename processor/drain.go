package processor

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/processor/internal/epoch"
)

// A drain ends the time of a timeline. The request for it stays in the control topic, so that
// it holds for every worker, also for one that starts later, and nobody remembers anything:
//
//   - a task with sources reads no more of them and sets their time to the end, in an epoch;
//   - whoever writes a repartition topic says so there, behind all that it has sent;
//   - a loop ends when nothing is left in it, see loops.go;
//   - when all inputs of a task are at the end so is the task: its windows have fired;
//   - each task commits its time beside its positions, where the coordinator looks; when
//     all are at the end nothing is on its way, and it triggers the cut of the stop.

// ended says whether the task's time has.
func (t *runningTask) ended() bool { return t.run.Watermark() == offsets.EndOfTime }

// leaves says whether an input is a source that is not read any more.
func (t *runningTask) leaves(input int) bool {
	if t.inputs[input].internal || t.id == t.lane.app.controlTask() {
		return false
	}
	return t.lane.control.drains.Load() || t.run.InputWatermark(input) == offsets.EndOfTime
}

// endsNow says whether the time of an input ends, of itself: that of a source, or of a loop that
// is empty.
func (t *runningTask) endsNow(input int) bool {
	return t.leaves(input) || t.inputs[input].loop && t.lane.control.quiet.Load()
}

// drain ends the time of the sources of the lane's tasks, if the timeline is drained, and that of
// loops. It needs an epoch: windows fire.
func (l *lane) drain() {
	if !l.control.drains.Load() {
		return
	}
	for _, id := range slices.Clone(l.order) {
		t := l.tasks[id]
		if t == nil || t.stop != nil || t.cut.last || !t.hasInputToEnd() {
			continue
		}
		if l.machine.Phase() == epoch.Idle && l.leaseHolds() {
			l.tell(epoch.Wanted{})
		}
		if l.machine.Phase() != epoch.Open {
			return
		}
		l.touch(t)
		if err := t.endInputs(); err != nil {
			l.userFailed(t, err)
			return
		}
	}
}

func (t *runningTask) hasInputToEnd() bool {
	for i := range t.inputs {
		if t.endsNow(i) && t.run.InputWatermark(i) != offsets.EndOfTime {
			return true
		}
	}
	return false
}

// endInputs leaves what was read of the sources and not processed to whoever comes after, and
// sets their time to the end, and that of empty loops. If the epoch is aborted it is done
// again; the records of that epoch are processed before, or left, too.
func (t *runningTask) endInputs() error {
	failpoint("drain")
	rest := slices.DeleteFunc(t.queue[t.read:], func(q polled) bool { return t.leaves(int(q.input)) })
	t.queue, t.ahead = t.queue[:t.read+len(rest)], t.read
	for i := range t.inputs {
		if !t.endsNow(i) {
			continue
		}
		if err := t.run.EndInput(i); err != nil {
			return err
		}
	}
	return nil
}

// drainLookEvery is how often the coordinator looks how far a drain is.
const drainLookEvery = time.Second

// drainLook is the coordinator's look at how far a drain is.
type drainLook struct {
	says  notice // that loops are empty
	last  int64  // ms
	under atomic.Bool
}

// lookAtDrain tells the machine when the time of every task has ended, and nothing goes round in
// loops any more. Before that it tells the tasks when loops are empty.
func (c *coordinator) lookAtDrain(now int64) {
	d, l := &c.drain, c.task.lane
	if !c.machine.Log().Draining() || now-d.last < drainLookEvery.Milliseconds() || d.under.Load() || d.says.record != nil {
		return
	}
	d.last = now
	d.under.Store(true)
	ends := l.app.hasLoops() && !c.state.Quiet(l.app.names.Timeline) // what is looked for is the end of loops
	l.helpers.Go(func() {
		defer d.under.Store(false)
		ctx, cancel := context.WithTimeout(l.ctx, l.cfg.transactionTimeout)
		defer cancel()
		over, err := l.drained(ctx, ends)
		if err != nil && l.ctx.Err() == nil {
			l.cfg.listener.warn("look how far the drain is", err)
		}
		switch {
		case over && ends:
			l.inbox.push(loopsEmpty{})
		case over:
			l.inbox.push(coordinatorFact{fact: checkpoint.Drained{}})
		}
	})
}

// drained says whether every task of the plan has committed that its time has ended, but for those
// that wait for loops if it is these that are to end; and whether nothing is on its way in loops.
func (l *lane) drained(ctx context.Context, ends bool) (bool, error) {
	got, err := fetchCommitted(ctx, l.group.client, l.app, l.app.planTasks()...)
	if planted("take the savepoint before time has ended") {
		return true, nil
	}
	if isUnstable(err) {
		return false, nil // an epoch is open
	}
	if err != nil {
		return false, err
	}
	if !l.app.timeEnded(got, ends) {
		return false, nil
	}
	if !l.app.hasLoops() || ends && planted("end loops with records in them") || !ends && planted("leave what windows send at the end") {
		return true, nil
	}
	busy, err := l.onTheWay(ctx, got)
	return !busy && err == nil, err
}

// drainedError refuses to start an application whose time has ended.
func drainedError(application string, k control.Complete) error {
	return &Error{What: fmt.Sprintf("it was drained: its time has ended with savepoint %s, cut %d, and whatever it read now would be late", k.Request(), k.ID),
		Where: "application " + application, Err: ErrDrained,
		Fix: fmt.Sprintf("start it from a savepoint or checkpoint that was taken before the drain, with --from; or from %s with --from and --allow-drained, if windows that have fired may fire again for records that come later", k.Path)}
}
