package control

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// history writes what an application could have in its control topic.
type history struct {
	rng     *rand.Rand
	state   State
	records []Record
	line    uint32
	wall    int64
}

func (h *history) add(t *testing.T, r Record) {
	t.Helper()
	key, value, err := Encode(r)
	if err == nil {
		err = h.state.ApplyRecord(key, value)
	}
	if err != nil {
		t.Fatalf("record %d, %+v: %v", len(h.records), r, err)
	}
	h.records = append(h.records, r)
}

func (h *history) step(t *testing.T) {
	h.wall++
	cuts := h.state.Cuts()
	trigger, undecided := h.state.Undecided()
	switch n := h.rng.IntN(20); {
	case n < 3:
		id := h.rng.IntN(30)
		h.add(t, Request{ID: fmt.Sprintf("r%d", id), Timeline: h.line, Kind: checkpoint.Kind(id % 2), Stop: id%4 == 1, Drain: id%8 == 1, Path: fmt.Sprintf("/%d", h.rng.IntN(3)), Wall: h.wall})
	case n < 4:
		from := h.line
		h.line = h.state.Next()
		h.add(t, Intent{Timeline: h.line, By: "me", Wall: h.wall})
		if h.rng.IntN(2) == 0 {
			h.add(t, Cancelled{Timeline: h.line})
			h.line = from
			return
		}
		to := Base{Rewind: fmt.Sprintf("to-%d", h.line), SHA256: fmt.Sprint(h.rng.IntN(3))}
		if h.rng.IntN(2) == 0 {
			to.Claim = "/" + to.SHA256
		}
		h.add(t, Active{Timeline: h.line, From: from, Cut: cuts.Last(), Base: to})
		h.add(t, Born{Timeline: h.line, Fingerprint: "f", InternalPartitions: 1, Plan: []byte(`{}`)})
	case n < 10 && !undecided:
		cut := Cut{ID: cuts.Last() + 1, Full: n == 5}
		var waiting []Request
		for i := range 30 {
			id := fmt.Sprintf("r%d", i)
			if _, taken := cuts.Taken(id); taken {
				continue
			}
			if r, ok := h.state.Request(id); ok {
				waiting = append(waiting, r)
			}
		}
		if len(waiting) > 0 && n < 8 {
			r := waiting[h.rng.IntN(len(waiting))]
			cut.Kind, cut.Asked = r.Kind, &r
		}
		h.add(t, Trigger{Cut: cut, Timeline: h.line, Wall: h.wall})
	case n < 13 && undecided:
		h.add(t, Declined{Cut: trigger.Cut, Timeline: h.line, Reason: checkpoint.TimedOut, Triggered: trigger.Wall, Wall: h.wall})
	case n < 17 && undecided:
		h.add(t, Complete{Cut: trigger.Cut, Timeline: h.line, Manifest: "m", SHA256: sum, Triggered: trigger.Wall, Wall: h.wall})
	case n == 18 && h.rng.IntN(4) == 0 && !h.state.Quiet(h.line):
		h.add(t, Quiet{Timeline: h.line, Wall: h.wall})
	case n == 17 && len(h.state.Claimed()) > 0:
		claimed := h.state.Claimed()
		of := claimed[h.rng.IntN(len(claimed))]
		h.add(t, Claim{Timeline: of.Timeline, Deleted: of.Dropped, Wall: h.wall})
	default:
		h.tidy(t, n)
	}
}

// tidy drops or forgets a checkpoint.
func (h *history) tidy(t *testing.T, n int) {
	var kept []Complete
	for _, k := range h.state.Kept() {
		if k.Kind == checkpoint.Checkpoint {
			kept = append(kept, k)
		}
	}
	switch {
	case len(kept) == 0:
	case n < 19 && (len(kept) > 1 || h.rng.IntN(8) == 0):
		h.add(t, Dropped{Complete: kept[0], At: h.wall})
	default:
		newest := kept[len(kept)-1].ID
		for i := len(h.records) - 1; i >= 0; i-- {
			var c Cut
			switch r := h.records[i].(type) {
			case Declined:
				c = r.Cut
			case Dropped:
				c = r.Cut
			}
			if c.ID != 0 && c.ID < newest && c.Kind == checkpoint.Checkpoint && c.Asked == nil && !slices.Contains(h.records, Record(Forgotten{ID: c.ID})) {
				h.add(t, Forgotten{ID: c.ID})
				return
			}
		}
	}
}

// cleaned is what passes of the log cleaner leave: each knows the last record of each key up to an end, and removes
// those that it replaces from the front on, as far as it gets. A tombstone with nothing in front of it goes, too, but
// not before a reader has had a day to get there.
func cleaned(t *testing.T, rng *rand.Rand, records []Record, later bool) []Record {
	gone := map[int]bool{}
	for range rng.IntN(4) {
		known := 1 + rng.IntN(len(records))
		last, inFront := map[string]int{}, map[string]bool{}
		keys := make([]string, known)
		for i := range known {
			key, _, err := Encode(records[i])
			if err != nil {
				t.Fatal(err)
			}
			keys[i] = string(key)
			last[keys[i]] = i
		}
		for i := range 1 + rng.IntN(known) {
			if gone[i] {
				continue
			}
			_, tombstone := records[i].(Forgotten)
			gone[i] = last[keys[i]] > i || later && tombstone && !inFront[keys[i]] && rng.IntN(2) == 0
			inFront[keys[i]] = true
		}
	}
	var left []Record
	for i, r := range records {
		if !gone[i] {
			left = append(left, r)
		}
	}
	return left
}

// Whatever the log cleaner takes and leaves, and wherever a reader is meanwhile, the records add up to the same.
func TestCompactionChangesNothing(t *testing.T) {
	shorter := 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := &history{rng: rng, line: 1}
		h.add(t, born1)
		for range 10 + rng.IntN(150) {
			h.step(t)
		}
		left := cleaned(t, rng, h.records, true)
		if rng.IntN(3) == 0 { // the reader has taken the first ones before the cleaner came
			at := rng.IntN(len(h.records))
			rest := cleaned(t, rng, h.records, false)
			left = slices.Clone(h.records[:at])
			for _, r := range rest {
				if slices.IndexFunc(h.records, func(x Record) bool { return reflect.DeepEqual(x, r) }) >= at {
					left = append(left, r)
				}
			}
		}
		if len(left) < len(h.records) {
			shorter++
		}
		var s State
		for i, r := range left {
			if err := s.Apply(r); err != nil {
				t.Fatalf("seed %d: record %d of what is left, %+v: %v\n%s", seed, i, r, err, texts(h.records))
			}
		}
		if got, want := sees(&s), sees(&h.state); got != want {
			t.Fatalf("seed %d: left adds up to\n%s\nall to\n%s\n%s", seed, got, want, texts(h.records))
		}
	}
	if shorter < 1000 {
		t.Errorf("only %d logs were compacted", shorter)
	}
}

// sees is all that a reader may ask of a state.
func sees(s *State) string {
	var b strings.Builder
	trigger, undecided := s.Undecided()
	if !undecided {
		trigger = Trigger{}
	}
	fmt.Fprintf(&b, "next %d active %d cuts %+v\nundecided %s\n", s.Next(), s.Active(), *s.Cuts(), texts([]Record{trigger}))
	for _, k := range s.Kept() {
		b.WriteString("kept " + texts([]Record{k}))
	}
	for id := range s.Cuts().Last() + 1 {
		if k, ok := s.Dropped(id); ok {
			b.WriteString("dropped " + texts([]Record{k}))
		}
	}
	fmt.Fprintf(&b, "quiet %t\n", s.Quiet(s.Active()))
	fmt.Fprintf(&b, "claimed %+v\n", s.Claimed())
	for _, p := range s.Savepoints() {
		fmt.Fprintf(&b, "savepoint %+v cut %d at %d declined %t complete %t\n", p.Request, p.Cut, p.Triggered, p.Declined != nil, p.Complete != nil)
	}
	for i := range 30 {
		r, ok := s.Request(fmt.Sprintf("r%d", i))
		fmt.Fprintf(&b, "%d %+v %t\n", i, r, ok)
	}
	return b.String()
}

func texts(records []Record) string {
	var b strings.Builder
	for _, r := range records {
		key, value, err := Encode(r)
		fmt.Fprintf(&b, "%s %s %v\n", key, value, err)
	}
	return b.String()
}
