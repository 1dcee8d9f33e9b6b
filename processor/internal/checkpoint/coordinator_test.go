package checkpoint

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// panics returns what f panics with, "" if it does not.
func panics(f func()) (said string) {
	defer func() {
		if r := recover(); r != nil {
			said = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

// steps tells a machine facts and returns the orders as text.
func steps(m machine, es ...Event) (out []string) {
	for _, e := range es {
		m.Step(e)
		for _, a := range m.Ready() {
			out = append(out, Text(a))
		}
	}
	return out
}

// A record that cannot be there, and a fact for somebody else, are a broken driver's.
func TestImpossibleFactsPanicWithTheHistory(t *testing.T) {
	for _, m := range []machine{NewCoordinator(Defaults(), []offsets.Task{one}), NewParticipant()} {
		steps(m, Logged{trigger(1)})
		said := panics(func() { m.Step(Logged{trigger(1)}) })
		if !strings.Contains(said, "ids up to 1 were used") || !strings.Contains(said, "logged triggered 1 checkpoint at=0\nlogged triggered 1 checkpoint at=0\n") {
			t.Errorf("%T panics with %q", m, said)
		}
	}
	if said := panics(func() { NewCoordinator(Defaults(), nil).Step(Came{one, 0}) }); !strings.Contains(said, "does not know") {
		t.Errorf("panic %q", said)
	}
	for _, c := range []struct {
		events []Event // the last one is impossible
		want   string
	}{
		{[]Event{Tick{1}}, "does not know"},
		{[]Event{Came{one, 0}, Came{one, 0}}, "came twice"},
		{[]Event{Went{one}}, "is not here"},
		{[]Event{Met{one, 1}}, "is not here"},
		{[]Event{Committed{one}}, "is not here"},
		{[]Event{Closing{[]offsets.Task{one}}}, "is not here"},
		{[]Event{Came{one, 0}, Logged{trigger(1)}, Closing{}, Closing{}}, "before the fate"},
	} {
		p := NewParticipant()
		n := len(c.events) - 1
		steps(p, c.events[:n]...)
		if said := panics(func() { p.Step(c.events[n]) }); !strings.Contains(said, c.want) {
			t.Errorf("%q: panic %q, want %q", Text(c.events[n]), said, c.want)
		}
	}
}

// Facts may come late, early and twice: whatever is told, the invariants hold and no cut completes without
// every part. The log is a real one: what is ordered comes back, or is lost.
func TestCoordinatorBearsAnyFacts(t *testing.T) {
	tasks := []offsets.Task{one, two}
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := Settings{Interval: 10, Timeout: 50, Tolerable: rng.IntN(3) - 1, Retained: 1}
		c := NewCoordinator(s, tasks)
		var told []string
		var ordered Record // on its way
		parts := map[string]bool{}
		now := int64(0)
		for range 200 {
			id := c.Log().Last() + uint64(rng.IntN(2))
			task := tasks[rng.IntN(2)]
			epoch := offsets.EpochID{Counter: id, ProducerID: int64(rng.IntN(8) / 7)}
			now += int64(rng.IntN(4))
			events := []Event{
				Tick{now}, Tick{now}, CaughtUp{}, Acked{task, id, epoch}, Acked{task, id, epoch}, Uploaded{task, id, epoch, "x"}, Uploaded{task, id, epoch, "x"},
				ManifestWritten{id}, ManifestWritten{id}, Deleted{id}, Deleted{1}, Logged{Requested{Request: fmt.Sprint(rng.IntN(5)), Kind: Kind(rng.IntN(2))}},
				UploadLost{task, id, epoch, "why"}, TaskDown{task}, ManifestLost{id, "why"},
			}
			e := events[rng.IntN(len(events))]
			if rng.IntN(3) > 0 && ordered != nil {
				if e = (Logged{ordered}); rng.IntN(4) == 0 {
					e = WriteLost{}
				}
				ordered = nil
			}
			told = append(told, Text(e))
			switch e := e.(type) {
			case Acked:
				parts[fmt.Sprint("acked", e.Task, e.ID, e.Epoch)] = true
			case Uploaded:
				parts[fmt.Sprint("uploaded", e.Task, e.ID, e.Epoch)] = true
			}
			c.Step(e)
			if err := checkCoordinator(c); err != nil {
				t.Fatalf("seed %d: %v after\n%s", seed, err, strings.Join(told, "\n"))
			}
			for _, a := range c.Ready() {
				switch a := a.(type) {
				case Write:
					if ordered != nil {
						t.Fatalf("seed %d: %q is ordered while %q is on its way", seed, recordText(a.Record), recordText(ordered))
					}
					ordered = a.Record
				case WriteManifest:
					for _, p := range a.Parts {
						if !parts[fmt.Sprint("acked", p.Task, a.Cut.ID, p.Epoch)] || !parts[fmt.Sprint("uploaded", p.Task, a.Cut.ID, p.Epoch)] {
							t.Fatalf("seed %d: cut %d has no part of %s in %s", seed, a.Cut.ID, p.Task, p.Epoch)
						}
					}
				}
			}
		}
		if len(c.Log().Completed()) == 0 && len(c.Log().garbage) == 0 {
			t.Errorf("seed %d: no cut was decided", seed)
		}
	}
}

// A plan may name its tasks in any order, and twice.
func TestCoordinatorSortsItsTasks(t *testing.T) {
	c := NewCoordinator(Settings{Timeout: minute, Tolerable: Unlimited, Retained: 1}, []offsets.Task{two, one, two})
	epoch := offsets.EpochID{Counter: 1}
	got := steps(c, Tick{0}, CaughtUp{}, Logged{Requested{Request: "r"}}, Logged{Triggered{Cut: Cut{ID: 1, Request: "r"}}},
		Acked{one, 1, epoch}, Acked{two, 1, epoch}, Uploaded{two, 1, epoch, "b"}, Uploaded{one, 1, epoch, "a"})
	if want := "write-manifest 1 checkpoint request=r 0-3=c1.p0.e0:a 1-0=c1.p0.e0:b"; !slices.Contains(got, want) {
		t.Errorf("got %q", got)
	}
}

// A large plan's late cut names a few of those that are waited for, and how many there are.
func TestMissingNamesAFew(t *testing.T) {
	var tasks []offsets.Task
	for p := range int32(100) {
		tasks = append(tasks, offsets.Task{Partition: p})
	}
	c := newCut(Cut{ID: 1})
	for _, task := range tasks[:40] {
		c.part(task).acked = true
	}
	got := c.missing(tasks)
	want := "no acknowledgement of 0-40, 0-41, 0-42, 0-43, 0-44 and 55 more tasks; no upload of 0-0, 0-1, 0-2, 0-3, 0-4 and 35 more tasks"
	if got != want {
		t.Errorf("got %q", got)
	}
}

func TestHistoryKeepsTheLastEvents(t *testing.T) {
	var h history
	for i := range 200 {
		h.add(Tick{int64(i)})
	}
	lines := strings.Split(strings.TrimSpace(h.String()), "\n")
	if len(lines) != 64 || lines[0] != "tick 136" || lines[63] != "tick 199" {
		t.Errorf("%d lines from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
}
