//go:build synctests

package processor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// admin is a client that looks at the application from outside.
func (v *virtualTally) admin() *admin.Client {
	cl, err := admin.New(v.App, append(v.Kafka, kgo.SeedBrokers(v.brokers...))...)
	if err != nil {
		v.Fatal(err)
	}
	v.Cleanup(cl.Close)
	return cl
}

// members waits until the group has that many members.
func (v *virtualTally) members(n int) {
	for {
		got, err := kadm.NewClient(v.adm).DescribeGroups(v.ctx, offsets.Names{Application: v.App, Timeline: 1}.Group())
		if err != nil || v.ctx.Err() != nil {
			v.Fatalf("%v, %v\n%s", err, v.ctx.Err(), v.log)
		}
		for _, g := range got {
			if g.State == "Stable" && len(g.Members) == n {
				return
			}
		}
		time.Sleep(50 * time.Millisecond) // virtual
	}
}

// load writes records and ends the test if it cannot.
func (v *virtualTally) load(from, to int, last bool) {
	if err := v.Load(v.ctx, v.brokers, from, to, last); err != nil {
		v.Fatal(err)
	}
}

// right waits for the results of n records and compares them.
func (v *virtualTally) right(n int) {
	out, err := v.Await(v.ctx, v.brokers, n)
	if err == nil {
		err = v.Check(out, n).Err()
	}
	if err != nil {
		v.Fatalf("%v\n%s", err, v.log)
	}
}

func bare() processor.Option {
	return processor.CheckpointInto(processor.Checkpoints{Compression: "none", Timeout: 20 * time.Second})
}

// A savepoint is taken while records flow, whole and with copies of what was in flight, in both
// formats; it is movable, retention leaves it alone, and no checkpoint builds upon it. The same
// id again takes no second one.
func TestVirtualSavepoint(t *testing.T) {
	for _, format := range []snapshot.Format{snapshot.Native, snapshot.Portable} {
		t.Run(string(format), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				v.start("a", v.plain())
				v.start("b", v.plain())
				v.members(2)
				v.load(0, 200, false)
				if _, err := v.completed(); err != nil {
					t.Fatalf("%v\n%s", err, v.log)
				}
				cl := v.admin()
				v.load(200, 300, false)
				var seen []admin.SavepointProgress
				s, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "first", Format: string(format)}, func(p admin.SavepointProgress) { seen = append(seen, p) })
				if err != nil {
					t.Fatalf("%v\n%s", err, v.log)
				}
				last := seen[len(seen)-1]
				if want := filepath.Join(v.checkpoints(), v.App, "savepoints", "first"); s.Path != want || last.State != admin.SavepointCompleted || last.Tasks != 6 {
					t.Errorf("it lies in %s, want %s; %+v", s.Path, want, last)
				}
				elsewhere := filepath.Join(v.dir, "elsewhere")
				again, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "first"}, nil)
				if err != nil || again.Cut != s.Cut || again.Path != s.Path {
					t.Errorf("again: %+v, %v", again, err)
				}
				if _, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "first", Path: elsewhere}, nil); !errors.Is(err, admin.ErrRequestTaken) {
					t.Errorf("the same id into another place: %v", err)
				}
				v.load(300, 400, false)
				if s, err = cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "second", Path: elsewhere, Format: string(format)}, nil); err != nil || s.Path != elsewhere {
					t.Fatalf("%+v, %v\n%s", s, err, v.log)
				}
				for range 5 { // more than are retained
					if _, err := v.completed(); err != nil {
						t.Fatalf("%v\n%s", err, v.log)
					}
				}
				v.load(400, 500, true)
				v.right(500)
				list, err := cl.Savepoints(v.ctx)
				if err != nil || len(list) != 2 || list[0].ID != "first" || list[1].State != admin.SavepointCompleted || list[1].Format != string(format) {
					t.Errorf("%+v, %v", list, err)
				}
				for _, name := range []string{"a", "b"} {
					if err := v.stop(name); err != nil {
						t.Error(err)
					}
				}
				if err := v.audit("a", "b"); err != nil {
					t.Errorf("%v\n%s", err, v.log)
				}
				v.standsAlone(elsewhere, s.Cut, format)
			})
		})
	}
}

// standsAlone reads a savepoint that was moved, and nothing else.
func (v *virtualTally) standsAlone(from string, cut uint64, format snapshot.Format) {
	to := filepath.Join(v.dir, "moved")
	if err := os.Rename(from, to); err != nil {
		v.Fatal(err)
	}
	c, err := admin.InspectSavepoint(v.ctx, to, true)
	if err != nil {
		v.Fatal(err)
	}
	if c.Kind != "savepoint" || c.Cut != cut || c.Format != string(format) || len(c.Tasks) != 6 || len(c.InFlight) != 3 || c.Rows == 0 || c.Plan.Application != v.App {
		v.Errorf("%+v", c)
	}
	for _, s := range c.Stores {
		if s.Layers != 1 || s.Tasks != 3 || s.Key != "string" || s.Kind == "" || s.Rows == 0 && s.UID != "windows" {
			v.Errorf("%+v", s)
		}
	}
	files := 0
	err = filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	})
	if err != nil || files != c.Files+1 {
		v.Errorf("%d files are there, the savepoint has %d and a manifest, %v", files, c.Files, err)
	}
	d, err := admin.DisposeSavepoint(v.ctx, to)
	if err != nil || d.Files != files || d.Cut != cut {
		v.Errorf("%+v, %v", d, err)
	}
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		v.Errorf("something is left: %v", err)
	}
}

// What is on its way for long is in the savepoint and needs no topic: the reader is held while
// its topic fills, and the topic is trimmed afterwards.
func TestVirtualSavepointCopiesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", bare())
		v.load(0, 300, false)
		v.members(1)
		s, err := v.admin().TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "s", Path: filepath.Join(v.dir, "s")}, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		for at := 300; at < 2100; at += 60 { // time for some trims
			v.load(at, at+60, false)
			time.Sleep(time.Second) // virtual
		}
		v.load(2100, 2160, true)
		v.right(2160)
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		starts, err := kadm.NewClient(v.adm).ListStartOffsets(v.ctx, offsets.Names{Application: v.App, Timeline: 1}.Repartition("by-group"))
		if err != nil {
			t.Fatal(err)
		}
		trimmed := 0
		starts.Each(func(o kadm.ListedOffset) {
			if o.Offset > 0 {
				trimmed++
			}
		})
		if trimmed == 0 {
			t.Error("nothing was trimmed behind the savepoint")
		}
		if err := v.audit("a"); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
		if s.State != admin.SavepointCompleted {
			t.Errorf("%+v", s)
		}
	})
}

// What cannot be taken is declined with the reason and what to do, leaves nothing behind, and
// the application goes on.
func TestVirtualSavepointIsDeclined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", bare())
		v.load(0, 100, false)
		v.members(1)
		cl := v.admin()
		file := filepath.Join(v.dir, "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		taken := filepath.Join(v.dir, "taken")
		if _, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "taken", Path: taken}, nil); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		before := listing(t, taken)
		for id, c := range map[string]struct{ path, want, hint string }{
			"no-place":    {"", "no place for savepoints", "SavepointDir"},
			"not-a-dir":   {filepath.Join(file, "below"), "not a directory", "let this user write there"},
			"occupied":    {taken, "another savepoint lies there", "empty place"},
			"no-driver":   {"s3://bucket/x?region=eu", "no driver", "gocloud.dev/blob/s3blob"},
			"in-manifest": {filepath.Join(taken, "manifests", "x", "..", ".."), "another savepoint lies there", "empty place"},
		} {
			s, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: id, Path: c.path}, nil)
			var e *processor.Error
			if !errors.Is(err, admin.ErrDeclined) || !errors.As(err, &e) || !strings.Contains(e.What, c.want) || !strings.Contains(e.What+e.Fix, c.hint) {
				t.Errorf("%s: %+v, %v, want %q and %q", id, s, err, c.want, c.hint)
			}
			if s.State != admin.SavepointDeclined || s.Reason != "upload-failed" {
				t.Errorf("%s: %+v", id, s)
			}
		}
		for _, path := range []string{"relative/path", "./x", "file://./x"} {
			if _, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{Path: path}, nil); err == nil || !strings.Contains(err.Error(), "relative") {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{Format: "xml"}, nil); err == nil || !strings.Contains(err.Error(), "native or portable") {
			t.Errorf("format: %v", err)
		}
		// All tasks wait behind the last cut, and go on when there is none.
		if s, err := cl.Stop(v.ctx, admin.StopOptions{Savepoint: &admin.SavepointOptions{ID: "no-stop", Path: taken}}, nil); !errors.Is(err, admin.ErrDeclined) {
			t.Errorf("a stop that cannot be: %+v, %v", s, err)
		}
		v.load(100, 200, true)
		v.right(200)
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		if after := listing(t, taken); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("the savepoint that lay there was %v, is %v", before, after)
		}
		if err := v.audit("a"); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
	})
}

func listing(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A place where nothing can be deleted is given up after a while: checkpoints, which are deleted
// one after the other, are dropped as ever.
func TestVirtualSavepointDoesNotHoldUpRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", v.plain())
		v.load(0, 100, false)
		v.members(1)
		dir := filepath.Join(v.dir, "damaged")
		if err := os.MkdirAll(filepath.Join(dir, "manifests"), 0o755); err != nil {
			t.Fatal(err)
		}
		damaged := filepath.Join(dir, "manifests", "0000000001-"+strings.Repeat("ab", 32)+".json")
		if err := os.WriteFile(damaged, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := v.admin().TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "s", Path: dir}, nil); !errors.Is(err, admin.ErrDeclined) {
			t.Errorf("%+v, %v", s, err)
		}
		for left := []string{damaged}; ; {
			cut, err := v.completed()
			if err == nil {
				left, err = filepath.Glob(filepath.Join(v.checkpoints(), v.App, "manifests", "*.json"))
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, v.log)
			}
			if cut > 40 && len(left) <= 4 { // three, and one that is being written or dropped
				break
			}
			if cut > 200 {
				t.Fatalf("%d checkpoints are kept at cut %d\n%s", len(left), cut, v.log)
			}
		}
		if _, err := os.Stat(damaged); err != nil {
			t.Error(err)
		}
		if err := v.stop("a"); err != nil {
			t.Error(err)
		}
	})
}

// Two workers that take the same name for two places: what one has written the other does not
// see, and the savepoint is declined instead of being half of one.
func TestVirtualSavepointIntoTwoPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		for _, name := range []string{"a", "b"} {
			v.start(name, processor.CheckpointInto(processor.Checkpoints{SavepointDir: filepath.Join(v.dir, "of-"+name), Compression: "none"}))
		}
		v.members(2)
		v.load(0, 200, false)
		s, err := v.admin().TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "s"}, nil)
		if !errors.Is(err, admin.ErrDeclined) || s.Reason != "manifest-failed" || !strings.Contains(s.Why, "not the same place for all workers") {
			t.Errorf("%+v, %v\n%s", s, err, v.log)
		}
		v.load(200, 300, true)
		v.right(300)
		for _, name := range []string{"a", "b"} {
			if err := v.stop(name); err != nil {
				t.Error(err)
			}
			if left, err := filepath.Glob(filepath.Join(v.dir, "of-"+name, v.App, "savepoints", "s", "*", "*")); err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
		}
	})
}

// A savepoint that is asked for in the middle of a rebalance is taken, or declined with a
// reason; the next one is taken.
func TestVirtualSavepointWhileWorkersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", bare(), processor.LeaveOnStop())
		v.load(0, 100, false)
		v.members(1)
		cl := v.admin()
		done := make(chan error, 1)
		v.start("b", bare(), processor.LeaveOnStop())
		go func() {
			_, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "s1", Path: filepath.Join(v.dir, "s1")}, nil)
			done <- err
		}()
		v.load(100, 200, false)
		if err := <-done; err != nil && !errors.Is(err, admin.ErrDeclined) {
			t.Errorf("%v\n%s", err, v.log)
		}
		go func() {
			_, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "s2", Path: filepath.Join(v.dir, "s2")}, nil)
			done <- err
		}()
		if err := v.stop("a"); err != nil {
			t.Error(err)
		}
		v.load(200, 300, false)
		if err := <-done; err != nil && !errors.Is(err, admin.ErrDeclined) {
			t.Errorf("%v\n%s", err, v.log)
		}
		if _, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "s3", Path: filepath.Join(v.dir, "s3")}, nil); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
		v.load(300, 400, true)
		v.right(400)
		if err := v.stop("b"); err != nil {
			t.Error(err)
		}
		if err := v.audit("a", "b"); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
	})
}

// A stop with a savepoint: what is in the savepoint is what the application has done, the
// workers end cleanly and leave the group, and starting them again goes on from there.
func TestVirtualStopWithSavepoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", bare())
		v.start("b", bare())
		v.members(2)
		cl := v.admin()
		loaded := make(chan error, 1)
		ctx, enough := context.WithCancel(v.ctx)
		n := 0
		go func() { // records flow all the time
			for ctx.Err() == nil {
				if err := v.Load(v.ctx, v.brokers, n, n+20, false); err != nil {
					loaded <- err
					return
				}
				n += 20
				time.Sleep(20 * time.Millisecond) // virtual
			}
			loaded <- nil
		}()
		time.Sleep(time.Second) // virtual
		// The coordinator hears late: the tasks wait behind the last cut for seconds, in which time goes on.
		until := time.Now().Add(5 * time.Second)
		v.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: offsets.Names{Application: v.App, Timeline: 1}.Acks(), Err: kerr.NotLeaderForPartition, Count: 100_000,
			When: func(kmsg.Request) bool { return time.Now().Before(until) }})
		stopped, err := cl.Stop(v.ctx, admin.StopOptions{Savepoint: &admin.SavepointOptions{ID: "last", Path: filepath.Join(v.dir, "last")}}, nil)
		if err != nil || stopped.Lanes != 2 || stopped.Savepoint == nil {
			t.Fatalf("%+v, %v\n%s", stopped, err, v.log)
		}
		for name, end := range v.ended() {
			if err := <-end; err != nil {
				t.Errorf("%s ended with %v", name, err)
			}
		}
		v.members0()
		v.savepointIsWhatWasDone(stopped.Savepoint.Path)

		v.start("a", bare()) // a start later is none of the stop's business
		v.members(1)
		enough()
		if err := <-loaded; err != nil {
			t.Fatal(err)
		}
		v.load(n, n+20, true)
		v.right(n + 20)
		if _, err := cl.Stop(v.ctx, admin.StopOptions{Savepoint: &admin.SavepointOptions{ID: "last", Path: filepath.Join(v.dir, "last")}}, nil); !errors.Is(err, admin.ErrRequestTaken) {
			t.Errorf("the same stop again: %v", err)
		}
		if stopped, err = cl.Stop(v.ctx, admin.StopOptions{}, nil); err != nil || stopped.Lanes != 1 {
			t.Errorf("%+v, %v", stopped, err)
		}
		for name, end := range v.ended() {
			if err := <-end; err != nil {
				t.Errorf("%s ended with %v", name, err)
			}
		}
		if stopped, err = cl.Stop(v.ctx, admin.StopOptions{}, nil); err != nil || stopped.Lanes != 0 {
			t.Errorf("a stop of nobody: %+v, %v", stopped, err)
		}
		if _, err := cl.TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "too-late"}, nil); !errors.Is(err, admin.ErrNotRunning) {
			t.Errorf("a savepoint of nobody: %v", err)
		}
		if err := v.audit("a", "b"); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
	})
}

// ended gives the ends of all workers, which nobody waits for any more.
func (v *virtualTally) ended() map[string]<-chan error {
	out := map[string]<-chan error{}
	for name, stop := range v.stops {
		c := make(chan error, 1)
		out[name] = c
		go func() { c <- stop() }()
		delete(v.stops, name)
	}
	return out
}

// members0 wants the group to be empty now.
func (v *virtualTally) members0() {
	group := offsets.Names{Application: v.App, Timeline: 1}.Group()
	got, err := kadm.NewClient(v.adm).DescribeGroups(v.ctx, group)
	if err != nil || len(got[group].Members) != 0 {
		v.Errorf("%+v, %v", got, err)
	}
}

// savepointIsWhatWasDone compares positions: nothing was processed behind the savepoint.
func (v *virtualTally) savepointIsWhatWasDone(path string) {
	var f tally.Facts
	if err := v.CollectSavepoint(v.ctx, &f, path); err != nil {
		v.Fatal(err)
	}
	got, err := kadm.NewClient(v.adm).FetchOffsets(kadm.RequireStable(v.ctx), offsets.Names{Application: v.App, Timeline: 1}.Group())
	if err != nil {
		v.Fatal(err)
	}
	for _, task := range f.Checkpoints[0].Manifest.Tasks {
		for _, p := range task.Positions {
			o, _ := got.Lookup(p.Topic, p.Partition)
			m, err := offsets.DecodeMetadata(o.Metadata)
			if err != nil || o.At != p.Offset || m.Epoch != task.Epoch {
				v.Errorf("task %s: %s/%d is at %d in epoch %s, the savepoint says %d, %s; %v", task.Task, p.Topic, p.Partition, o.At, m.Epoch, p.Offset, task.Epoch, err)
			}
		}
	}
}

// A stop while a checkpoint is under way: the workers end cleanly, and whoever comes next gives
// the checkpoint up and takes others.
func TestVirtualStopDuringCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", v.plain())
		v.load(0, 200, false)
		v.members(1)
		if _, err := v.completed(); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			v.load(200+20*i, 220+20*i, false)
			time.Sleep(time.Duration(70*i) * time.Millisecond) // virtual: somewhere in a checkpoint
			if stopped, err := v.admin().Stop(v.ctx, admin.StopOptions{}, nil); err != nil || stopped.Lanes != 1 {
				t.Fatalf("%+v, %v\n%s", stopped, err, v.log)
			}
			for name, end := range v.ended() {
				if err := <-end; err != nil {
					t.Errorf("%s ended with %v", name, err)
				}
			}
			v.start("a", v.plain())
			if _, err := v.completed(); err != nil {
				t.Fatalf("%v\n%s", err, v.log)
			}
		}
		v.load(300, 400, true)
		v.right(400)
		if err := v.stop("a"); err != nil {
			t.Error(err)
		}
		if err := v.audit("a"); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
	})
}

// nothingIsLeftOfDeclined waits until each savepoint that was asked for without a path is decided, and the places of
// those that were declined are empty.
func (v *virtualTally) nothingIsLeftOfDeclined() error {
	cl := v.admin()
	for {
		all, err := cl.Savepoints(v.ctx)
		if err != nil {
			return err
		}
		var left []string
		for _, s := range all {
			switch s.State {
			case admin.SavepointDeclined:
				files, err := filepath.Glob(filepath.Join(v.checkpoints(), v.App, "savepoints", s.ID, "*", "*"))
				if err != nil {
					return err
				}
				left = append(left, files...)
			case admin.SavepointCompleted:
			default:
				left = append(left, s.ID)
			}
		}
		if len(left) == 0 {
			return nil
		}
		if v.ctx.Err() != nil {
			return fmt.Errorf("undecided, or left of declined savepoints: %v", left)
		}
		time.Sleep(100 * time.Millisecond) // virtual
	}
}
