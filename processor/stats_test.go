package processor_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
)

// Records of sources and of repartition topics are counted apart, each once when it is
// committed, also those that were rolled back in between; heartbeats and idle marks, of
// which there are more than records here, are not counted.
func TestStatsCountRecords(t *testing.T) {
	r := newRig(t)
	var failed atomic.Bool
	plan := hours(t, func(b *topology.Builder) topology.Stream[string, int64] {
		in := topology.From(b, badIn, topology.IdleAfter(100*time.Millisecond))
		return topology.FlatMapValues(in, func(_ string, v int64) ([]int64, error) { return []int64{v, v, v}, nil }).
			Peek(func(k string, _ int64) error {
				if k == "once" && failed.CompareAndSwap(false, true) {
					return errors.New("the first time")
				}
				return nil
			})
	})
	const n = 20
	for i := range n {
		r.sendAt("in", int32(i%2), string(rune('a'+i)), 0)
	}
	var (
		mu            sync.Mutex
		done, aborted processor.CommittedInfo
		heartbeats    int
	)
	w, err := processor.New(plan, r.options(processor.Events(&processor.Listener{
		EpochCommitted: func(i processor.CommittedInfo) {
			mu.Lock()
			defer mu.Unlock()
			done.Records, done.Internal = done.Records+i.Records, done.Internal+i.Internal
			if i.Records+i.Internal == 0 {
				heartbeats++
			}
		},
		EpochAborted: func(i processor.AbortedInfo) {
			mu.Lock()
			defer mu.Unlock()
			aborted.Records, aborted.Internal = aborted.Records+i.Records, aborted.Internal+i.Internal
		},
	}))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	await := func(records, internal int64) {
		t.Helper()
		for {
			s := w.Stats()
			if s.Records == records && s.Internal == internal {
				return
			}
			if pause(r.ctx) != nil || s.Records > records || s.Internal > internal {
				t.Fatalf("%+v: want %d records of sources and %d internal ones", s, records, internal)
			}
		}
	}
	await(n, 3*n)
	// One record before the failing one, in its partition, is rolled back with it.
	r.sendAt("in", 0, "before", time.Second)
	r.sendAt("in", 0, "once", time.Second)
	await(n+2, 3*(n+2))
	mu.Lock()
	enough := func() bool { return heartbeats >= 2 }
	for !enough() {
		mu.Unlock()
		if pause(r.ctx) != nil {
			t.Fatal("no epoch had heartbeats only")
		}
		mu.Lock()
	}
	mu.Unlock()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if s := w.Stats(); s.Records != n+2 || s.Internal != 3*(n+2) || s.Commits == 0 || s.FirstCommit.IsZero() || s.LastCommit.Before(s.FirstCommit) {
		t.Errorf("%+v", s)
	}
	if done.Records != n+2 || done.Internal != 3*(n+2) {
		t.Errorf("the listener was told of %d and %d records", done.Records, done.Internal)
	}
	if aborted.Records > 1 || aborted.Internal != 0 {
		t.Errorf("rolled back: %d and %d records", aborted.Records, aborted.Internal)
	}
}
