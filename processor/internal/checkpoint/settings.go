package checkpoint

import (
	"errors"
	"fmt"
)

const (
	second = 1000 // ms
	minute = 60 * second

	// shortest interval and timeout; Flink's bounds.
	shortest = 10
	// Unlimited failures are tolerable.
	Unlimited = -1
)

// Settings are those of Flink's execution.checkpointing.* that decide something here. Times in ms.
type Settings struct {
	// Interval from one periodic checkpoint to the next (.interval). 0: only what is asked for.
	Interval int64
	// Timeout after which a cut that is not complete is declined (.timeout).
	Timeout int64
	// MinPause from the end of a cut, complete or declined, to the next periodic
	// checkpoint (.min-pause).
	MinPause int64
	// Tolerable is how many checkpoints in a row may fail before that is told as Fail
	// (.tolerable-failed-checkpoints). 0: the first failure is; Unlimited: none is.
	Tolerable int
	// Retained is how many completed checkpoints are kept (.num-retained). Savepoints are the user's.
	Retained int
}

// Defaults are Flink's but for two: checkpoints are on, and three are kept. And no number of failures
// restarts the application: here a restart never needs a checkpoint, and heals no object store.
func Defaults() Settings {
	return Settings{Interval: minute, Timeout: 10 * minute, Tolerable: Unlimited, Retained: 3}
}

// Validate says everything that is wrong with the settings, alone and together.
func (s Settings) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("checkpoint settings: "+format, args...))
	}
	switch {
	case s.Interval < 0:
		refuse("interval of %d ms: want 0 (no periodic checkpoints) or at least %d ms", s.Interval, shortest)
	case s.Interval > 0 && s.Interval < shortest:
		refuse("interval of %d ms is shorter than %d ms: the job would do nothing else", s.Interval, shortest)
	}
	if s.Timeout < shortest {
		refuse("timeout of %d ms is shorter than %d ms: no checkpoint could complete", s.Timeout, shortest)
	}
	switch {
	case s.MinPause < 0:
		refuse("minimum pause of %d ms is negative", s.MinPause)
	case s.MinPause > 0 && s.Interval == 0:
		refuse("minimum pause of %d ms without an interval: it delays periodic checkpoints only, and those are off", s.MinPause)
	}
	switch {
	case s.Tolerable < Unlimited:
		refuse("%d tolerable failures: want %d (unlimited) or more", s.Tolerable, Unlimited)
	case s.Tolerable > 0 && s.Interval == 0:
		refuse("%d tolerable failures without an interval: who asks for a checkpoint is told of its failure; want 0 or %d (unlimited)", s.Tolerable, Unlimited)
	}
	if s.Retained < 1 {
		refuse("%d retained checkpoints: the last completed one is always kept, want 1 or more", s.Retained)
	}
	return errors.Join(errs...)
}
