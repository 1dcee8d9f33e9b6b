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
