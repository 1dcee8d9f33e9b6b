package eos

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor/admin"
)

// An application that was begun anew from a savepoint which it has claimed is killed at each step of letting it go:
// nothing of the savepoint is left in the end, counts are exact, and workers that are started with the same options find
// the rewind done.
func TestClaimKilledAtEachStep(t *testing.T) {
	for _, point := range []string{"notice:1", "claim.delete:1", "claim.deleted:1", "notice:2"} {
		t.Run(point, func(t *testing.T) {
			r := newRun(t, kafkatest.Shared(t), 1)
			p := r.start("a", "")
			r.settled(p)
			r.load(0, 500, false)
			path := filepath.Join(t.TempDir(), "ours")
			if _, err := r.admin().Stop(r.ctx, admin.StopOptions{Savepoint: &admin.SavepointOptions{ID: "ours", Path: path}}, nil); err != nil {
				t.Fatal(err)
			}
			r.ended(p)
			anew := []string{"-from", path, "-claim", "-retained", "2", "-transaction", "2s"}
			p = r.start("a", point+":KILL", anew...)
			report, ends := r.rewound(p)
			n := 500 + r.feedMore(500, p.over)
			r.killed(p)
			p = r.start("a", "", anew...)
			if again, _ := r.rewound(p); !again.DoneBefore || again.Timeline != report.Timeline {
				t.Errorf("%+v after %+v", again, report)
			}
			r.load(n, n+500, true)
			r.checkRewound(n+500, tally.Outputs{}, ends)
			for {
				if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
					break
				}
				if r.ctx.Err() != nil {
					t.Fatal("the savepoint is still there")
				}
			}
			r.stop(p)
			r.tally.Timeline = report.Timeline
			r.audit(true)
		})
	}
}
