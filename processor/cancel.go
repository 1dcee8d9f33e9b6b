package processor

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// errAtLeastOnce is said at the start to who asks for less than there is.
var errAtLeastOnce = errors.New("at-least-once is asked for, exactly-once is given, at the same cost: nothing is aligned that it could save")

// discarding is how a lane ends that has the coordinator of an application which was stopped as
// a whole, if no checkpoint is to outlive it: it goes on until the control topic says that
// they are dropped, and their objects are deleted.
//
// What is dropped by then and not deleted the next start deletes, as ever. What is not dropped,
// because the worker was killed, is as good as before.
type discarding struct {
	wanted func() bool // the application was stopped, and its checkpoints are to go
	begun  *coordinator
	until  time.Time // it is given up then
}

// discards says whether the lane goes on for that, although it is to stop.
func (l *lane) discards() bool {
	c := l.coordinator()
	if c == nil || c.gone() || !l.discard.wanted() {
		return false
	}
	now := l.now()
	if l.discard.until.IsZero() {
		l.discard.until = now.Add(l.cfg.transactionTimeout) // a third of what a stop may take
	}
	if now.After(l.discard.until) {
		l.cfg.listener.warn("delete the checkpoints of a stopped application", fmt.Errorf("not done within %s: what is dropped by now is deleted at the next start, the others are retained", l.cfg.transactionTimeout))
		return false
	}
	if l.discard.begun != c { // or it was restored meanwhile
		l.discard.begun, c.claims.all = c, true
		c.look()
		c.machine.Step(checkpoint.Stop{Discard: true})
		c.act()
	}
	return !c.gone()
}

// gone says whether the application has ended, and nothing is left of its checkpoints and of the
// savepoints that it has claimed.
func (c *coordinator) gone() bool { return c.discarded && len(c.state.Claimed()) == 0 }

// checkpointsFail tells of too many failures in a row, and makes them one of the control task
// where that is wanted.
func (l *lane) checkpointsFail(t *runningTask, f checkpoint.Fail) {
	l.cfg.listener.checkpointsFail(f.ID, f.Failures, f.Reason.String())
	if l.cfg.checkpoints.OnTooManyFailures != fail {
		return
	}
	l.stopNow(t, &Error{What: fmt.Sprintf("%d checkpoints in a row have failed, %d are tolerable; the last is %d (%s): %s", f.Failures, f.Failures-1, f.ID, f.Reason, f.Why),
		Where: "checkpoints", Err: ErrCheckpointsFail, Fix: "see weir status for the cause; to process without them: OnTooManyFailures: report"})
}
