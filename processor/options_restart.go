package processor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-stream/weir/processor/internal/restart"
)

// Strategy says whether, and when, a task that failed is tried again. The strategies, their
// parameters and defaults are those of Flink. Failures that come before the next try are no
// new ones. The count is kept by the worker: a task that moves to another one starts there
// with none.
type Strategy struct{ settings restart.Settings }

// Backoff are the parameters of ExponentialDelay.
type Backoff struct {
	Initial, Max time.Duration // of the pauses. Default: 1 s, 1 min
	Multiplier   float64       // of a pause over the one before. Default: 1.5
	Jitter       float64       // part of a pause that chance adds or takes, within Initial and Max. Default: 0.1
	ResetAfter   time.Duration // time without a failure after which pauses begin at Initial again. Default: 1 h
	Attempts     int           // tries until then; 0: without limit, the default
}

// ExponentialDelay tries again after pauses that grow. change gets the defaults:
//
//	processor.ExponentialDelay(func(b *processor.Backoff) { b.Max = 5 * time.Minute })
func ExponentialDelay(change ...func(*Backoff)) Strategy {
	s := restart.Default(restart.ExponentialDelay)
	b := Backoff{
		Initial: ofMillis(s.Delay), Max: ofMillis(s.MaxDelay), Multiplier: s.Multiplier, Jitter: s.Jitter,
		ResetAfter: ofMillis(s.ResetAfter), Attempts: s.Attempts,
	}
	for _, f := range change {
		f(&b)
	}
	s.Delay, s.MaxDelay, s.ResetAfter = b.Initial.Milliseconds(), b.Max.Milliseconds(), b.ResetAfter.Milliseconds()
	s.Multiplier, s.Jitter, s.Attempts = b.Multiplier, b.Jitter, b.Attempts
	return Strategy{s}
}

// FixedDelay tries again so many times, each after the same pause. The count is never taken
// back.
func FixedDelay(attempts int, delay time.Duration) Strategy {
	return Strategy{restart.Settings{Kind: restart.FixedDelay, Attempts: attempts, Delay: delay.Milliseconds()}}
}

// FailureRate tries again, after the same pause, until there are more failures than that
// within the interval.
func FailureRate(failures int, interval, delay time.Duration) Strategy {
	return Strategy{restart.Settings{Kind: restart.FailureRate, Failures: failures, Interval: interval.Milliseconds(), Delay: delay.Milliseconds()}}
}

// NoRestart gives up at the first failure.
func NoRestart() Strategy { return Strategy{restart.Default(restart.None)} }

func ofMillis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

func (s Strategy) name() string { return string(s.settings.Kind) }

// String is the strategy with its parameters, under the names of Flink's configuration:
//
//	fixed-delay,attempts=3,delay=10s
func (s Strategy) String() string {
	text := string(s.settings.Kind)
	for _, p := range s.settings.Parameters() {
		text += "," + p.Name + "="
		switch v := p.Value.(type) {
		case *int64:
			text += ofMillis(*v).String()
		case *int:
			text += strconv.Itoa(*v)
		case *float64:
			text += strconv.FormatFloat(*v, 'g', -1, 64)
		}
	}
	return text
}

// ParseStrategy reads a strategy from what String writes. A parameter that is not there has
// its default.
func ParseStrategy(text string) (Strategy, error) {
	name, rest, more := strings.Cut(text, ",")
	kind := restart.Kind(name)
	if !slices.Contains(restart.Kinds, kind) {
		return Strategy{}, fmt.Errorf("restart strategy %q: known are %v", name, restart.Kinds)
	}
	s := restart.Default(kind)
	if !more {
		return Strategy{s}, nil
	}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(part, "=")
		var known []string
		found := false
		for _, p := range s.Parameters() {
			known = append(known, p.Name)
			if p.Name != key {
				continue
			}
			found = true
			if err := parseParameter(p, value); err != nil {
				return Strategy{}, fmt.Errorf("restart strategy %s: %s=%s: %w", name, key, value, err)
			}
		}
		if !found {
			return Strategy{}, fmt.Errorf("restart strategy %s has no parameter %q: known are %v", name, key, known)
		}
	}
	return Strategy{s}, nil
}

func parseParameter(p restart.Parameter, value string) (err error) {
	switch to := p.Value.(type) {
	case *int64:
		var d time.Duration
		if d, err = time.ParseDuration(value); err != nil {
			return errors.New("want a duration such as 10s")
		}
		*to = d.Milliseconds()
	case *int:
		if *to, err = strconv.Atoi(value); err != nil {
			return errors.New("want a whole number")
		}
	case *float64:
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return errors.New("want a number such as 1.5")
		}
	}
	return nil
}

// RestartStrategy says when a task that failed is tried again. An error that trying again
// does not heal ends the worker under every strategy: one that topology.NonRetriable has
// marked, and what says that committed positions or state are gone. Default:
// ExponentialDelay().
//
// When a task is given up, the worker stops as if it had been asked to, with everything
// that is done committed, and Run returns ErrGaveUp: a task that nobody runs would hold up
// all that wait for it, without a word. Other workers take its tasks over when its session
// ends, and end likewise if the task fails there.
func RestartStrategy(s Strategy) Option { return set(func(c *config) { c.restart = s }) }

// FailoverScope is what is closed and restored when a task fails.
type FailoverScope uint8

const (
	// FailoverRegion: the task alone. All that tasks hand to each other lies in topics, so no
	// other task has lost anything, however they are connected.
	FailoverRegion FailoverScope = iota
	// FailoverFull: all tasks that the worker runs. They end their epoch, which is committed,
	// and start again together from what is committed, after one pause; their failures count as
	// those of one. It is for functions that share something in the process. Tasks on other
	// workers go on.
	FailoverFull
)

func (f FailoverScope) String() string {
	if f == FailoverFull {
		return "full"
	}
	return "region"
}

// Failover says what is restored when a task fails. Default: FailoverRegion.
func Failover(scope FailoverScope) Option { return set(func(c *config) { c.failover = scope }) }

func (c *config) checkRestart() (errs []error) {
	for _, m := range c.restart.settings.Check() {
		errs = append(errs, &Error{What: fmt.Sprintf("RestartStrategy %s: %s", c.restart.settings.Kind, m.What), Where: "options", Fix: m.Fix})
	}
	if c.failover > FailoverFull {
		errs = append(errs, &Error{What: fmt.Sprintf("Failover is %d", c.failover), Where: "options", Fix: "use FailoverRegion or FailoverFull"})
	}
	return errs
}
