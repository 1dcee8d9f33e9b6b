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

// drain ends the time of the sources of the lane's tasks, if the timeline is drained. It needs
// an epoch: windows fire.
func (l *lane) drain() {
	if !l.control.drains.Load() {
		return
	}
	for _, id := range slices.Clone(l.order) {
		t := l.tasks[id]
		if t == nil || t.stop != nil || t.cut.last || !t.hasSourceToEnd() {
			continue
		}
		if l.machine.Phase() == epoch.Idle && l.leaseHolds() {
			l.tell(epoch.Wanted{})
		}
		if l.machine.Phase() != epoch.Open {
			return
		}
		l.touch(t)
		if err := t.endSources(); err != nil {
			l.userFailed(t, err)
			return
		}
	}
}

func (t *runningTask) hasSourceToEnd() bool {
	for i := range t.inputs {
		if t.leaves(i) && t.run.InputWatermark(i) != offsets.EndOfTime {
			return true
		}
	}
	return false
}

// endSources leaves what was read of the sources and not processed to whoever comes after,
// and sets their time to the end. If the epoch is aborted it is done again; the records of
// that epoch are processed before, or left, too.
func (t *runningTask) endSources() error {
	failpoint("drain")
	rest := slices.DeleteFunc(t.queue[t.read:], func(q polled) bool { return t.leaves(int(q.input)) })
	t.queue, t.ahead = t.queue[:t.read+len(rest)], t.read
	for i := range t.inputs {
		if !t.leaves(i) {
			continue
		}
		if err := t.run.Stamped(i, t.id, offsets.EndOfTime, offsets.Heartbeat); err != nil {
			return err
		}
	}
	return nil
}

// drainLookEvery is how often the coordinator looks how far a drain is.
const drainLookEvery = time.Second

// drainLook is the coordinator's look at how far a drain is.
type drainLook struct {
	last  int64 // ms
	under atomic.Bool
}

// lookAtDrain tells the machine when the time of every task has ended.
func (c *coordinator) lookAtDrain(now int64) {
	d, l := &c.drain, c.task.lane
	if !c.machine.Log().Draining() || now-d.last < drainLookEvery.Milliseconds() || d.under.Load() {
		return
	}
	d.last = now
	d.under.Store(true)
	l.helpers.Go(func() {
		defer d.under.Store(false)
		ctx, cancel := context.WithTimeout(l.ctx, l.cfg.transactionTimeout)
		defer cancel()
		over, err := l.drained(ctx)
		if err != nil && l.ctx.Err() == nil {
			l.cfg.listener.warn("look how far the drain is", err)
		}
		if over {
			l.inbox.push(coordinatorFact{fact: checkpoint.Drained{}})
		}
	})
}

// drained says whether every task of the plan has committed that its time has ended.
func (l *lane) drained(ctx context.Context) (bool, error) {
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
	for _, p := range got {
		if p.metadata.Timeline != l.app.names.Timeline || p.metadata.Time != offsets.EndOfTime {
			return false, nil
		}
	}
	return true, nil
}

// drainedError refuses to start an application whose time has ended.
func drainedError(application string, k control.Complete) error {
	return &Error{What: fmt.Sprintf("it was drained: its time has ended with savepoint %s, cut %d, and whatever it read now would be late", k.Request(), k.ID),
		Where: "application " + application, Err: ErrDrained,
		Fix: fmt.Sprintf("start it from a savepoint or checkpoint that was taken before the drain, with --from; or from %s with --from and --allow-drained, if windows that have fired may fire again for records that come later", k.Path)}
}
