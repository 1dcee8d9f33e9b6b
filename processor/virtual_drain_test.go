//go:build synctests

package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// drainSchedules is how many are played.
const drainSchedules = 20

// A drain amid faults, restarts and moves: nothing is read behind it, time ends in all tasks, every window fires once
// with what was read, and the savepoint is behind that. Where it is declined the application stays drained, and the
// next request has only the savepoint left.
func TestVirtualDrain(t *testing.T) {
	for seed := range uint64(drainSchedules) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { virtualDrain(t, seed) })
		})
	}
}

// flow loads records until it is told to end; it gives the number of them.
func (v *virtualTally) flow() (end func() int) {
	ctx, enough := context.WithCancel(v.ctx)
	n, done := 0, make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := v.Load(v.ctx, v.brokers, n, n+20, false); err != nil {
				done <- err
				return
			}
			n += 20
			time.Sleep(20 * time.Millisecond) // virtual
		}
		done <- nil
	}()
	return func() int {
		enough()
		if err := <-done; err != nil {
			v.Fatal(err)
		}
		return n
	}
}

// drainedAt compares the outputs with what was read before the drain, which the savepoint says.
func (v *virtualTally) drainedAt(path string) error {
	var f tally.Facts
	if err := v.CollectSavepoint(v.ctx, &f, path); err != nil {
		return err
	}
	read, tasks := map[tally.Partition]int64{}, f.Checkpoints[0].Manifest.Tasks
	for _, task := range tasks {
		if task.Time != offsets.EndOfTime {
			return fmt.Errorf("task %s is at %d", task.Task, task.Time)
		}
		for _, p := range task.Positions {
			read[tally.Partition{Topic: p.Topic, Number: p.Partition}] = p.Offset
		}
	}
	report, n, err := v.CheckDrained(v.ctx, v.brokers, read)
	if err == nil && (n == 0 || report.Windows == 0) {
		err = fmt.Errorf("%d records were read, %d windows have fired", n, report.Windows)
	}
	return errors.Join(err, report.Err())
}

func virtualDrain(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	v := newVirtualTally(t)
	copies := processor.Standbys(int(seed % 2))
	v.start("a", bare(), copies)
	v.start("b", bare(), copies)
	v.members(2)
	end := v.flow()
	time.Sleep(time.Second + time.Duration(rnd.IntN(1000))*time.Millisecond) // virtual

	drained, cl := make(chan admin.Stopped, 1), v.admin()
	go func() {
		for i := 0; ; i++ {
			id := fmt.Sprintf("drain-%d", i)
			s, err := cl.Stop(v.ctx, admin.StopOptions{Drain: true, Savepoint: &admin.SavepointOptions{ID: id, Path: filepath.Join(v.dir, id)}}, nil)
			if err == nil || v.ctx.Err() != nil {
				drained <- s
				return
			}
			fmt.Fprintf(v.log, "%s: %v\n", id, err)
			if !errors.Is(err, admin.ErrDeclined) && !errors.Is(err, admin.ErrNotRunning) {
				time.Sleep(time.Second) // virtual
			}
		}
	}()
	var faults []*kfake.FaultHandle
	for range 6 {
		time.Sleep(time.Duration(rnd.IntN(600)) * time.Millisecond) // virtual
		name := []string{"a", "b"}[rnd.IntN(2)]
		switch rnd.IntN(4) {
		case 0: // a worker comes again; if all is over it is refused
			if err := v.stop(name); err != nil && !errors.Is(err, processor.ErrDrained) {
				t.Fatalf("%v\n%s", err, v.log)
			}
			v.start(name, bare(), copies)
		case 1:
			id := offsets.Names{Application: v.App, Timeline: 1}.TransactionalID(name, 0)
			fmt.Fprintf(v.log, "fence %s: %v\n", id, processor.InitProducerID(v.ctx, v.adm, id))
		default:
			keys := []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.OffsetFetch, kmsg.Heartbeat}
			k := keys[rnd.IntN(len(keys))]
			e := faultsOf[k][rnd.IntN(len(faultsOf[k]))]
			fmt.Fprintf(v.log, "fault %s %v\n", k.Name(), e)
			faults = append(faults, v.c.Fault(kfake.Fault{Keys: []kmsg.Key{k}, Err: e, Count: 1 + rnd.IntN(2), When: func(r kmsg.Request) bool { return ours(r, e) }}))
		}
	}
	for _, f := range faults {
		f.Remove()
	}
	stopped := <-drained
	if stopped.Savepoint == nil {
		t.Fatalf("%+v\n%s", stopped, v.log)
	}
	for name, over := range v.ended() {
		if err := <-over; err != nil && !errors.Is(err, processor.ErrDrained) && !undecided(err) {
			t.Errorf("%s ended with %v", name, err)
		}
	}
	end()
	if err := errors.Join(v.drainedAt(stopped.Savepoint.Path), v.audit("a", "b")); err != nil {
		t.Fatalf("%v\n%s", err, v.log)
	}
}

// Behind a drain the application is not started again: what it read would be late. Going on from the savepoint is a
// rewind that has to be allowed; time begins anew in it, and each record counts once in all windows that ever fired.
// A checkpoint from before the drain needs no permission.
func TestVirtualDrainIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", bare())
		v.members(1)
		v.load(0, 700, false)
		before := filepath.Join(v.dir, "before")
		_, err := v.admin().TriggerSavepoint(v.ctx, admin.SavepointOptions{ID: "before", Path: before}, nil)
		v.must(err)
		s, err := v.admin().Stop(v.ctx, admin.StopOptions{Drain: true, Savepoint: &admin.SavepointOptions{Path: filepath.Join(v.dir, "end")}}, nil)
		v.must(err)
		v.must(v.endedAlone("a"))
		v.start("a", bare())
		if err := v.endedAlone("a"); !errors.Is(err, processor.ErrDrained) {
			t.Errorf("a start behind the drain: %v", err)
		}
		if _, err := v.rewind(processor.RewindOptions{From: before, DryRun: true}); err != nil {
			t.Errorf("back to before the drain: %v", err)
		}
		o := processor.RewindOptions{From: s.Savepoint.Path, DryRun: true}
		if _, err := v.rewind(o); !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "--allow-drained") {
			t.Errorf("on from the drain: %v", err)
		}
		o.AllowDrained, o.DryRun = true, false
		v.start("a", v.seldom(), processor.StartFrom(o))
		v.load(700, 1500, true)
		out, err := v.Await(v.ctx, v.brokers, 1500)
		v.must(err)
		counted := uint64(0)
		for _, w := range out.Windows {
			counted += binary.BigEndian.Uint64(w.Value)
		}
		if counted != 1500 {
			t.Errorf("%d records counted in windows, want 1500\n%s", counted, v.log)
		}
		_, err = v.completed()
		v.must(err)
		v.Timeline = 2
		v.must(v.stop("a"))
		v.must(v.audit("a"))
	})
}
