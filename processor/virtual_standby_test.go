//go:build synctests

package processor_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// restores notes how tasks were restored, the last time.
type restores struct {
	sync.Mutex
	of map[offsets.Task]processor.RestoredInfo
}

func (r *restores) listen() processor.Option {
	return processor.Events(&processor.Listener{TaskRestored: func(i processor.RestoredInfo) {
		r.Lock()
		defer r.Unlock()
		r.of[i.Task] = i
	}})
}

// bases counts the restores of tasks with state by what they began with.
func (r *restores) bases() map[string]int {
	r.Lock()
	defer r.Unlock()
	out := map[string]int{}
	for _, i := range r.of {
		if i.Base != "none" {
			out[i.Base]++
		}
	}
	return out
}

// When a worker is gone, the other one has the state of its tasks: it reads the last records,
// if any, and goes on. Its own tasks are not disturbed.
func TestVirtualStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const half, whole = 600, 900
		b := restores{of: map[offsets.Task]processor.RestoredInfo{}}
		v.start("a", v.plain(), processor.Standbys(1), processor.LeaveOnStop())
		v.start("b", v.plain(), processor.Standbys(1), b.listen())
		load := func(from, to int) {
			for at := from; at < to; at += 30 {
				if err := v.Load(v.ctx, v.brokers, at, at+30, at+30 == whole); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond) // virtual
			}
		}
		load(0, half)
		if _, err := v.completed(); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		time.Sleep(time.Second) // virtual: two looks at the ends
		own := b.bases()
		b.of = map[offsets.Task]processor.RestoredInfo{}
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		load(half, whole)
		out, err := v.Await(v.ctx, v.brokers, whole)
		if err == nil {
			err = v.Check(out, whole).Err()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		if err := errors.Join(v.stop("b"), v.audit("a", "b")); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		got := b.bases()
		if got["standby"] == 0 || len(got) != 1 || len(own) == 0 {
			t.Errorf("restored from %v, before that from %v\n%s", got, own, v.log)
		}
		for id, i := range b.of {
			if i.Base == "standby" && i.Records > 60 {
				t.Errorf("task %s had %d records to read", id, i.Records)
			}
		}
	})
}

// A worker joins. The tasks that move to it do so when it has their state: none is restored
// from its changelog, and nobody waits for more than the rebalance.
func TestVirtualWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const half, whole = 600, 1500
		b := restores{of: map[offsets.Task]processor.RestoredInfo{}}
		v.start("a", v.plain(), processor.Warmups(1))
		load := func(from, to int) {
			for at := from; at < to; at += 30 {
				if err := v.Load(v.ctx, v.brokers, at, at+30, at+30 == whole); err != nil {
					t.Fatal(err)
				}
				time.Sleep(200 * time.Millisecond) // virtual
			}
		}
		load(0, half)
		v.start("b", v.plain(), processor.Warmups(1), b.listen())
		load(half, whole)
		out, err := v.Await(v.ctx, v.brokers, whole)
		if err == nil {
			err = v.Check(out, whole).Err()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		if err := errors.Join(v.stop("a"), v.stop("b"), v.audit("a", "b")); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		got := b.bases()
		if got["standby"] < 2 || len(got) != 1 {
			t.Errorf("restored from %v\n%s", got, v.log)
		}
		for id, i := range b.of {
			if i.Base == "standby" && i.Records > 60 {
				t.Errorf("task %s had %d records to read", id, i.Records)
			}
		}
	})
}
