//go:build synctests

package processor_test

import (
	"context"
	"errors"
	"fmt"

	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// lying are the checkpoints whose manifests lie there. Each has all of its objects.
func (v *virtualTally) lying() (ids []uint64, manifests []string, named map[string]bool) {
	v.Helper()
	named = map[string]bool{}
	b, err := snapshot.Open(v.ctx, filepath.Join(v.checkpoints(), v.App), snapshot.Options{Create: true})
	v.must(err)
	defer b.Close()
	found, err := b.Manifests(v.ctx)
	v.must(err)
	for _, f := range found {
		m, err := b.Load(v.ctx, f.Name, v.App)
		if errors.Is(err, snapshot.ErrNotFound) {
			continue // deleted meanwhile
		}
		v.must(err)
		path := filepath.Join(v.checkpoints(), v.App, f.Name)
		ids, manifests, named[path] = append(ids, m.Cut), append(manifests, path), true
		for o := range m.Objects() {
			file := filepath.Join(v.checkpoints(), v.App, o.Name)
			if named[file] = true; !there(file) && there(path) { // it goes first
				v.Errorf("checkpoint %d lies there without %s", m.Cut, o.Name)
			}
		}
	}
	return ids, manifests, named
}

// killedAt cancels the application and kills its worker behind so many steps of that; it says how many there were.
func (v *virtualTally) killedAt(steps int64) int64 {
	v.Helper()
	m := &mortal{left: steps}
	v.start("a", append([]processor.Option{v.plain(), v.deleting()}, m.options(v, fmt.Sprintf("a%d", steps))...)...)
	v.members(1)
	for at := 0; at < 200; at += 40 { // so that increments share layers
		v.load(at, at+40, false)
		_, err := v.completed()
		v.must(err)
	}
	m.armed.Store(true)
	ctx, cancel := context.WithCancel(v.ctx)
	defer cancel()
	asked := make(chan error, 1)
	go func() { _, err := v.admin().Stop(ctx, admin.StopOptions{}, nil); asked <- err }()
	stop := v.stops["a"]
	delete(v.stops, "a")
	if err := v.waits["a"](); err != nil && !m.dead.Load() {
		v.Fatalf("it ended with %v\n%s", err, v.log)
	}
	cancel()
	if err := <-asked; err != nil && !errors.Is(err, context.Canceled) {
		v.Fatalf("the stop: %v\n%s", err, v.log)
	}
	_ = stop()
	return m.steps.Load()
}

// A cancel that deletes checkpoints is killed at each step: what changes something on a broker, and each deletion in the
// store. What the log says is kept is whole, and so is each manifest that lies there, of which those that are not kept are
// refused; the next start, or a rewind to what is kept, works, and what was dropped is deleted in the end.
func TestVirtualCancelIsKilledAtEachStep(t *testing.T) {
	var all int64
	t.Run("none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newVirtualTally(t)
			all = v.killedAt(1 << 40)
			if ids, files := v.retained(), v.files(); len(ids) > 0 || len(files) > 0 {
				t.Errorf("checkpoints %v are kept, %v are left\n%s", ids, files, v.log)
			}
		})
	})
	if all < 10 {
		t.Fatalf("it takes %d steps", all)
	}
	cut, whole := 0, 0 // short, and so that all is there as before
	for steps := range all {
		if steps > 20 && steps%5 != 0 {
			continue // one object after the other
		}
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				v.killedAt(steps)
				kept := v.retained()
				ids, manifests, _ := v.lying()
				for _, id := range kept {
					if !slices.Contains(ids, id) {
						t.Errorf("checkpoint %d is kept, and its manifest is not there", id)
					}
				}
				for i, id := range ids { // what is deleted next is refused as a whole, before any of it is
					if slices.Contains(kept, id) {
						continue
					}
					if _, err := v.rewind(processor.RewindOptions{From: manifests[i], StopWorkers: true}); !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "is not kept any more") {
						t.Errorf("a rewind to checkpoint %d, which is dropped: %v", id, err)
					}
				}
				switch {
				case len(kept) >= 3:
					whole++
				case len(ids) > 0:
					cut++
				}
				var ends map[tally.Partition]int64
				if len(kept) > 0 && steps%2 == 1 {
					newest := manifests[slices.Index(ids, kept[len(kept)-1])]
					report, err := v.rewind(processor.RewindOptions{From: newest, StopWorkers: true})
					v.must(err)
					ends, v.Timeline = endsOf(report), report.Timeline
				}
				next := &mortal{} // is not armed, and lives on
				v.start("b", append([]processor.Option{v.plain(), v.deleting()}, next.options(v, fmt.Sprintf("b%d", steps))...)...)
				v.swept()
				v.load(200, 300, true)
				if ends == nil {
					v.right(300)
				} else {
					out, err := v.AwaitRewound(v.ctx, v.brokers, 300, tally.Outputs{}, ends)
					v.must(err)
					v.must(v.CheckRewound(out, 300, ends).Err())
				}
				v.cancel(admin.StopOptions{})
				if ids, files := v.retained(), v.files(); len(ids) > 0 || len(files) > 0 {
					t.Errorf("checkpoints %v are kept, %v are left\n%s", ids, files, v.log)
				}
			})
		})
	}
	t.Logf("%d steps; killed before the first was dropped: %d, between the first and the last deletion: %d", all, whole, cut)
	if cut == 0 || whole == 0 {
		t.Error("the steps are not those of a cancel")
	}
}

// swept waits until nothing of what lies there now is left but what checkpoints need which are kept.
func (v *virtualTally) swept() {
	v.Helper()
	old := v.files()
	were, _, _ := v.lying()
	for {
		var left []string
		ids, _, named := v.lying()
		for _, file := range old {
			if !named[file] && there(file) {
				left = append(left, file)
			}
		}
		kept := v.retained()
		over := slices.DeleteFunc(ids, func(id uint64) bool { return slices.Contains(kept, id) || !slices.Contains(were, id) })
		if len(left) == 0 && len(over) == 0 {
			return
		}
		if v.ctx.Err() != nil {
			v.Fatalf("left are %v, and checkpoints %v\n%s", left, over, v.log)
		}
		time.Sleep(70 * time.Millisecond) // virtual
	}
}
