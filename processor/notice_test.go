package processor

import (
	"testing"

	"github.com/weir-stream/weir/processor/internal/control"
)

// A notice is written once: again if its epoch is lost, and not if a later one is, before it was read back.
func TestNoticeIsWrittenOnce(t *testing.T) {
	n := notice{record: control.Claim{Timeline: 2}}
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() {}, true},
		{func() { n.written = true }, false},
		{n.rollback, true},
		{func() { n.written = true; n.commit() }, false},
		{n.rollback, false},
		{n.commit, false},
		{n.heard, false},
	} {
		if step.do(); n.pending() != step.want {
			t.Errorf("step %d: pending is %t", i, n.pending())
		}
	}
	if n != (notice{}) {
		t.Errorf("%+v is left", n)
	}
}
