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
	// TolerableFailures in a row are not told as CheckpointsFail. Negative: any number. Default: none.
	TolerableFailures int
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
	if c.Compression != "" && c.Compression != string(snapshot.Zstd) && c.Compression != string(snapshot.None) {
		return &Error{What: fmt.Sprintf("compression of checkpoints is %q", c.Compression), Where: "options", Fix: "use zstd or none"}
	}
	if err := c.settings().Validate(); err != nil {
		return &Error{What: err.Error(), Where: "options", Fix: "see Checkpoints", Err: err}
	}
	return nil
}
