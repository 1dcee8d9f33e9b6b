package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func fold(t *testing.T, records ...Record) *Log {
	t.Helper()
	l := new(Log)
	for _, r := range records {
		if err := l.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func trigger(id uint64) Record  { return Triggered{Cut: Cut{ID: id}} }
func decline(id uint64) Record  { return Declined{Cut: Cut{ID: id}} }
func complete(id uint64) Record { return Completed{Cut: Cut{ID: id}} }

func drop(id uint64) Record { return Dropped{Cut: Cut{ID: id}} }

func TestLogRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []Record // the last one is refused
		why     string
	}{
		{"an id twice", []Record{trigger(1), decline(1), trigger(1)}, "ids up to 1 were used"},
		{"a lower id", []Record{trigger(7), complete(7), trigger(6)}, "ids up to 7 were used"},
		{"an id of a timeline before", []Record{Activated{9}, trigger(9)}, "ids up to 9 were used"},
		{"no id", []Record{trigger(0)}, "ids up to 0 were used"},
		{"two decisions", []Record{trigger(1), complete(1), decline(1)}, "decided before"},
		{"two other decisions", []Record{trigger(1), decline(1), complete(1)}, "decided before"},
		{"a decision about none", []Record{decline(0)}, "decided before"},
		{"none is dropped", []Record{Dropped{}}, "not decided"},
		{"none is forgotten", []Record{Forgotten{}}, "no cut 0"},
		{"a request without id", []Record{Requested{}}, "needs an id"},
	} {
		l, n := new(Log), len(c.records)-1
		for _, r := range c.records[:n] {
			if err := l.Apply(r); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		was := fmt.Sprintf("%+v", *l)
		err := l.Apply(c.records[n])
		var order *OrderError
		if !errors.As(err, &order) || !strings.Contains(err.Error(), c.why) || order.Record != recordText(c.records[n]) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.why)
		}
		if now := fmt.Sprintf("%+v", *l); now != was {
			t.Errorf("%s: a record that was refused changed %s to %s", c.name, was, now)
		}
	}
}

// Requests wait in the order in which they came, savepoints in front; a request that has its cut is over,
// whatever became of that.
func TestLogOfRequests(t *testing.T) {
	l := fold(t, Requested{Request: "a"}, Requested{Request: "b", Kind: Savepoint}, Requested{Request: "c", Kind: Savepoint, Full: true}, Requested{Request: "b", Kind: Savepoint})
	var got []string
	for id := uint64(1); ; id++ {
		q, ok := l.next(false)
		if !ok {
			break
		}
		got = append(got, q.Request)
		c := Cut{ID: id, Kind: q.Kind, Request: q.Request}
		for _, r := range []Record{Triggered{Cut: c}, Declined{Cut: c}, Requested{Request: q.Request, Kind: q.Kind}} {
			if err := l.Apply(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got, []string{"c", "b", "a"}) { // b was asked for again
		t.Errorf("got %v", got)
	}
	if id, ok := l.Taken("c"); !ok || id != 1 {
		t.Errorf("request c got cut %d", id)
	}
}

// Of a topic that is compacted by cut and by request any record may be missing that a later one replaces. What is
// left adds up to the same; the exploration tries that with many logs.
func TestLogAfterCompaction(t *testing.T) {
	saved := Cut{ID: 3, Kind: Savepoint, Request: "mine"}
	asked := Cut{ID: 6, Request: "now"}
	request := Requested{Request: "mine", Kind: Savepoint}
	at := func(id uint64) Cut { return Cut{ID: id} }
	whole := []Record{
		0:  Triggered{at(1), 10},
		1:  Completed{at(1), 10, 11},
		2:  Triggered{at(2), 20},
		3:  Declined{Cut: at(2), Reason: TimedOut, Began: 20, Wall: 21},
		4:  request,
		5:  Triggered{saved, 30},
		6:  Completed{saved, 30, 31},
		7:  request, // behind its answer
		8:  Triggered{at(4), 40},
		9:  Completed{at(4), 40, 41},
		10: Dropped{at(1), 10, 11},
		11: Forgotten{1},
		12: Requested{Request: "now"},
		13: Triggered{asked, 60},
		14: Completed{asked, 60, 61},
		15: Dropped{at(4), 40, 41},
		16: Dropped{asked, 60, 61}, // the last one, when an application is given up
		17: Requested{Request: "later"},
		18: Triggered{at(7), 70},
	}
	want := fold(t, whole...)
	if want.Last() != 7 || !slices.Equal(want.Completed(), []Cut{saved}) || !slices.Equal(want.garbage, []Cut{at(2), at(4), asked}) || want.started.wall != 70 || want.ended.wall != 61 {
		t.Errorf("got %+v", want)
	}
	for _, gone := range [][]int{
		{0}, {0, 1, 10}, {0, 1, 10, 11}, {2}, {4}, {4, 5}, {5}, {8, 9}, {8}, {13, 14}, {13},
		{9},  // read before the cleaner came, 9 and 15 after it: 4 looks undecided when 6 is triggered
		{14}, // the same, until it is dropped
		{0, 1, 2, 4, 5, 8, 9, 10, 11, 13, 14},
	} {
		var left []Record
		for i, r := range whole {
			if !slices.Contains(gone, i) {
				left = append(left, r)
			}
		}
		if got := fold(t, left...); fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *want) {
			t.Errorf("without %v: %+v\nwhole: %+v", gone, *got, *want)
		}
	}
}

// A cut is forgotten when nobody needs to know of it any more.
func TestLogForgets(t *testing.T) {
	asked := Cut{ID: 3, Request: "r"}
	saved := Cut{ID: 4, Kind: Savepoint}
	l := fold(t, trigger(1), decline(1), trigger(2), complete(2), Triggered{Cut: asked}, Declined{Cut: asked}, Triggered{Cut: saved}, Declined{Cut: saved},
		trigger(5), complete(5), drop(2), trigger(6), decline(6))
	all := func(uint64) bool { return true }
	if got := l.forgettable(func(id uint64) bool { return id != 1 }); got != 2 {
		t.Errorf("the objects of 1 are there: got %d", got)
	}
	for _, want := range []uint64{1, 2, 0} {
		if got := l.forgettable(all); got != want {
			t.Fatalf("got %d, want %d: requests are remembered, so is what is newer than the last checkpoint", got, want)
		}
		if want != 0 {
			if err := l.Apply(Forgotten{want}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(l.garbage, []Cut{asked, saved, {ID: 6}}) {
		t.Errorf("left is %v", l.garbage)
	}
}

func TestLogKnowsTheCutsOfItsTimeline(t *testing.T) {
	l := fold(t, trigger(1), complete(1), Activated{3}, trigger(4), complete(4))
	if l.Before() != 3 || l.Last() != 4 || len(l.Completed()) != 2 {
		t.Errorf("got %+v", l)
	}
}

func TestLogKeepsLittleGarbage(t *testing.T) {
	l := new(Log)
	for id := uint64(1); id <= 100; id++ {
		c := Cut{ID: id, Kind: Kind(id % 2)}
		for _, r := range []Record{Triggered{Cut: c}, Declined{Cut: c}} {
			if err := l.Apply(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	// All checkpoints, which are forgotten one after the other, and the last savepoints.
	if len(l.garbage) != 50+garbageKept || l.garbage[len(l.garbage)-1].ID != 100 || l.garbage[0].ID != 2 {
		t.Errorf("got %v", l.garbage)
	}
}

func TestSurplusIsTheOldestCheckpoint(t *testing.T) {
	l := fold(t, trigger(1), complete(1), Triggered{Cut: Cut{ID: 2, Kind: Savepoint}}, Completed{Cut: Cut{ID: 2, Kind: Savepoint}}, trigger(3), complete(3), trigger(4), complete(4))
	for keep, want := range []uint64{1: 1, 2: 1, 3: 0, 4: 0} {
		if got, found := l.surplus(keep); keep > 0 && (found != (want != 0) || found && got.ID != want) {
			t.Errorf("of which %d are kept: got %v, want %d", keep, got, want)
		}
	}
}
