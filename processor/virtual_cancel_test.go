//go:build synctests

package processor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// deleting takes checkpoints that do not outlive the application.
func (v *virtualTally) deleting() processor.Option {
	return processor.AdjustCheckpoints(func(c *processor.Checkpoints) { c.OnCancel = "delete" })
}

// files are the names of what lies in the application's checkpoints.
func (v *virtualTally) files() []string {
	v.Helper()
	var out []string
	for _, dir := range []string{"manifests", "objects"} {
		found, err := filepath.Glob(filepath.Join(v.checkpoints(), v.App, dir, "*"))
		if err != nil {
			v.Fatal(err)
		}
		out = append(out, found...)
	}
	return out
}

// retained are the ids of the checkpoints that are kept.
func (v *virtualTally) retained() (ids []uint64) {
	v.Helper()
	got, err := v.admin().Checkpoints(v.ctx)
	if err != nil {
		v.Fatal(err)
	}
	for _, k := range got.Kept {
		ids = append(ids, k.ID)
	}
	return ids
}

// cancel stops the application as a whole, and sees its workers end.
func (v *virtualTally) cancel(o admin.StopOptions) admin.Stopped {
	v.Helper()
	stopped, err := v.admin().Stop(v.ctx, o, nil)
	if err != nil {
		v.Fatalf("%v\n%s", err, v.log)
	}
	for name, end := range v.ended() {
		if err := <-end; err != nil {
			v.Errorf("%s ended with %v\n%s", name, err, v.log)
		}
	}
	return stopped
}

// With "delete" no checkpoint outlives a cancel: the log says that none is kept, and nothing
// lies in the store. The application starts afterwards where it was, and takes new ones. A stop
// with a savepoint is a cancel, too, and leaves the savepoint; the end of workers by a signal is
// none.
func TestVirtualCancelDeletesCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		start := func(names ...string) {
			for _, name := range names {
				v.start(name, v.plain(), v.deleting())
			}
			v.members(len(names))
		}
		complete := func() (id uint64) {
			for range 2 {
				var err error
				if id, err = v.completed(); err != nil {
					t.Fatalf("%v\n%s", err, v.log)
				}
			}
			return id
		}
		gone := func() {
			t.Helper()
			if ids, files := v.retained(), v.files(); len(ids) > 0 || len(files) > 0 {
				t.Fatalf("checkpoints %v are kept, %v are left\n%s", ids, files, v.log)
			}
		}
		start("a", "b")
		v.load(0, 200, false)
		last := complete()
		if len(v.files()) == 0 {
			t.Fatal("no checkpoint has files")
		}
		v.cancel(admin.StopOptions{})
		gone()

		start("a", "b")
		v.load(200, 300, false)
		if again := complete(); again <= last {
			t.Errorf("checkpoint %d comes after %d", again, last)
		}
		path := filepath.Join(v.dir, "last")
		v.cancel(admin.StopOptions{Savepoint: &admin.SavepointOptions{ID: "last", Path: path}})
		gone()
		v.savepointIsWhatWasDone(path)

		start("a")
		v.load(300, 400, true)
		v.right(400)
		complete()
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		if ids := v.retained(); len(ids) == 0 {
			t.Error("the end of a worker has dropped checkpoints")
		}
		if err := v.audit("a"); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
	})
}

// By default they are retained. Asked for less than exactly once, the worker says that there is
// no less, and the audit of its checkpoints finds them exact.
func TestVirtualCancelRetainsCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		least := processor.AdjustCheckpoints(func(c *processor.Checkpoints) { c.Mode = "at-least-once" })
		v.start("a", v.plain(), least)
		v.members(1)
		v.load(0, 100, true)
		for range 4 {
			if _, err := v.completed(); err != nil {
				t.Fatalf("%v\n%s", err, v.log)
			}
		}
		v.cancel(admin.StopOptions{})
		ids := v.retained()
		if len(ids) < 3 {
			t.Fatalf("checkpoints %v are kept", ids)
		}
		v.right(100)
		if err := v.audit("a"); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
		if said := v.log.String(); strings.Count(said, "exactly-once is given, at the same cost") != 1 {
			t.Errorf("nobody says that there is no less than exactly once:\n%s", said)
		}
	})
}

// The store is away while the application is stopped for good: the worker says so and ends in
// time. The log says already that no checkpoint counts, and what they left is deleted when the
// application runs again and the store is back. The same if the worker is killed between the
// two.
func TestVirtualCancelThatIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", v.plain(), v.deleting())
		v.members(1)
		v.load(0, 100, false)
		for range 3 {
			if _, err := v.completed(); err != nil {
				t.Fatalf("%v\n%s", err, v.log)
			}
		}
		place, away := filepath.Join(v.checkpoints(), v.App), filepath.Join(v.dir, "away")
		if err := os.Rename(place, away); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(place, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		v.cancel(admin.StopOptions{})
		if ids := v.retained(); len(ids) > 0 {
			t.Errorf("checkpoints %v are kept\n%s", ids, v.log)
		}
		if !strings.Contains(v.log.String(), "deleted at the next start") {
			t.Errorf("nobody says so:\n%s", v.log)
		}
		if err := os.Remove(place); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, place); err != nil {
			t.Fatal(err)
		}
		left := v.files()
		if len(left) == 0 {
			t.Fatal("nothing was left")
		}
		v.start("a", v.plain(), v.deleting())
		v.load(100, 200, true)
		v.right(200)
		for {
			still := ""
			for _, name := range left {
				if _, err := os.Stat(name); err == nil {
					still += fmt.Sprintf("%s\n", name)
				}
			}
			if still == "" {
				break
			}
			if v.ctx.Err() != nil {
				t.Fatalf("still there:\n%s\n%s", still, v.log)
			}
			time.Sleep(100 * time.Millisecond) // virtual
		}
		v.cancel(admin.StopOptions{})
		if files := v.files(); len(files) > 0 {
			t.Errorf("left: %v\n%s", files, v.log)
		}
	})
}
