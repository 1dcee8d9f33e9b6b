package epoch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// check says which invariant of Machine does not hold between two steps.
func check(m *Machine) error {
	for id, t := range m.tasks {
		undecided := m.phase >= Open && m.phase <= Doubt
		switch {
		case t.touched && (t.state != running || !undecided):
			return fmt.Errorf("%s is touched in state %d, phase %s", id, t.state, m.phase)
		case t.leaving && (!t.touched || m.phase < Flushing || m.phase > Aborting):
			return fmt.Errorf("%s is leaving, touched %t, phase %s", id, t.touched, m.phase)
		case t.asked && (t.state != running || m.phase != Doubt || m.stage != stageFetch):
			return fmt.Errorf("%s is asked for in state %d, phase %s", id, t.state, m.phase)
		case t.reached && t.state != running:
			return fmt.Errorf("%s has reached its record in state %d", id, t.state)
		case t.fenced && (t.state != closed || m.phase != Doubt):
			return fmt.Errorf("%s waits for control in state %d, phase %s", id, t.state, m.phase)
		}
	}
	switch {
	case m.suspect && (m.phase == Idle || m.phase == Open || m.phase == Exited):
		return fmt.Errorf("suspicion rests in phase %s", m.phase)
	case m.attempts != nil && (m.phase < Sending || m.phase == Exited):
		return fmt.Errorf("attempts in phase %s", m.phase)
	case m.phase == Exited && len(m.tasks) > 0:
		return fmt.Errorf("%d tasks after the exit", len(m.tasks))
	case m.stopping && (m.phase == Idle || m.phase == Open):
		return fmt.Errorf("stopping rests in phase %s", m.phase)
	}
	return nil
}

var one = offsets.Task{Sub: 0, Partition: 0}

// toPhase brings a machine with one running task to a phase, touched from Open on.
func toPhase(p Phase) *Machine {
	m := New()
	step := func(es ...Event) {
		for _, e := range es {
			m.Step(e)
			m.Ready()
		}
	}
	step(Assigned{[]offsets.Task{one}}, Restored{Task: one})
	if p == Idle {
		return m
	}
	if p == Exited {
		step(Stop{})
		return m
	}
	step(Wanted{})
	if p == Beginning {
		return m
	}
	step(Began{ProducerID: 1})
	if p == Open {
		return m
	}
	step(Touched{one}, Due{})
	switch p {
	case Flushing:
	case Sending:
		step(Flushed{OK})
	case Ending:
		step(Flushed{OK}, Sent{OK})
	case Aborting:
		step(Flushed{Refused})
	case Doubt:
		step(Flushed{OK}, Sent{OK}, Ended{Unknown})
	}
	return m
}

// Answers belong to one phase; there is no safe way to go on when one comes elsewhere.
func TestImpossibleFactsPanicWithTheHistory(t *testing.T) {
	belongs := map[string][]Phase{
		"began": {Beginning}, "begin-failed": {Beginning}, "touched": {Open}, "failed": {Open, Flushing}, "flushed": {Flushing}, "sent": {Sending},
		"ended": {Ending}, "aborted": {Aborting}, "producer-ready": {Doubt}, "control-read": {}, "fetched": {}, // at other stages of Doubt
	}
	for p := Idle; p <= Exited; p++ {
		for _, e := range allEvents() {
			m := toPhase(p)
			if m.phase != p {
				t.Fatalf("came to %s instead of %s", m.phase, p)
			}
			if tt, ok := e.(Touched); ok {
				tt.Task = one
				e = tt
			}
			word, _, _ := strings.Cut(Text(e), " ")
			phases, bound := belongs[word]
			want := bound && p != Exited
			for _, q := range phases {
				want = want && q != p
			}
			said := func() (said string) {
				defer func() {
					if r := recover(); r != nil {
						said = fmt.Sprint(r)
					}
				}()
				m.Step(e)
				return ""
			}()
			if want != (said != "") {
				t.Errorf("%s in %s: panic %q, want one: %t", Text(e), p, said, want)
			}
			if said != "" && !strings.Contains(said, "beginning: began 1 0") && p > Beginning {
				t.Errorf("%s in %s: no history in %q", Text(e), p, said)
			}
			if said == "" {
				if err := check(m); err != nil {
					t.Errorf("after %s in %s: %v", Text(e), p, err)
				}
			}
		}
	}
}

func TestTouchingATaskThatDoesNotRunPanics(t *testing.T) {
	m := toPhase(Open)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	m.Step(Touched{offsets.Task{Sub: 9}})
}

// Only Kafka's word adopts: a clean answer to EndTxn, or the attempt's id beside the stable
// positions. Every verdict at every answer is tried.
func TestEffectsAreAdoptedOnlyOnKafkasWord(t *testing.T) {
	for _, p := range []Phase{Flushing, Sending, Ending, Aborting} {
		for v := OK; v <= FencedForEver; v++ {
			m := toPhase(p)
			switch p {
			case Flushing:
				m.Step(Flushed{v})
			case Sending:
				m.Step(Sent{v})
			case Ending:
				m.Step(Ended{v})
			case Aborting:
				m.Step(Aborted{v})
			}
			for _, a := range m.Ready() {
				if s, ok := a.(Settle); ok && (s.Outcome == Committed) != (p == Ending && v == OK) {
					t.Errorf("%s answered %s: %s", p, v, Text(s))
				}
				if s, ok := a.(Settle); ok && s.Outcome == RolledBack && !(p == Aborting && v == OK) {
					t.Errorf("%s answered %s: %s", p, v, Text(s))
				}
			}
		}
	}
}

func TestHistoryKeepsTheLastEvents(t *testing.T) {
	var h history
	for i := range 200 {
		h.add(Open, Began{ProducerID: int64(i)})
	}
	lines := strings.Split(strings.TrimSpace(h.String()), "\n")
	if len(lines) != 64 || lines[0] != "open: began 136 0" || lines[63] != "open: began 199 0" {
		t.Errorf("%d lines from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
}
