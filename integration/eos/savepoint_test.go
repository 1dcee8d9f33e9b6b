package eos

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/admin"
)

// admin is a client that looks at the application from outside.
func (r *run) admin() *admin.Client {
	r.t.Helper()
	if r.client == nil {
		cl, err := admin.New(r.tally.App, kgo.SeedBrokers(r.cluster.Addrs()...))
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(cl.Close)
		r.client = cl
	}
	return r.client
}

// ended waits until a worker has ended by itself, as after a stop.
func (r *run) ended(p *proc) {
	r.t.Helper()
	select {
	case <-p.gone:
	case <-r.ctx.Done():
		r.t.Fatalf("%s has not ended", p.name)
	}
	if p.err != nil {
		r.t.Errorf("%s ended with %v", p.name, p.err)
	}
}

// A savepoint is taken while two workers process, and copied to somewhere else: the copy alone
// is what the inputs below its positions give, with what was on its way.
func TestSavepointWhileRecordsFlow(t *testing.T) {
	for _, format := range []string{"native", "portable"} {
		t.Run(format, func(t *testing.T) {
			r := newRun(t, kafkatest.Shared(t), 1)
			a, b := r.start("a", ""), r.start("b", "")
			r.settled(a, b)
			fed := r.feed(0, records)
			cl := r.admin()
			at, copied := filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "there")
			var seen []admin.SavepointProgress
			s, err := cl.TriggerSavepoint(r.ctx, admin.SavepointOptions{Path: at, Format: format}, func(p admin.SavepointProgress) { seen = append(seen, p) })
			if err != nil {
				t.Fatal(err)
			}
			if last := seen[len(seen)-1]; last.Tasks != 8 || last.Taken != 8 || last.Uploaded != 8 || s.Path != at {
				t.Errorf("%+v", last)
			}
			if err := os.CopyFS(copied, os.DirFS(at)); err != nil {
				t.Fatal(err)
			}
			c, err := admin.InspectSavepoint(r.ctx, copied, true)
			if err != nil || c.Cut != s.Cut || len(c.InFlight) != 4 || c.Rows == 0 {
				t.Errorf("%+v, %v", c, err)
			}
			t.Logf("cut %d: %d rows, %d records in flight, %d bytes", c.Cut, c.Rows, c.Records, c.Bytes)
			fed()
			r.load(records, records, true)
			r.check(records)
			r.stop(a)
			r.stop(b)
			r.audit(true, copied)
		})
	}
}

// A worker is killed at each step of a savepoint: it is taken, or declined and nothing of it is
// left, and the next one is taken.
func TestKilledWhileASavepointIsTaken(t *testing.T) {
	for _, point := range []string{
		"decide:1", "cut.ack:3", "cut.taken:3", "upload:3", "uploaded:3", "copy:2", "copied:2", "manifest:1", "manifest.written:1", "decide:2", "discard:1",
	} {
		t.Run(point, func(t *testing.T) {
			r := newRun(t, kafkatest.Shared(t), 1)
			off := []string{"-interval", "-1s"}
			p := r.start("a", point+":KILL", off...)
			r.settled(p)
			r.load(0, 100, false)
			cl := r.admin()
			o := admin.SavepointOptions{ID: "first", Path: filepath.Join(t.TempDir(), "first")}
			if point == "discard:1" { // of one that cannot be taken
				file := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(file, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				o.Path = filepath.Join(file, "below")
			}
			if _, err := cl.RequestSavepoint(r.ctx, o); err != nil {
				t.Fatal(err)
			}
			n := 100 + r.feedMore(100, p.over)
			r.killed(p)
			p = r.start("a", "", off...)
			s, err := cl.AwaitSavepoint(r.ctx, "first", nil)
			if err != nil && !errors.Is(err, admin.ErrDeclined) {
				t.Fatal(err)
			}
			t.Logf("the first is %s %s", s.State, s.Reason)
			r.settled(p)
			second := filepath.Join(t.TempDir(), "second")
			if _, err := cl.TriggerSavepoint(r.ctx, admin.SavepointOptions{ID: "second", Path: second}, nil); err != nil {
				t.Fatal(err)
			}
			if s.State == admin.SavepointDeclined {
				for { // in the background, also after the next one is complete
					left, err := filepath.Glob(filepath.Join(o.Path, "*", "*"))
					if err != nil || r.ctx.Err() != nil {
						t.Fatalf("left of the declined savepoint: %v, %v", left, err)
					}
					if len(left) == 0 {
						break
					}
				}
			}
			r.load(n, n+100, true)
			r.check(n + 100)
			r.stop(p)
			r.audit(true, second)
		})
	}
}

// feedMore loads records behind the first ones until a worker has come to its failpoint.
func (r *run) feedMore(from int, reached func() bool) (n int) {
	r.t.Helper()
	for !reached() {
		r.load(from+n, from+n+100, false)
		if n += 100; r.ctx.Err() != nil {
			r.t.Fatalf("a failpoint was not reached in %d records", n)
		}
	}
	return n
}

// An application is stopped with a savepoint while records flow: all workers end cleanly,
// nothing was processed behind the savepoint, and starting them again goes on from there.
func TestStopWithSavepoint(t *testing.T) {
	r := newRun(t, kafkatest.Shared(t), 1)
	a, b := r.start("a", ""), r.start("b", "")
	r.settled(a, b)
	fed := r.feed(0, records)
	at := filepath.Join(t.TempDir(), "last")
	stopped, err := r.admin().Stop(r.ctx, admin.StopOptions{Savepoint: &admin.SavepointOptions{Path: at}}, nil)
	if err != nil || stopped.Lanes != 4 {
		t.Fatalf("%+v, %v", stopped, err)
	}
	r.ended(a)
	r.ended(b)
	r.doneIs(at)
	a = r.start("a", "")
	r.settled(a)
	fed()
	r.load(records, records, true)
	r.check(records)
	if stopped, err = r.admin().Stop(r.ctx, admin.StopOptions{}, nil); err != nil || stopped.Lanes != 2 {
		t.Errorf("%+v, %v", stopped, err)
	}
	r.ended(a)
	r.audit(true)
}

// doneIs compares what the application has done with a savepoint.
func (r *run) doneIs(savepoint string) {
	r.t.Helper()
	var f tally.Facts
	if err := r.tally.CollectSavepoint(r.ctx, &f, savepoint); err != nil {
		r.t.Fatal(err)
	}
	got, err := r.cluster.Admin().FetchOffsets(kadm.RequireStable(r.ctx), r.names().Group())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, task := range f.Checkpoints[0].Manifest.Tasks {
		for _, p := range task.Positions {
			o, _ := got.Lookup(p.Topic, p.Partition)
			m, err := offsets.DecodeMetadata(o.Metadata)
			if err != nil || o.At != p.Offset || m.Epoch != task.Epoch {
				r.t.Errorf("task %s: %s/%d is at %d in epoch %s, the savepoint says %d, %s; %v", task.Task, p.Topic, p.Partition, o.At, m.Epoch, p.Offset, task.Epoch, err)
			}
		}
	}
}

// Whoever is killed while the application stops with a savepoint: it has stopped, or it goes on
// and says so.
func TestKilledWhileStopping(t *testing.T) {
	for _, point := range []string{"cut.taken:2", "manifest.written:1", "decide:2"} {
		t.Run(point, func(t *testing.T) {
			r := newRun(t, kafkatest.Shared(t), 1)
			off := []string{"-interval", "-1s"}
			a := r.start("a", point+":KILL", off...)
			r.settled(a)
			cl, o := r.admin(), admin.StopOptions{Savepoint: &admin.SavepointOptions{Path: filepath.Join(t.TempDir(), "s")}}
			asked := make(chan error, 1)
			go func() {
				_, err := cl.Stop(r.ctx, o, nil)
				asked <- err
			}()
			n := r.feedMore(0, a.over)
			r.killed(a)
			a = r.start("a", "", off...)
			err := <-asked
			if err != nil && !errors.Is(err, admin.ErrDeclined) {
				t.Fatal(err)
			}
			t.Logf("the stop: %v", err)
			if err == nil { // decided before the kill: who started later is none of its business
				r.printed(a, "task restored")
			}
			r.load(n, n+100, true)
			r.check(n + 100)
			a.signal(syscall.SIGTERM)
			r.ended(a)
			r.audit(true)
		})
	}
}
