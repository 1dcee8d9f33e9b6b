package admin

import (
	"fmt"
	"testing"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// What the records add up to: whatever else is there, a trigger that is missing does no harm.
func TestSumOfCuts(t *testing.T) {
	cut := func(id uint64, kind checkpoint.Kind) control.Cut { return control.Cut{ID: id, Kind: kind} }
	sum := cuts{kept: map[uint64]Checkpoint{}}
	say := func() string {
		s := ""
		for id := range uint64(10) {
			if k, ok := sum.kept[id]; ok {
				s += fmt.Sprintf("%d in %s ", id, k.Completed.Sub(k.Triggered))
			}
		}
		if r := sum.out.Running; r != nil {
			s += fmt.Sprintf("running %s %d ", r.Kind, r.ID)
		}
		if d := sum.out.Declined; d != nil {
			s += fmt.Sprintf("declined %d %s", d.ID, d.Why)
		}
		return s
	}
	for _, step := range []struct {
		record control.Record
		want   string
	}{
		{control.Complete{Cut: cut(1, checkpoint.Checkpoint), Triggered: 500, Wall: 500}, "1 in 0s "},
		{control.Trigger{Cut: cut(2, checkpoint.Checkpoint), Wall: 1000}, "1 in 0s running checkpoint 2 "},
		{control.Complete{Cut: cut(2, checkpoint.Checkpoint), Triggered: 1000, Wall: 3000}, "1 in 0s 2 in 2s "},
		{control.Trigger{Cut: cut(3, checkpoint.Savepoint), Wall: 4000}, "1 in 0s 2 in 2s running savepoint 3 "},
		{control.Declined{Cut: cut(3, checkpoint.Savepoint), Why: "no room", Wall: 5000}, "1 in 0s 2 in 2s declined 3 no room"},
		{control.Dropped{Complete: control.Complete{Cut: cut(1, checkpoint.Checkpoint)}}, "2 in 2s declined 3 no room"},
		{control.Trigger{Cut: cut(4, checkpoint.Checkpoint), Wall: 6000}, "2 in 2s running checkpoint 4 declined 3 no room"},
		{control.Active{Timeline: 2}, "2 in 2s declined 3 no room"},
	} {
		sum.note(step.record)
		if got := say(); got != step.want {
			t.Errorf("after %T: %q, want %q", step.record, got, step.want)
		}
	}
}
