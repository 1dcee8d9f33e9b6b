//go:build synctests

package processor_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// A savepoint that was taken while records flow, and moved, is what an application goes back to: with
// what was in flight then, in either format.
func TestVirtualBackToASavepoint(t *testing.T) {
	for _, format := range []snapshot.Format{snapshot.Native, snapshot.Portable} {
		t.Run(string(format), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				const records = 400
				v.start("a", v.plain(), processor.Standbys(1))
				v.start("b", v.plain(), processor.Standbys(1))
				v.members(2)
				loaded := make(chan error, 1)
				go func() {
					for at := 0; at < records; at += 10 {
						if err := v.Load(v.ctx, v.brokers, at, at+10, false); err != nil {
							loaded <- err
							return
						}
						time.Sleep(15 * time.Millisecond) // virtual
					}
					loaded <- nil
				}()
				time.Sleep(200 * time.Millisecond) // virtual
				s, err := v.admin().TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "monday", Format: string(format)}, nil)
				v.must(err)
				v.must(<-loaded)
				_, err = v.completed()
				v.must(err)
				v.must(v.stop("a"))
				v.must(v.stop("b"))
				moved := filepath.Join(v.dir, "moved")
				v.must(os.Rename(s.Path, moved))

				report, err := v.rewind(processor.RewindOptions{From: moved})
				v.must(err)
				if report.Timeline != 2 || report.Rows == 0 {
					t.Fatalf("%+v", report)
				}
				v.start("a", v.seldom())
				v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
				out, err := v.AwaitRewound(v.ctx, v.brokers, records+100, tally.Outputs{}, endsOf(report))
				v.must(err)
				again := v.CheckRewound(out, records+100, endsOf(report))
				v.must(again.Err())
				if again.Again == 0 {
					t.Error("nothing was processed again: the test shows nothing")
				}
				_, err = v.completed()
				v.must(err)
				v.must(v.stop("a"))
				v.Timeline = report.Timeline
				v.must(os.Rename(moved, s.Path)) // where the audit looks
				v.must(v.audit("a"))
			})
		})
	}
}
