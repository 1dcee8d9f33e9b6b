//go:build synctests

package processor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// two are retained.
func (v *virtualTally) two() processor.Option {
	return processor.CheckpointInto(processor.Checkpoints{Dir: v.checkpoints(), Interval: 2 * time.Second, Retained: 2, Compression: "none"})
}

// claims rewinds to a savepoint and gives it to the application.
func (v *virtualTally) claims(o processor.RewindOptions) (processor.RewindReport, error) {
	plan, err := v.Plan()
	v.must(err)
	o.Claim = true
	return processor.Rewind(v.ctx, plan, o, append(v.opts(), v.two())...)
}

// saved has the application process records, takes a savepoint, and ends.
func (v *virtualTally) saved(from, to int, id string) (path string) {
	v.Helper()
	v.start("a", v.two())
	v.members(1)
	v.load(from, to, false)
	path = filepath.Join(v.dir, id)
	_, err := v.admin().Stop(v.ctx, admin.StopOptions{Savepoint: &admin.SavepointOptions{ID: id, Path: path}}, nil)
	v.must(err)
	v.must(v.endedAlone("a"))
	return path
}

// completedTwice waits for two checkpoints more.
func (v *virtualTally) completedTwice() {
	v.Helper()
	for range 2 {
		_, err := v.completed()
		v.must(err)
	}
}

// until waits for a condition.
func (v *virtualTally) until(what string, is func() bool) {
	v.Helper()
	for !is() {
		if v.ctx.Err() != nil {
			v.Fatalf("not %s\n%s", what, v.log)
		}
		time.Sleep(50 * time.Millisecond) // virtual
	}
}

func there(path string) bool { _, err := os.Stat(path); return err == nil }

// A savepoint that is claimed goes when as many newer checkpoints are complete as are retained, and not before. Workers
// that are started with the same options long after that find the rewind done. Results are exact, and nobody goes back
// to what is gone.
func TestVirtualClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		path := v.saved(0, 300, "ours")
		report, err := v.claims(processor.RewindOptions{From: path})
		v.must(err)
		if !report.Claimed || report.Timeline != 2 || report.Done {
			t.Fatalf("%+v", report)
		}
		sees := func(want int) {
			t.Helper()
			got, err := v.admin().Checkpoints(v.ctx)
			if err != nil || len(got.Claimed) != want || want > 0 && (got.Claimed[0].Deleting || filepath.Dir(filepath.Dir(got.Claimed[0].Manifest)) != path) {
				t.Errorf("claimed are %+v, %v", got.Claimed, err)
			}
		}
		sees(1)
		v.start("a", v.two())
		v.load(300, 400, false)
		_, err = v.completed()
		v.must(err)
		if !there(path) {
			t.Errorf("it is gone after one checkpoint, two are retained\n%s", v.log)
		}
		v.until("deleted", func() bool { return !there(path) })
		if kept := v.retained(); len(kept) != 2 {
			t.Errorf("checkpoints %v are kept", kept)
		}
		v.completedTwice()
		sees(0)
		v.must(v.stop("a"))

		again := processor.StartFrom(processor.RewindOptions{From: path, Claim: true})
		v.start("a", v.two(), again)
		v.load(400, 500, true)
		v.right(500)
		v.must(v.stop("a"))
		v.Timeline = 2
		v.must(v.audit("a"))

		if _, err := v.claims(processor.RewindOptions{From: path, ID: "another"}); !errors.Is(err, snapshot.ErrNotFound) {
			t.Errorf("back to what is gone: %v", err)
		}
	})
}

// Without a claim it stays, and the first checkpoint afterwards is whole: it shares nothing with what the application
// was begun anew from, a checkpoint of its own included.
func TestVirtualNoClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		path := v.saved(0, 300, "yours")
		for i, from := range []string{path, ""} {
			if from == "" {
				names, _ := v.manifests()
				from = names[len(names)-1]
			}
			old := map[string]bool{}
			for _, name := range v.files() {
				old["objects/"+filepath.Base(name)] = true
			}
			report, err := v.rewind(processor.RewindOptions{From: from, ID: []string{"one", "two"}[i]})
			v.must(err)
			if report.Claimed {
				t.Errorf("%+v", report)
			}
			v.start("a", v.two())
			v.load(300+100*i, 400+100*i, false)
			var first *snapshot.Manifest
			_, err = v.completed()
			v.must(err)
			v.until("written", func() bool {
				_, all := v.manifests()
				for _, m := range all {
					if m.Timeline == report.Timeline && first == nil {
						first = m
					}
				}
				return first != nil
			})
			rows := int64(0)
			for _, s := range first.Tasks {
				for _, store := range s.Stores {
					for _, l := range store.Layers {
						if l.Content != snapshot.Full || len(store.Layers) != 1 {
							t.Errorf("checkpoint %d, store %s of task %s: %d layers, %s", first.Cut, store.UID, s.Task, len(store.Layers), l.Content)
						}
						for _, o := range l.Objects {
							rows += o.Entries
						}
					}
				}
			}
			for o := range first.Objects() {
				if old[o.Name] {
					t.Errorf("checkpoint %d shares %s", first.Cut, o.Name)
				}
			}
			if rows == 0 {
				t.Error("the first checkpoint has no rows")
			}
			v.completedTwice()
			v.must(v.stop("a"))
		}
		if !there(path) {
			t.Error("the savepoint is gone")
		}
	})
}

// While a claimed savepoint is being deleted the store goes away, and the worker that deletes it, too: what is left
// goes when the next one runs. Meanwhile nobody goes back to it.
func TestVirtualClaimThatIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		path := v.saved(0, 300, "ours")
		_, err := v.claims(processor.RewindOptions{From: path})
		v.must(err)
		one := func(dir string) string {
			found, err := filepath.Glob(filepath.Join(path, dir, "*"))
			v.must(err)
			if len(found) == 0 {
				t.Fatalf("the savepoint has no %s", dir)
			}
			return found[0]
		}
		manifest, object := one("manifests"), one("objects")
		aside := filepath.Join(v.dir, "aside")
		v.must(os.CopyFS(aside, os.DirFS(path)))
		// It cannot be deleted: a directory that is not empty has its name.
		v.must(os.Remove(object))
		v.must(os.MkdirAll(filepath.Join(object, "x"), 0o755))
		v.start("a", v.two())
		v.load(300, 400, false)
		v.until("tried", func() bool { return strings.Contains(v.log.String(), "which was claimed") })
		v.must(v.stop("a"))
		// As if the worker had been killed a moment earlier.
		v.must(os.RemoveAll(path))
		v.must(os.CopyFS(path, os.DirFS(aside)))
		if _, err := v.claims(processor.RewindOptions{From: path, ID: "another"}); !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "being deleted") {
			t.Errorf("back to what is being deleted: %v", err)
		}
		v.must(os.Remove(manifest)) // and half of it is gone
		v.start("b", v.two())
		v.load(400, 500, true)
		v.until("deleted", func() bool { return !there(path) })
		v.right(500)
		v.must(v.stop("b"))
	})
}

// Gone back to a claimed savepoint, its checkpoints from before do not take its place. With a cancel that deletes
// checkpoints it goes, too. What cannot be claimed is refused.
func TestVirtualClaimAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		path := v.saved(0, 300, "ours")
		_, err := v.claims(processor.RewindOptions{From: path})
		v.must(err)
		v.start("a", v.two())
		v.load(300, 400, false)
		_, err = v.completed()
		v.must(err)
		v.must(v.stop("a"))
		report, err := v.rewind(processor.RewindOptions{From: path, ID: "again"})
		v.must(err)
		v.start("a", v.two(), v.deleting())
		v.load(400, 500, true)
		if _, err = v.completed(); err != nil || !there(path) {
			t.Errorf("%v, there: %t: one newer checkpoint is complete", err, there(path))
		}
		out, err := v.AwaitRewound(v.ctx, v.brokers, 500, tally.Outputs{}, endsOf(report))
		v.must(err)
		v.must(v.CheckRewound(out, 500, endsOf(report)).Err())
		v.cancel(admin.StopOptions{})
		if there(path) || len(v.files()) > 0 {
			t.Errorf("left behind: %t, %v\n%s", there(path), v.files(), v.log)
		}

		v.App = "other"
		v.must(v.CreateTopics(v.ctx, v.brokers, 1))
		if _, err := v.claims(processor.RewindOptions{From: path, Fork: true}); !errors.Is(err, snapshot.ErrNotFound) {
			t.Errorf("a fork of what is gone: %v", err)
		}
	})
}

// A checkpoint of another application, and a claim that nothing would ever follow, are refused.
func TestVirtualClaimRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		path := v.saved(0, 300, "ours")
		v.start("a", v.two())
		v.completedTwice()
		v.must(v.stop("a"))
		names, _ := v.manifests()
		plan, err := v.Plan()
		v.must(err)
		_, err = processor.Rewind(v.ctx, plan, processor.RewindOptions{From: path, Claim: true, DryRun: true}, v.opts()...)
		if !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "--checkpoint-dir") {
			t.Errorf("without a place for checkpoints: %v", err)
		}
		if _, err := v.claims(processor.RewindOptions{From: names[0], DryRun: true}); err != nil {
			t.Errorf("a checkpoint of its own: %v", err)
		}
		v.App = "other"
		if _, err := v.claims(processor.RewindOptions{From: names[0], Fork: true, DryRun: true}); !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "cannot be claimed") {
			t.Errorf("a checkpoint of another application: %v", err)
		}
	})
}
