package processor

import (
	"testing"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// What is said of a claim is said once: again if its epoch is lost, and not if a later one is, before it was read back.
func TestClaimIsSaidOnce(t *testing.T) {
	c := claims{write: &control.Claim{Timeline: 2}}
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() {}, true},
		{func() { c.written = true }, false},
		{c.rollback, true},
		{func() { c.written = true; c.commit() }, false},
		{c.rollback, false},
		{c.commit, false},
		{c.said, false},
	} {
		if step.do(); c.pending() != step.want {
			t.Errorf("step %d: pending is %t", i, c.pending())
		}
	}
	if c != (claims{}) {
		t.Errorf("%+v is left", c)
	}
}

// Savepoints, and checkpoints from before the application last went back to it, take no place.
func TestSubsumed(t *testing.T) {
	kept := func(ids ...uint64) (out []control.Complete) {
		for _, id := range ids {
			out = append(out, control.Complete{Cut: control.Cut{ID: id, Kind: checkpoint.Checkpoint}})
		}
		return append(out, control.Complete{Cut: control.Cut{ID: 100, Kind: checkpoint.Savepoint}})
	}
	for _, tt := range []struct {
		kept []control.Complete
		want bool
	}{{kept(), false}, {kept(11), false}, {kept(9, 10, 11), false}, {kept(11, 12), true}, {kept(9, 11, 12), true}} {
		if got := subsumed(control.Claimed{Since: 10}, tt.kept, 2); got != tt.want {
			t.Errorf("%+v: %t", tt.kept, got)
		}
	}
}
