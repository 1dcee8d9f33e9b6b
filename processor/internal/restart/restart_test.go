package restart

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// failure is one at a time, with the decision that is wanted of it.
type failure struct {
	at     int64
	chance float64
	want   Decision
}

// Chance of 0.5 neither adds nor takes.
func TestStrategies(t *testing.T) {
	exponential := Default(ExponentialDelay)
	limited := exponential
	limited.Attempts = 2
	bare := exponential
	bare.Jitter = 0
	for name, c := range map[string]struct {
		s        Settings
		failures []failure
	}{
		"none": {Default(None), []failure{{0, 0.5, Decision{Attempt: 1}}}},
		"fixed-delay gives up after its attempts": {Settings{Kind: FixedDelay, Attempts: 2, Delay: 10}, []failure{
			{100, 0.5, Decision{true, 110, 1, false}},
			{110, 0.5, Decision{true, 120, 2, false}},
			{120, 0.5, Decision{Attempt: 3}},
		}},
		"fixed-delay never forgets": {Settings{Kind: FixedDelay, Attempts: 1, Delay: 10}, []failure{
			{100, 0.5, Decision{true, 110, 1, false}},
			{1000 * hour, 0.5, Decision{Attempt: 2}},
		}},
		"fixed-delay without a pause": {Settings{Kind: FixedDelay, Attempts: 2}, []failure{
			{0, 0.5, Decision{true, 0, 1, false}},
			{0, 0.5, Decision{true, 0, 2, false}},
			{0, 0.5, Decision{Attempt: 3}},
		}},
		"failures in one window count once": {Settings{Kind: FixedDelay, Attempts: 1, Delay: 10}, []failure{
			{100, 0.5, Decision{true, 110, 1, false}},
			{100, 0.5, Decision{true, 110, 1, true}},
			{109, 0.5, Decision{true, 110, 1, true}},
			{110, 0.5, Decision{Attempt: 2}},
		}},
		"failure-rate": {Settings{Kind: FailureRate, Failures: 2, Interval: 100, Delay: 10}, []failure{
			{0, 0.5, Decision{true, 10, 1, false}},
			{5, 0.5, Decision{true, 10, 1, true}},
			{50, 0.5, Decision{true, 60, 2, false}},
			{101, 0.5, Decision{true, 111, 2, false}}, // the first is out of the interval
			{151, 0.5, Decision{true, 161, 2, false}},
			{201, 0.5, Decision{Attempt: 3}},
		}},
		"failure-rate by default": {Default(FailureRate), []failure{
			{0, 0.5, Decision{true, 1000, 1, false}},
			{60_001, 0.5, Decision{true, 61_001, 1, false}},
			{120_001, 0.5, Decision{Attempt: 2}},
		}},
		"exponential-delay grows to its bound": {bare, []failure{
			{0, 0.9, Decision{true, 1000, 1, false}},
			{1000, 0.9, Decision{true, 2500, 2, false}},
			{2500, 0.9, Decision{true, 4750, 3, false}},
			{4750, 0.9, Decision{true, 8125, 4, false}},
		}},
		"chance stays within the bounds": {exponential, []failure{
			{0, 0, Decision{true, 1000, 1, false}},          // 900 is below the first delay
			{1000, 0, Decision{true, 2350, 2, false}},       // 1500 - 10 %
			{2350, 0.99999, Decision{true, 4825, 3, false}}, // 2250 + 10 %, which chance did not raise before
		}},
		"quiet since the last try begins anew": {bare, []failure{
			{0, 0.5, Decision{true, 1000, 1, false}},
			{1000, 0.5, Decision{true, 2500, 2, false}},
			{2500 + hour - 1, 0.5, Decision{true, 2500 + hour - 1 + 2250, 3, false}},
			{2500 + hour - 1 + 2250 + hour, 0.5, Decision{true, 2500 + hour - 1 + 2250 + hour + 1000, 1, false}},
		}},
		"exponential-delay with attempts": {limited, []failure{
			{0, 0.5, Decision{true, 1000, 1, false}},
			{1000, 0.5, Decision{true, 2500, 2, false}},
			{2500, 0.5, Decision{Attempt: 3}},
		}},
		"attempts are those since the reset": {limited, []failure{
			{0, 0.5, Decision{true, 1000, 1, false}},
			{1000, 0.5, Decision{true, 2500, 2, false}},
			{2500 + hour, 0.5, Decision{true, 3500 + hour, 1, false}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var h History
			for i, f := range c.failures {
				if got := h.Failed(c.s, f.at, f.chance); got != f.want {
					t.Fatalf("failure %d at %d: %+v, want %+v", i+1, f.at, got, f.want)
				}
			}
		})
	}
}

// What holds of every strategy, whatever its settings and whenever failures come.
func TestProperties(t *testing.T) {
	merged, resets, ends := 0, 0, 0 // a schedule without these would show nothing
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := settings(rnd)
		if m := s.Check(); m != nil {
			t.Fatalf("seed %d: %+v is refused: %v", seed, s, m)
		}
		var h History
		var last Decision
		var counted []int64 // failures that opened a window
		backoff := 0.0
		step := []int64{s.Delay, s.Delay, s.Interval / 3, s.ResetAfter}
		for now := rnd.Int64N(1000); ; now += rnd.Int64N(2 + 2*step[rnd.IntN(len(step))]) {
			chance := rnd.Float64()
			got := h.Failed(s, now, chance)
			if inside := len(counted) > 0 && now < last.At; inside != got.Merged {
				t.Fatalf("seed %d: %+v at %d after %+v", seed, got, now, last)
			}
			if got.Merged {
				merged++
				if got.At != last.At || got.Attempt != last.Attempt || !got.Retry {
					t.Fatalf("seed %d: merged into %+v as %+v", seed, last, got)
				}
				continue
			}
			quiet := len(counted) > 0 && now-last.At >= s.ResetAfter
			counted = append(counted, now)
			delay := got.At - now
			switch s.Kind {
			case None:
				if got.Retry {
					t.Fatalf("seed %d: %+v", seed, got)
				}
			case FixedDelay:
				if got.Attempt != len(counted) || got.Retry != (len(counted) <= s.Attempts) || got.Retry && delay != s.Delay {
					t.Fatalf("seed %d: %+v at failure %d of %+v", seed, got, len(counted), s)
				}
			case FailureRate:
				n := 0
				for _, at := range counted {
					if now-at <= s.Interval {
						n++
					}
				}
				if got.Attempt != n || got.Retry != (n <= s.Failures) || got.Retry && delay != s.Delay {
					t.Fatalf("seed %d: %+v with %d failures in the interval, of %+v", seed, got, n, s)
				}
			case ExponentialDelay:
				if quiet {
					resets++
				}
				if want := last.Attempt + 1; quiet != (got.Attempt == 1 && len(counted) > 1) || !quiet && got.Attempt != want {
					t.Fatalf("seed %d: %+v after %+v, quiet: %v", seed, got, last, quiet)
				}
				backoff = math.Min(float64(s.Delay)*math.Pow(s.Multiplier, float64(got.Attempt-1)), float64(s.MaxDelay))
				low, high := backoff*(1-s.Jitter)-1, backoff*(1+s.Jitter)+1
				if got.Retry && (delay < s.Delay || delay > s.MaxDelay || float64(delay) > high || float64(delay) < low && delay != s.Delay) {
					t.Fatalf("seed %d: a pause of %d for a backoff of %v, in %+v", seed, delay, backoff, s)
				}
				if got.Retry != (s.Attempts == 0 || got.Attempt <= s.Attempts) {
					t.Fatalf("seed %d: %+v of %+v", seed, got, s)
				}
			}
			last = got
			if !got.Retry {
				ends++
			}
			if !got.Retry || len(counted) == 40 {
				break
			}
		}
	}
	if merged < 1000 || resets < 1000 || ends < 1000 {
		t.Errorf("%d failures were merged, %d back-offs reset, %d histories given up: too few", merged, resets, ends)
	}
}

func settings(rnd *rand.Rand) Settings {
	s := Default(Kinds[rnd.IntN(len(Kinds))])
	switch s.Kind {
	case ExponentialDelay:
		s.Delay = 1 + rnd.Int64N(5000)
		s.MaxDelay = s.Delay + rnd.Int64N(100_000)
		s.Multiplier, s.Jitter = 1+rnd.Float64()*3, rnd.Float64()
		s.ResetAfter = 1 + rnd.Int64N(hour)
		s.Attempts = rnd.IntN(10)
	case FixedDelay:
		s.Attempts, s.Delay = 1+rnd.IntN(10), rnd.Int64N(5000)
	case FailureRate:
		s.Failures, s.Delay = 1+rnd.IntN(5), rnd.Int64N(1000)
		s.Interval = max(1, int64(s.Failures)*s.Delay) + rnd.Int64N(10_000)
	}
	return s
}

// Chance must be able to make a pause longer and shorter, by as much as it says.
func TestJitterReachesBothEnds(t *testing.T) {
	s := Default(ExponentialDelay)
	seen := map[int64]bool{}
	rnd := rand.New(rand.NewPCG(1, 1))
	least, most := int64(math.MaxInt64), int64(0)
	for range 20_000 {
		var h History
		var d Decision
		now := int64(0)
		for range 5 {
			now = d.At
			d = h.Failed(s, now, rnd.Float64())
		}
		pause := d.At - now // of 5062.5 ms
		seen[pause], least, most = true, min(least, pause), max(most, pause)
	}
	if least < 4556 || least > 4560 || most > 5569 || most < 5565 || len(seen) < 900 {
		t.Errorf("pauses of %d to %d ms, %d different ones; want 4556 to 5569", least, most, len(seen))
	}
}

func TestCheck(t *testing.T) {
	for _, k := range Kinds {
		if m := Default(k).Check(); m != nil {
			t.Errorf("the defaults of %s are refused: %v", k, m)
		}
	}
	nan := math.NaN()
	for what, s := range map[string]Settings{
		"initial-backoff is 0":                change(ExponentialDelay, func(s *Settings) { s.Delay = 0 }),
		"max-backoff of 500 ms is below":      change(ExponentialDelay, func(s *Settings) { s.MaxDelay = 500 }),
		"backoff-multiplier is 0.5":           change(ExponentialDelay, func(s *Settings) { s.Multiplier = 0.5 }),
		"backoff-multiplier is NaN":           change(ExponentialDelay, func(s *Settings) { s.Multiplier = nan }),
		"jitter-factor is 1.5":                change(ExponentialDelay, func(s *Settings) { s.Jitter = 1.5 }),
		"jitter-factor is NaN":                change(ExponentialDelay, func(s *Settings) { s.Jitter = nan }),
		"reset-backoff-threshold is 0":        change(ExponentialDelay, func(s *Settings) { s.ResetAfter = 0 }),
		"attempts-before-reset-backoff is -1": change(ExponentialDelay, func(s *Settings) { s.Attempts = -1 }),
		"attempts is 0":                       change(FixedDelay, func(s *Settings) { s.Attempts = 0 }),
		"delay is -1":                         change(FixedDelay, func(s *Settings) { s.Delay = -1 }),
		"max-failures-per-interval is 0":      change(FailureRate, func(s *Settings) { s.Failures = 0 }),
		"failure-rate-interval is 0":          change(FailureRate, func(s *Settings) { s.Interval = 0; s.Delay = 0 }),
		"it would never give up":              change(FailureRate, func(s *Settings) { s.Failures = 61 }),
		`there is no strategy "often"`:        {Kind: "often"},
	} {
		m := s.Check()
		if len(m) != 1 || !strings.Contains(m[0].What, what) || m[0].Fix == "" {
			t.Errorf("%+v: %v, want %q and what to do", s, m, what)
		}
	}
}

func change(k Kind, f func(*Settings)) Settings {
	s := Default(k)
	f(&s)
	return s
}

// Every parameter of a strategy has a name of its own and reaches the settings.
func TestParametersAreTheSettings(t *testing.T) {
	for _, k := range Kinds {
		s := Default(k)
		names := map[string]bool{}
		for _, p := range s.Parameters() {
			names[p.Name] = true
			before := s
			v := reflect.ValueOf(p.Value).Elem()
			if v.CanFloat() {
				v.SetFloat(v.Float() + 7)
			} else {
				v.SetInt(v.Int() + 7)
			}
			if s == before {
				t.Errorf("%s: %s changes nothing", k, p.Name)
			}
		}
		if len(names) != len(s.Parameters()) {
			t.Errorf("%s: %v", k, names)
		}
	}
}
