package restart

import "fmt"

// Kind is the name of a strategy.
type Kind string

const (
	ExponentialDelay Kind = "exponential-delay"
	FixedDelay       Kind = "fixed-delay"
	FailureRate      Kind = "failure-rate"
	None             Kind = "none"
)

// Kinds are all strategies, the default first.
var Kinds = []Kind{ExponentialDelay, FixedDelay, FailureRate, None}

// Settings are a strategy with its parameters. Those of other strategies are not looked at.
type Settings struct {
	Kind Kind

	Attempts   int     // fixed-delay: in all; exponential-delay: before the back-off is reset, 0 without limit
	Delay      int64   // exponential-delay: the first one, and the least
	MaxDelay   int64   // exponential-delay
	Multiplier float64 // exponential-delay: of a delay over the one before
	Jitter     float64 // exponential-delay: part of a delay that chance adds or takes
	ResetAfter int64   // exponential-delay: time without failures after which delays begin anew
	Failures   int     // failure-rate: as many are put up with
	Interval   int64   // failure-rate: within this time
}

const (
	second = 1000
	minute = 60 * second
	hour   = 60 * minute
)

// Default is a strategy with the parameters that it has if nothing else is said.
func Default(k Kind) Settings {
	switch k {
	case ExponentialDelay:
		return Settings{Kind: k, Delay: second, MaxDelay: minute, Multiplier: 1.5, Jitter: 0.1, ResetAfter: hour}
	case FixedDelay:
		return Settings{Kind: k, Attempts: 1, Delay: second}
	case FailureRate:
		return Settings{Kind: k, Failures: 1, Interval: minute, Delay: second}
	}
	return Settings{Kind: k}
}

// Parameter is a setting under the name that Flink's configuration has for it. Value points
// into the settings: to an int64 that is a time, to an int, or to a float64.
type Parameter struct {
	Name  string
	Value any
}

// Parameters are those of the strategy, in the order in which they are shown.
func (s *Settings) Parameters() []Parameter {
	switch s.Kind {
	case ExponentialDelay:
		return []Parameter{
			{"initial-backoff", &s.Delay}, {"max-backoff", &s.MaxDelay}, {"backoff-multiplier", &s.Multiplier}, {"jitter-factor", &s.Jitter},
			{"reset-backoff-threshold", &s.ResetAfter}, {"attempts-before-reset-backoff", &s.Attempts},
		}
	case FixedDelay:
		return []Parameter{{"attempts", &s.Attempts}, {"delay", &s.Delay}}
	case FailureRate:
		return []Parameter{{"max-failures-per-interval", &s.Failures}, {"failure-rate-interval", &s.Interval}, {"delay", &s.Delay}}
	}
	return nil
}

// Mistake is a setting that cannot be meant, and what to do.
type Mistake struct{ What, Fix string }

// Check lists the mistakes in the settings.
func (s Settings) Check() (out []Mistake) {
	rule := func(ok bool, fix, format string, args ...any) {
		if !ok {
			out = append(out, Mistake{fmt.Sprintf(format, args...), fix})
		}
	}
	switch s.Kind {
	case ExponentialDelay:
		rule(s.Delay >= 1, "use 1 ms or more: a growing pause cannot begin with none", "initial-backoff is %d ms", s.Delay)
		rule(s.MaxDelay >= s.Delay, "raise max-backoff or lower initial-backoff", "max-backoff of %d ms is below initial-backoff of %d ms", s.MaxDelay, s.Delay)
		rule(s.Multiplier >= 1, "use 1 or more, or pauses would shrink", "backoff-multiplier is %v", s.Multiplier)
		rule(s.Jitter >= 0 && s.Jitter <= 1, "use 0 to 1: it is a part of the pause", "jitter-factor is %v", s.Jitter)
		rule(s.ResetAfter >= 1, "use 1 ms or more", "reset-backoff-threshold is %d ms", s.ResetAfter)
		rule(s.Attempts >= 0, "use 1 or more, or 0 for no limit", "attempts-before-reset-backoff is %d", s.Attempts)
	case FixedDelay:
		rule(s.Attempts >= 1, "use 1 or more, or the strategy none", "attempts is %d", s.Attempts)
		rule(s.Delay >= 0, "use 0 or more", "delay is %d ms", s.Delay)
	case FailureRate:
		rule(s.Failures >= 1, "use 1 or more, or the strategy none", "max-failures-per-interval is %d", s.Failures)
		rule(s.Interval >= 1, "use 1 ms or more", "failure-rate-interval is %d ms", s.Interval)
		rule(s.Delay >= 0, "use 0 or more", "delay is %d ms", s.Delay)
		// Windows count once, so there are at most Interval/Delay failures in an interval.
		rule(s.Delay == 0 || s.Interval/s.Delay >= int64(s.Failures), "lower delay or max-failures-per-interval, or raise failure-rate-interval",
			"more than %d failures with pauses of %d ms do not fit into failure-rate-interval of %d ms: it would never give up", s.Failures, s.Delay, s.Interval)
	case None:
	default:
		rule(false, fmt.Sprintf("known are %v", Kinds), "there is no strategy %q", s.Kind)
	}
	return out
}
