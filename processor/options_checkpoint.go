package processor

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// Checkpoints are consistent snapshots of all tasks, taken while they work: state as of one
// epoch of each task, and which records were on their way between them. The names are those
// of Flink's execution.checkpointing.*; the zero value of a field is its default.
type Checkpoints struct {
	// Dir is where they are kept: a directory that every worker sees under this name, or the
	// URL of an object store whose gocloud.dev/blob driver the program imports. Each
	// application has a place of its own below it. Default: none, and then no checkpoints.
	Dir string
	// SavepointDir is where savepoints go that are asked for without a path: the savepoint of a
	// request into <SavepointDir>/<application>/savepoints/<request>. Default: Dir.
	SavepointDir string
	// Interval from one checkpoint to the next. Negative: only what is asked for. Default: 1 min.
	Interval time.Duration
	// Timeout after which one that is not complete is given up. Default: 10 min.
	Timeout time.Duration
	// MinPause from the end of one to the next. Default: none.
	MinPause time.Duration
	// Mode is "exactly-once" or "at-least-once". Both are carried out as exactly-once: what
	// Flink's at-least-once saves is the alignment of barriers, and nothing is aligned here.
	// Default: exactly-once.
	Mode string
	// TolerableFailures in a row are not told as CheckpointsFail. Negative: any number. Default: none.
	TolerableFailures int
	// OnTooManyFailures is what happens when there are more: "report" tells the listener and the
	// log, and records are processed as ever: what a crash is recovered from is no checkpoint.
	// "fail", as in Flink, makes it a failure, ErrCheckpointsFail, of the task that coordinates:
	// RestartStrategy and Failover say what follows. Default: report.
	OnTooManyFailures string
	// OnCancel is what becomes of them when the application is stopped as a whole (weir stop, also
	// with a savepoint): "retain", or "delete". An end of workers by a signal is no such stop.
	// Default: retain.
	OnCancel string
	// Retained is how many complete ones are kept. Default: 3.
	Retained int
	// Full makes each stand alone. By default one shares with the one before what has not changed.
	Full bool
	// Compression of what is written: "zstd" or "none". Default: zstd.
	Compression string
}

// CheckpointInto takes checkpoints as c says.
func CheckpointInto(c Checkpoints) Option {
	return set(func(cfg *config) { cfg.checkpoints = c })
}

// AdjustCheckpoints changes what the options before it say: a deployment knows the place, the
// program the rest.
func AdjustCheckpoints(change func(*Checkpoints)) Option {
	return set(func(cfg *config) { change(&cfg.checkpoints) })
}

// The words of Checkpoints.
const (
	exactlyOnce = "exactly-once"
	atLeastOnce = "at-least-once"
	report      = "report"
	fail        = "fail"
	retain      = "retain"
	discard     = "delete"
)

// settings are those of the machine.
func (c Checkpoints) settings() checkpoint.Settings {
	s := checkpoint.Defaults()
	ms := func(to *int64, d time.Duration) {
		if d != 0 {
			*to = max(d, 0).Milliseconds()
		}
	}
	ms(&s.Interval, c.Interval)
	ms(&s.Timeout, c.Timeout)
	ms(&s.MinPause, c.MinPause)
	if c.Dir == "" {
		s.Interval, s.MinPause = 0, 0
	}
	s.Tolerable = max(c.TolerableFailures, checkpoint.Unlimited)
	if s.Interval == 0 {
		s.Tolerable = checkpoint.Unlimited
	}
	if c.Retained != 0 {
		s.Retained = c.Retained
	}
	return s
}

// validate refuses what does not go together, with the reason.
func (c Checkpoints) validate() error {
	periodic := c
	periodic.SavepointDir, periodic.Timeout, periodic.Compression = "", 0, "" // those are of savepoints, too
	if c.Dir == "" && periodic != (Checkpoints{}) {
		return &Error{What: fmt.Sprintf("checkpoints have settings (%+v) and no Dir", c), Where: "options", Fix: "name a directory that all workers see, or the URL of an object store"}
	}
	for _, w := range []struct{ what, word, one, other string }{
		{"compression of checkpoints", c.Compression, string(snapshot.Zstd), string(snapshot.None)},
		{"mode of checkpoints", c.Mode, exactlyOnce, atLeastOnce},
		{"what happens on too many failed checkpoints", c.OnTooManyFailures, report, fail},
		{"what becomes of checkpoints on a cancel", c.OnCancel, retain, discard},
	} {
		if w.word != "" && w.word != w.one && w.word != w.other {
			return &Error{What: fmt.Sprintf("%s is %q", w.what, w.word), Where: "options", Fix: fmt.Sprintf("use %s or %s", w.one, w.other)}
		}
	}
	if c.OnTooManyFailures == fail && (c.TolerableFailures < 0 || c.Interval < 0) {
		what := "any number of failed checkpoints is tolerable, so that there are never too many to fail of"
		if c.Interval < 0 {
			what = "checkpoints are taken on request only, and who asks is told of a failure: there are none to fail of"
		}
		return &Error{What: what, Where: "options", Fix: "set OnTooManyFailures to report, or an interval and a number of TolerableFailures"}
	}
	if err := c.settings().Validate(); err != nil {
		return &Error{What: err.Error(), Where: "options", Fix: "see Checkpoints", Err: err}
	}
	return nil
}
