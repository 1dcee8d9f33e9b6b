package admin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// What the records add up to, one after the other. Records that compaction has taken away do
// no harm.
func TestSumOfCuts(t *testing.T) {
	cut := func(id uint64, kind checkpoint.Kind) control.Cut { return control.Cut{ID: id, Kind: kind} }
	sum := newCuts()
	say := func() string {
		var s []string
		for _, k := range sum.list() {
			one := fmt.Sprintf("%d %s", k.ID, k.State)
			if k.Request != "" {
				one += " for " + k.Request
			}
			if k.Manifest != "" {
				one += fmt.Sprintf(" %d of %d in %s full=%t", k.Added, k.Bytes, k.Took(), k.Full)
			}
			s = append(s, one)
		}
		if sum.running != nil {
			s = append(s, fmt.Sprintf("running %d", sum.running.ID))
		}
		if d := sum.declined; d != nil {
			s = append(s, fmt.Sprintf("declined %d (%s), failures %d", d.ID, d.Why, sum.failures))
		}
		return strings.Join(s, "; ")
	}
	asked := control.Request{ID: "now", Timeline: 1, By: "ann", Wall: 1, Full: true}
	five := control.Cut{ID: 5, Full: true, Asked: &asked}
	first := control.Complete{Cut: cut(1, checkpoint.Checkpoint), Triggered: 500, Wall: 500, Manifest: "m", Bytes: 10, Added: 10}
	for _, step := range []struct {
		record control.Record
		want   string
	}{
		{first, "1 retained 10 of 10 in 0s full=true"},
		{control.Trigger{Cut: cut(2, checkpoint.Checkpoint), Wall: 1000}, "1 retained 10 of 10 in 0s full=true; 2 running; running 2"},
		{control.Declined{Cut: cut(2, checkpoint.Checkpoint), Why: "no room", Wall: 3000, Reason: checkpoint.UploadFailed}, "1 retained 10 of 10 in 0s full=true; 2 declined; declined 2 (no room), failures 1"},
		{control.Declined{Cut: cut(3, checkpoint.Checkpoint), Why: "moved", Wall: 4000, Reason: checkpoint.TaskFailed}, "1 retained 10 of 10 in 0s full=true; 2 declined; 3 declined; declined 3 (moved), failures 1"},
		{control.Complete{Cut: cut(4, checkpoint.Checkpoint), Triggered: 5000, Wall: 7000, Manifest: "m", Bytes: 12, Added: 2}, "1 retained 10 of 10 in 0s full=true; 2 declined; 3 declined; 4 retained 2 of 12 in 2s full=false; declined 3 (moved), failures 0"},
		{control.Dropped{Complete: first}, "1 dropped 10 of 10 in 0s full=true; 2 declined; 3 declined; 4 retained 2 of 12 in 2s full=false; declined 3 (moved), failures 0"},
		{control.Forgotten{ID: 1}, "2 declined; 3 declined; 4 retained 2 of 12 in 2s full=false; declined 3 (moved), failures 0"},
		{control.Forgotten{ID: 2}, "3 declined; 4 retained 2 of 12 in 2s full=false; declined 3 (moved), failures 0"},
		{control.Forgotten{ID: 3}, "4 retained 2 of 12 in 2s full=false; declined 3 (moved), failures 0"},
		{asked, "4 retained 2 of 12 in 2s full=false; 0 requested for now; declined 3 (moved), failures 0"},
		{control.Trigger{Cut: five, Wall: 8000}, "4 retained 2 of 12 in 2s full=false; 5 running for now; running 5; declined 3 (moved), failures 0"},
		{asked, "4 retained 2 of 12 in 2s full=false; 5 running for now; running 5; declined 3 (moved), failures 0"}, // says nothing
		{control.Active{Timeline: 2}, "4 retained 2 of 12 in 2s full=false; 5 running for now; declined 3 (moved), failures 0"},
		{control.Declined{Cut: five, Why: "gone", Reason: checkpoint.CoordinatorChanged}, "4 retained 2 of 12 in 2s full=false; 5 declined for now; declined 5 (gone), failures 0"},
		{control.Complete{Cut: cut(6, checkpoint.Savepoint), Manifest: "m", Path: "/s"}, "4 retained 2 of 12 in 2s full=false; 5 declined for now; 6 completed 0 of 0 in 0s full=true; declined 5 (gone), failures 0"},
	} {
		sum.note(step.record)
		if got := say(); got != step.want {
			t.Errorf("after %T:\ngot  %s\nwant %s", step.record, got, step.want)
		}
	}
}
