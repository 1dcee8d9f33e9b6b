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
// with much to do is not to have more epochs for that.
func TestWorkTime(t *testing.T) {
	const interval = 100 * time.Millisecond
	for _, c := range []struct {
		what         string
		before, busy time.Duration
		ending       []time.Duration
		light        bool
		span         time.Duration
	}{
		{"new", 0, 0, nil, true, interval},
		{"idle", 0, 0, []time.Duration{8 * time.Millisecond}, true, 98 * time.Millisecond},
		{"idle, one slow end", 0, 0, []time.Duration{8 * time.Millisecond, 8 * time.Millisecond, time.Second}, true, 75 * time.Millisecond},
		{"a quarter of the time", 0, interval / 4, []time.Duration{8 * time.Millisecond}, false, interval},
		{"a quarter of the time before", interval / 4, 0, []time.Duration{8 * time.Millisecond}, false, interval},
		{"less than that", interval / 5, interval / 5, []time.Duration{8 * time.Millisecond}, true, 98 * time.Millisecond},
	} {
		var w workTime
		w.began()
		w.add(c.before)
		w.began()
		w.add(c.busy / 2)
		w.add(c.busy / 2)
		for _, d := range c.ending {
			w.ended(d)
		}
		if light, span := w.light(interval), w.span(interval); light != c.light || span != c.span {
			t.Errorf("%s: light %v, takes records for %s; want %v, %s", c.what, light, span, c.light, c.span)
		}
	}
}
