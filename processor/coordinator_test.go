package processor

import (
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// A coordinator that has lost its task reads what its successor has decided about the cut that it is about to decide
// about itself. It once panicked over that.
func TestDecisionOfACoordinatorThatWasReplaced(t *testing.T) {
	sum := strings.Repeat("0f", 32)
	asked := control.Request{ID: "mine", Timeline: 1, Kind: checkpoint.Savepoint, By: "ann", Stop: true}
	first := control.Complete{Cut: control.Cut{ID: 1}, Timeline: 1, Manifest: "m", SHA256: sum}
	cut := control.Cut{ID: 2, Kind: checkpoint.Savepoint, Full: true, Asked: &asked}
	c := coordinator{
		task:  &runningTask{lane: &lane{app: &application{names: offsets.Names{Application: "app", Timeline: 1}}}},
		place: manifestPlace{cut: 2, name: "m2", sha256: sum, path: "/s", bytes: 9, added: 4},
	}
	for _, r := range []control.Record{
		control.Born{Timeline: 1, Fingerprint: "f", InternalPartitions: 1, Plan: []byte(`{}`)}, first, asked,
		control.Trigger{Cut: cut, Timeline: 1, Wall: 5},
	} {
		if err := c.state.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	undecided, _ := c.state.Cuts().Undecided()
	wishes := []checkpoint.Record{
		checkpoint.Completed{Cut: undecided, Began: 5, Wall: 7},
		checkpoint.Declined{Cut: undecided, Reason: checkpoint.TimedOut, Began: 5, Wall: 7},
		checkpoint.Dropped{Cut: checkpoint.Cut{ID: 1}},
		checkpoint.Forgotten{ID: 1},
	}
	encoded := func(r checkpoint.Record) (string, bool) {
		t.Helper()
		out, ok := c.record(r)
		if !ok {
			return "", false
		}
		key, value, err := control.Encode(out)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if k, said := out.(control.Complete); said && (*k.Asked != asked || k.Triggered != 5 || k.Path != "/s" || k.Bytes != 9 || k.Added != 4) {
			t.Errorf("%+v", k)
		}
		return string(key) + string(value), true
	}
	before := make([]string, len(wishes))
	for i, r := range wishes {
		said, ok := encoded(r)
		if before[i] = said; !ok {
			t.Errorf("%+v: nothing is written", r)
		}
	}
	for _, r := range []control.Record{ // the successor's
		control.Declined{Cut: cut, Timeline: 1, Reason: checkpoint.CoordinatorChanged, Triggered: 5, Wall: 6},
		control.Dropped{Complete: first, At: 8}, control.Forgotten{ID: 1},
	} {
		if err := c.state.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range wishes {
		said, ok := encoded(r)
		if dropped := i == 2; ok == dropped || ok && said != before[i] {
			t.Errorf("%+v: got %s %t, was %s", r, said, ok, before[i])
		}
	}
}
