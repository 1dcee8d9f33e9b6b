package processor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/epoch"
	"github.com/weir-stream/weir/processor/internal/restart"
)

// failures knows for all lanes of a worker how often tasks have failed, and what becomes of
// them. It outlives lanes that begin anew, and tasks that move from one lane to another.
type failures struct {
	strategy Strategy
	scope    FailoverScope
	began    time.Time
	stop     context.CancelFunc // ends the worker

	mu struct {
		sync.Mutex
		of     map[offsets.Task]*restart.History
		lanes  map[*inbox]bool
		gaveUp error
	}
}

func newFailures(cfg *config, stop context.CancelFunc) *failures {
	f := &failures{strategy: cfg.restart, scope: cfg.failover, began: time.Now(), stop: stop}
	f.mu.of, f.mu.lanes = map[offsets.Task]*restart.History{}, map[*inbox]bool{}
	return f
}

// allTasks has the history of those that fail as one.
var allTasks = offsets.Task{Sub: -1, Partition: -1}

// decide says what becomes of a task that failed, and when it is tried again. Times are
// counted by the monotonic clock: one that is set back must not make a pause longer.
func (f *failures) decide(t offsets.Task, cause error, now time.Time) (d restart.Decision, at time.Time) {
	if f.scope == FailoverFull {
		t = allTasks
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.mu.of[t]
	if h == nil {
		h = new(restart.History)
		f.mu.of[t] = h
	}
	d = h.Failed(f.strategy.settings, now.Sub(f.began).Milliseconds(), rand.Float64())
	d.Retry = d.Retry && !hopeless(cause)
	return d, f.began.Add(ofMillis(d.At))
}

// join makes failures of other lanes known to one.
func (f *failures) join(in *inbox) (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.lanes[in] = true
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.mu.lanes, in)
	}
}

// failOver tells every lane to close its tasks and restore them later.
func (f *failures) failOver(e *failedOver) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for in := range f.mu.lanes {
		in.push(e)
	}
}

// giveUp ends the worker as a stop does: all lanes commit what is done.
func (f *failures) giveUp(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.gaveUp == nil {
		f.mu.gaveUp = err
	}
	f.stop()
}

// err is why the worker has ended itself.
func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.gaveUp
}

// failedOver is why a task is closed that has not failed itself.
type failedOver struct {
	first FailedInfo // the failure
	at    time.Time  // of the next try, of all
}

func (e *failedOver) Error() string {
	return fmt.Sprintf("closed because task %s failed: %v", e.first.Task, e.first.Err)
}

func (e *failedOver) Unwrap() error { return e.first.Err }

// taskFailed asks the strategy about a task that does not run here any more, or could not
// be restored.
func (l *lane) taskFailed(t offsets.Task, cause error) {
	if over := failoverOf(cause); over != nil {
		l.waits(t, over.first.Attempt, over, over.at)
		return
	}
	now := l.now()
	d, at := l.failures.decide(t, cause, now)
	strategy := l.failures.strategy
	if !d.Retry {
		l.cfg.listener.gaveUp(GaveUpInfo{t, cause, d.Attempt, strategy.name()})
		l.failures.giveUp(gaveUp(t, cause, d.Attempt, strategy))
		return
	}
	info := FailedInfo{t, cause, d.Attempt, max(at.Sub(now), 0), strategy.name()}
	l.cfg.listener.failed(info)
	l.waits(t, d.Attempt, cause, at)
	if l.failures.scope == FailoverFull {
		l.failures.failOver(&failedOver{info, at})
	}
}

// failoverOf is the failure of another task that is the cause, or nil.
func failoverOf(cause error) *failedOver {
	var over *failedOver
	errors.As(cause, &over)
	return over
}

// failOver closes the tasks of the lane, which end the open epoch first. Those that wait
// already wait as long as the others; those that are being restored do just that.
func (l *lane) failOver(e *failedOver) {
	for _, id := range l.order {
		if t := l.tasks[id]; t.stop == nil {
			l.stopNow(t, e)
		}
	}
	for t, r := range l.retries {
		if r.at.Before(e.at) {
			l.waits(t, e.first.Attempt, e, e.at)
		}
	}
}

// gaveUp is what Run returns about a task that is not tried again.
func gaveUp(t offsets.Task, cause error, attempt int, s Strategy) error {
	e := &Error{Where: "task " + t.String(), Err: errors.Join(ErrGaveUp, cause),
		Fix: "mend the cause and start again: the task goes on where it stopped, and nothing is lost"}
	text := cause.Error()
	var known *Error
	if errors.As(cause, &known) && known.Fix != "" {
		text, e.Fix = strings.TrimSuffix(text, "; "+known.Fix), known.Fix
	}
	e.What = fmt.Sprintf("given up at failure %d by %s: %s", attempt, s, text)
	if hopeless(cause) {
		e.What = "given up, as trying again does not help: " + text
	}
	return e
}

// retry is a task that waits for its next try.
type retry struct {
	at   time.Time
	note RetryNote
}

// waits makes a task wait for its next try.
func (l *lane) waits(t offsets.Task, attempt int, cause error, at time.Time) {
	since := l.now()
	l.retries[t] = retry{at, RetryNote{
		Worker: l.instance, Since: since, Told: since, Next: at, Attempt: int64(attempt), Strategy: l.failures.strategy.name(), Cause: cause.Error(),
	}}
	l.publish(t.String()+retryKey, t, l.retries[t].note.Append(nil))
}

// waitsNoMore: the task is tried again, or taken away.
func (l *lane) waitsNoMore(t offsets.Task) {
	if _, ok := l.retries[t]; ok {
		delete(l.retries, t)
		l.publish(t.String()+retryKey, t, nil)
	}
}

// tickRetries tries tasks again whose time has come, and says of the others that they wait.
func (l *lane) tickRetries(now time.Time) {
	for t, r := range l.retries {
		switch {
		case l.tasks[t] != nil || l.restoring[t] != nil:
		case !now.Before(r.at):
			l.tell(epoch.Retry{Task: t}) // its restore ends the waiting
		case now.Sub(r.note.Told) >= noteEvery:
			r.note.Told = now
			l.retries[t] = r
			l.publish(t.String()+retryKey, t, r.note.Append(nil))
		}
	}
}
