package restart

import "math"

// History is what is remembered of the failures of what fails as one. The zero value has
// seen none.
type History struct {
	attempt int     // of the newest failure that was counted
	until   int64   // end of its back-off window
	backoff float64 // of that window, before chance
	recent  []int64 // failure-rate: the failures of the interval
}

// Decision is what becomes of what failed.
type Decision struct {
	Retry   bool  // else it is given up
	At      int64 // when it is tried again
	Attempt int   // number of the failure: since the back-off was reset, or in the interval
	Merged  bool  // it fell into the window of a failure before, and was not counted
}

// Failed decides about a failure at now. chance is a random number in [0, 1).
func (h *History) Failed(s Settings, now int64, chance float64) Decision {
	if h.attempt > 0 && now < h.until {
		return Decision{Retry: true, At: h.until, Attempt: h.attempt, Merged: true}
	}
	retry, delay := false, s.Delay
	switch s.Kind {
	case ExponentialDelay:
		if h.attempt > 0 && now-h.until >= s.ResetAfter {
			h.attempt = 0
		}
		h.attempt++
		h.backoff = math.Min(h.backoff*s.Multiplier, float64(s.MaxDelay))
		if h.attempt == 1 {
			h.backoff = float64(s.Delay)
		}
		jittered := int64(math.Round(h.backoff * (1 + s.Jitter*(2*chance-1))))
		delay = min(max(jittered, s.Delay), s.MaxDelay)
		retry = s.Attempts == 0 || h.attempt <= s.Attempts
	case FixedDelay:
		h.attempt++
		retry = h.attempt <= s.Attempts
	case FailureRate:
		for len(h.recent) > 0 && now-h.recent[0] > s.Interval {
			h.recent = h.recent[1:]
		}
		h.recent = append(h.recent, now)
		h.attempt = len(h.recent)
		retry = h.attempt <= s.Failures
	default:
		h.attempt++
	}
	if !retry {
		h.until = now
		return Decision{Attempt: h.attempt}
	}
	h.until = now + delay
	return Decision{Retry: true, At: h.until, Attempt: h.attempt}
}
