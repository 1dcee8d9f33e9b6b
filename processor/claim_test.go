package processor

import (
	"testing"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

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
