package checkpoint

import (
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// The question that each record asks.
func TestMemberPasses(t *testing.T) {
	p := NewParticipant()
	steps(p, Came{one, 7})
	m := p.Member(one)
	for stamp, want := range map[uint64]bool{0: true, 6: true, 7: true, 8: false, 1 << 63: false} {
		if got := m.Passes(stamp); got != want {
			t.Errorf("at cut 7 stamp %d passes: %t", stamp, got)
		}
	}
	// The cut of the closing epoch is not the task's yet: its records carry the old one.
	steps(p, Logged{trigger(8)}, Closing{})
	if m.Cut() != 7 || m.Passes(8) {
		t.Errorf("before the commit the task is at cut %d", m.Cut())
	}
	steps(p, Committed{one})
	if m.Cut() != 8 || !m.Passes(8) {
		t.Errorf("after the commit the task is at cut %d", m.Cut())
	}
}

// What a stamp asks for is there by the time the record is looked at: nobody waits.
func TestMetInTimeIsNothing(t *testing.T) {
	p := NewParticipant()
	if got := steps(p, Came{one, 7}, Met{one, 7}); got != nil {
		t.Errorf("got %q", got)
	}
}

// An epoch that was to end for a cut fails before it closes: the lane still knows that it has to.
func TestCutIsWantedUntilClosing(t *testing.T) {
	p := NewParticipant()
	wanted := func(want bool, es ...Event) {
		t.Helper()
		steps(p, es...)
		if got := p.CutWanted(); got != want {
			t.Errorf("after %q a cut is wanted: %t", Text(es[len(es)-1]), got)
		}
	}
	wanted(false, Came{one, 0})
	wanted(true, Logged{trigger(1)})
	wanted(true, Aborted{one}) // it had no cut yet
	wanted(false, Closing{[]offsets.Task{one}})
	wanted(true, Aborted{one}) // it had
	wanted(false, Closing{})
	wanted(false, Committed{one})
}

// Input is kept while a cut that the task has taken may need what was in flight, also by an owner that did not
// take it, and also if its control reader has not heard of it.
func TestMayTrim(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []Event
		want   bool
	}{
		{"nothing is undecided", []Event{Came{one, 0}}, true},
		{"not taken yet: its position will be at or above the committed one", []Event{Came{one, 0}, Logged{trigger(1)}}, true},
		{"the epoch that takes it is open", []Event{Came{one, 0}, Logged{trigger(1)}, Closing{}}, true},
		{"taken", []Event{Came{one, 0}, Logged{trigger(1)}, Closing{}, Committed{one}}, false},
		{"taken by the owner before", []Event{Logged{trigger(1)}, Came{one, 1}}, false},
		{"taken by the owner before, the reader is behind", []Event{Came{one, 1}}, false},
		{"declined", []Event{Came{one, 1}, Logged{trigger(1)}, Logged{decline(1)}}, true},
		{"complete: its manifest says what is needed", []Event{Came{one, 1}, Logged{trigger(1)}, Logged{complete(1)}}, true},
		{"the next one is undecided", []Event{Came{one, 1}, Logged{trigger(1)}, Logged{complete(1)}, Logged{trigger(2)}}, true},
		{"ids of the timeline before", []Event{Came{one, 9}, Logged{Activated{9}}}, true},
	} {
		p := NewParticipant()
		steps(p, c.events...)
		if got := p.MayTrim(one); got != c.want {
			t.Errorf("%s: got %t", c.name, got)
		}
	}
}

func BenchmarkPasses(b *testing.B) {
	p := NewParticipant()
	steps(p, Came{one, 7})
	m := p.Member(one)
	held := 0
	for i := range b.N {
		if !m.Passes(uint64(i & 7)) {
			held++
		}
	}
	if held > 0 {
		b.Fatal("a record was held")
	}
}
