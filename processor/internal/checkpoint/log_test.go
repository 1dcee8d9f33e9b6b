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

func TestLogRefuses(t *testing.T) {
	savepoint := Cut{ID: 3, Kind: Savepoint}
	for _, c := range []struct {
		name    string
		records []Record // the last one is refused
		why     string
	}{
		{"an id twice", []Record{trigger(1), decline(1), trigger(1)}, "ids up to 1 were used"},
		{"a lower id", []Record{trigger(7), complete(7), trigger(6)}, "ids up to 7 were used"},
		{"an id of a timeline before", []Record{Activated{9}, trigger(9)}, "ids up to 9 were used"},
		{"no id", []Record{trigger(0)}, "ids up to 0 were used"},
		{"two undecided", []Record{trigger(1), trigger(2)}, "cut 1 is undecided"},
		{"a decision about another", []Record{trigger(1), complete(2)}, "cut 1 is undecided"},
		{"two decisions", []Record{trigger(1), complete(1), decline(1)}, "decided before"},
		{"two other decisions", []Record{trigger(1), decline(1), complete(1)}, "decided before"},
		{"a decision about none", []Record{decline(0)}, "decided before"},
		{"the undecided is dropped", []Record{trigger(1), Dropped{1}}, "not decided"},
		{"none is dropped", []Record{Dropped{}}, "not decided"},
		{"the last is dropped", []Record{trigger(1), complete(1), trigger(2), complete(2), Dropped{2}}, "last completed"},
		{"the last is dropped, a savepoint follows", []Record{trigger(2), complete(2), Triggered{Cut: savepoint}, Completed{Cut: savepoint}, Dropped{2}}, "last completed"},
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
		q, ok := l.next()
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
	if !slices.Equal(got, []string{"b", "c", "a"}) {
		t.Errorf("got %v", got)
	}
	if id, ok := l.Taken("c"); !ok || id != 2 {
		t.Errorf("request c got cut %d", id)
	}
}

// A topic that is compacted by cut loses the trigger when the decision follows, and both when it is dropped.
func TestLogAfterCompaction(t *testing.T) {
	saved := Cut{ID: 3, Kind: Savepoint, Request: "mine"}
	whole := []Record{trigger(1), complete(1), trigger(2), decline(2), Requested{Request: "mine", Kind: Savepoint}, Triggered{Cut: saved}, Completed{Cut: saved}, trigger(4), complete(4), Dropped{1}, trigger(5)}
	compacted := []Record{decline(2), Requested{Request: "mine", Kind: Savepoint}, Completed{Cut: saved}, complete(4), Dropped{1}, trigger(5)}
	want, got := fold(t, whole...), fold(t, compacted...)
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *want) {
		t.Errorf("compacted: %+v\nwhole:     %+v", *got, *want)
	}
	if want.Last() != 5 || !slices.Equal(want.Completed(), []Cut{saved, {ID: 4}}) {
		t.Errorf("got %+v", want)
	}
	if c, ok := want.Undecided(); !ok || c.ID != 5 {
		t.Errorf("undecided is %+v", c)
	}
	if l := fold(t, Dropped{7}); l.Last() != 7 {
		t.Errorf("the last id is %d although 7 was used", l.Last())
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
		for _, r := range []Record{trigger(id), decline(id)} {
			if err := l.Apply(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(l.garbage) != garbageKept || l.garbage[garbageKept-1] != 100 || l.garbage[0] != 100-garbageKept+1 {
		t.Errorf("got %v", l.garbage)
	}
}

func TestSurplusIsTheOldestCheckpoint(t *testing.T) {
	l := fold(t, trigger(1), complete(1), Triggered{Cut: Cut{ID: 2, Kind: Savepoint}}, Completed{Cut: Cut{ID: 2, Kind: Savepoint}}, trigger(3), complete(3), trigger(4), complete(4))
	for keep, want := range []uint64{1: 1, 2: 1, 3: 0, 4: 0} {
		if got := l.surplus(keep); keep > 0 && got != want {
			t.Errorf("of which %d are kept: got %d, want %d", keep, got, want)
		}
	}
}
