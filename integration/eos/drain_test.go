package eos

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/admin"
)

// An application is drained while records flow, and a worker is killed on the way, at each step
// of it: every window fires once with what was read, in all tasks, and the savepoint is behind
// that. What was not read is left.
func TestDrained(t *testing.T) {
	for _, point := range []string{"", "drain:1", "drain:3", "cut.ack:2", "decide:1", "manifest.written:1", "decide:2"} {
		t.Run(point, func(t *testing.T) {
			r := newRun(t, kafkatest.Shared(t), 1)
			off, kill := []string{"-interval", "-1s"}, ""
			if point != "" {
				kill = point + ":KILL"
			}
			a, b := r.start("a", kill, off...), r.start("b", "", off...)
			r.settled(a, b)
			r.load(0, 2000, false)
			fed := r.feed(2000, 4000)
			cl, restarted := r.admin(), false
			var s admin.Stopped
			for i := 0; ; i++ {
				ended := make(chan error, 1)
				go func() {
					id := fmt.Sprint("drain-", i)
					var err error
					s, err = cl.Stop(r.ctx, admin.StopOptions{Drain: true, Savepoint: &admin.SavepointOptions{ID: id, Path: filepath.Join(t.TempDir(), id)}}, nil)
					ended <- err
				}()
				var err error
				select {
				case err = <-ended:
				case <-a.gone:
					if err = nil; !restarted && point != "" {
						restarted = true
						a = r.start("a", "", off...)
					}
					err = <-ended
				}
				if err == nil {
					break
				}
				if !errors.Is(err, admin.ErrDeclined) {
					t.Fatal(err)
				}
				t.Log(err)
			}
			fed()
			r.drained(s.Savepoint.Path)
			late := r.start("c", "", off...)
			<-late.gone
			if late.err == nil || !late.said("it was drained") {
				t.Errorf("a start behind the drain: %v\n%s", late.err, late.tail())
			}
		})
	}
}

// drained compares the outputs with what was read before the drain, which the savepoint says.
func (r *run) drained(savepoint string) {
	r.t.Helper()
	var f tally.Facts
	if err := r.tally.CollectSavepoint(r.ctx, &f, savepoint); err != nil {
		r.t.Fatal(err)
	}
	read := map[tally.Partition]int64{}
	for _, task := range f.Checkpoints[0].Manifest.Tasks {
		if task.Time != offsets.EndOfTime {
			r.t.Errorf("task %s is at %d", task.Task, task.Time)
		}
		for _, p := range task.Positions {
			read[tally.Partition{Topic: p.Topic, Number: p.Partition}] = p.Offset
		}
	}
	report, n, err := r.tally.CheckDrained(r.ctx, r.cluster.Addrs(), read)
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if n == 0 || report.Windows == 0 {
		r.t.Errorf("%d records were read, and %d windows have fired", n, report.Windows)
	}
	r.t.Logf("%d records were read, %d windows have fired", n, report.Windows)
}
