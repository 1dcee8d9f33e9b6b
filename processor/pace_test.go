package processor

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	var p pace
	p.failed(800, now)
	if p.spent(1<<40) || p.rest(now) > 0 {
		t.Errorf("%+v after one failure: want no limit and no rest", p)
	}
	p.failed(800, now)
	if !p.spent(400) || p.spent(399) || p.rest(now) > 0 {
		t.Errorf("%+v after two failures of 800 records: want 400 and no rest", p)
	}
	var rests []time.Duration
	for range 14 {
		p.failed(p.quota, now)
		rests = append(rests, p.rest(now))
	}
	if !p.spent(1) || p.spent(0) {
		t.Errorf("%+v after many failures: want one record", p)
	}
	for i, r := range rests {
		if want := min(50*time.Millisecond<<min(i, 6), 2*time.Second); r != want {
			t.Errorf("rest %d is %s, want %s", i, r, want)
		}
	}
	// An epoch that failed before its first record says nothing about their number.
	p.failed(0, now)
	if !p.spent(1) || p.spent(0) {
		t.Errorf("%+v: want one record", p)
	}
	for n := int64(2); n < anyQuota; n *= 2 {
		p.committed()
		if !p.spent(n) || p.spent(n-1) {
			t.Fatalf("%+v: want %d records", p, n)
		}
	}
	if p.committed(); p.spent(1 << 40) {
		t.Errorf("%+v: want no limit any more", p)
	}
}

// Commits are to be one interval apart; the end of an epoch used to come on top of it. A lane
// with much to do is not to have more epochs for that, and one that is behind does not sleep.
func TestWorkTime(t *testing.T) {
	const interval, ms = 100 * time.Millisecond, time.Millisecond
	for _, c := range []struct {
		what         string
		before, busy time.Duration
		length       time.Duration // of the epoch before
		ending       []time.Duration
		light        bool
		span         time.Duration
	}{
		{"new", 0, 0, 0, nil, true, interval},
		{"idle", 0, 0, interval, []time.Duration{8 * ms}, true, 98 * ms},
		{"idle, one slow end", 0, 0, interval, []time.Duration{8 * ms, 8 * ms, time.Second}, true, 75 * ms},
		{"a quarter of the time", 0, interval / 4, interval, []time.Duration{8 * ms}, false, interval},
		{"a quarter of the time before", interval / 4, 0, interval, []time.Duration{8 * ms}, false, interval},
		{"less than that", interval / 5, interval / 5, interval, []time.Duration{8 * ms}, true, 98 * ms},
		// With commits every 5 s and epochs that end after 200 ms, because they are full, a lane that did
		// nothing but work slept half of the time.
		{"ended early, busy", 19 * ms, 0, 20 * ms, []time.Duration{8 * ms}, false, interval},
		{"ended early, idle", ms, ms, 20 * ms, []time.Duration{8 * ms}, true, 98 * ms},
	} {
		var w workTime
		at := time.Unix(0, 0)
		w.began(at)
		w.add(c.before)
		for _, d := range c.ending {
			w.ended(at.Add(c.length), at.Add(c.length+d))
		}
		w.began(at)
		w.add(c.busy / 2)
		w.add(c.busy / 2)
		if light, span := w.light(interval), w.span(interval); light != c.light || span != c.span {
			t.Errorf("%s: light %v, takes records for %s; want %v, %s", c.what, light, span, c.light, c.span)
		}
	}
	// Fetches that leave much behind keep the lane awake, in their epoch and in the next one.
	var w workTime
	for i, c := range []struct {
		behind, n int64
		light     bool
	}{{1, 100, true}, {20, 20, false}, {0, 10, false}, {0, 10, true}, {100_000, 9000, false}, {5, 0, false}, {5, 1000, true}} {
		w.began(time.Unix(0, 0))
		w.left(c.behind, c.n)
		w.left(0, 1)
		if light := w.light(interval); light != c.light {
			t.Errorf("step %d: light %v, want %v", i, light, c.light)
		}
	}
}
