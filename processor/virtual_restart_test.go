//go:build synctests

package processor_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// counting is a plan of two sub-topologies, so of four tasks, that counts keys behind a
// function that may fail.
func (b *bubble) counting(f func(key string) error) *topology.Plan {
	b.Helper()
	top := topology.New("failing")
	passed := topology.From(top, topology.NewTopic("in", codec.String, codec.Bytes)).Peek(func(key string, _ []byte) error { return f(key) })
	passed.Repartition("middle").Count("counts").To(topology.NewTopic("out", codec.String, codec.Int64))
	plan, err := top.Build()
	if err != nil {
		b.Fatal(err)
	}
	return plan
}

// counts reads n results: keys with their counts.
func (b *bubble) counts(n int) []string {
	b.Helper()
	var got []string
	for len(got) < n && b.ctx.Err() == nil {
		b.cl.PollFetches(b.ctx).EachRecord(func(r *kgo.Record) {
			got = append(got, fmt.Sprintf("%s=%d", r.Key, binary.BigEndian.Uint64(r.Value)))
		})
	}
	slices.Sort(got)
	return got
}

func (b *bubble) wants(n int, want string) {
	b.Helper()
	if got := strings.Join(b.counts(n), " "); got != want {
		b.Errorf("results %s, want %s\n%s", got, want, b.log)
	}
}

// ended waits for a worker that ends by itself.
func (b *bubble) ended(ended <-chan error) error {
	b.Helper()
	select {
	case err := <-ended:
		if err == nil {
			b.Fatal("it ended without an error")
		}
		return err
	case <-b.ctx.Done():
		b.Fatalf("it did not end\n%s", b.log)
	}
	return nil
}

// story is what a worker told of its tasks.
type story struct {
	mu       sync.Mutex
	failed   []processor.FailedInfo
	when     []time.Time
	gaveUp   []processor.GaveUpInfo
	gaveUpAt time.Time
	closed   []string
	restored map[offsets.Task][]time.Time
	aborts   int
	changed  chan struct{}
}

func (s *story) listener() *processor.Listener {
	s.restored, s.changed = map[offsets.Task][]time.Time{}, make(chan struct{}, 1000)
	note := func(f func()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
		s.changed <- struct{}{}
	}
	return &processor.Listener{
		TaskFailed: func(i processor.FailedInfo) {
			note(func() { s.failed, s.when = append(s.failed, i), append(s.when, time.Now()) })
		},
		TaskGaveUp: func(i processor.GaveUpInfo) { note(func() { s.gaveUp, s.gaveUpAt = append(s.gaveUp, i), time.Now() }) },
		TaskClosed: func(i processor.ClosedInfo) {
			note(func() { s.closed = append(s.closed, fmt.Sprint(i.Task, " ", i.Reason)) })
		},
		EpochAborted: func(processor.AbortedInfo) { note(func() { s.aborts++ }) },
		TaskRestored: func(i processor.RestoredInfo) {
			note(func() { s.restored[i.Task] = append(s.restored[i.Task], time.Now()) })
		},
	}
}

// until waits for something to be so.
func (s *story) until(b *bubble, so func() bool) {
	b.Helper()
	for {
		s.mu.Lock()
		ok := so()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.changed:
		case <-b.ctx.Done():
			b.Fatalf("it never came to that\n%s", b.log)
		}
	}
}

// A task that fails some times is tried again after the pauses of its strategy, and goes on
// when it has healed; the others go on meanwhile. Nothing is lost and nothing counts twice.
func TestVirtualTaskFailsAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		for _, key := range []string{"a", "a", "bad", "a"} {
			b.send(0, key)
		}
		b.send(1, "b")
		b.send(1, "b")
		failures := 0
		s := new(story)
		stop, _ := b.start(b.counting(func(key string) error {
			if key == "bad" && failures < 3 {
				failures++
				return errors.New("not yet")
			}
			return nil
		}), s.listener(), processor.RestartStrategy(processor.FixedDelay(3, 10*time.Second)))
		began := time.Now()
		b.wants(4, "a=1 a=2 b=1 b=2")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("what comes before the record, and other tasks, waited %s", took)
		}
		b.wants(2, "a=3 bad=1")
		if err := stop(); err != nil {
			t.Error(err)
		}
		if len(s.failed) != 3 || len(s.gaveUp) != 0 {
			t.Fatalf("failures %v, given up %v", s.failed, s.gaveUp)
		}
		for i, f := range s.failed {
			if f.Task != (offsets.Task{}) || f.Attempt != i+1 || f.Retry > 10*time.Second || f.Retry < 9900*time.Millisecond || f.Strategy != "fixed-delay" {
				t.Errorf("failure %d: %+v", i+1, f)
			}
			var oe *task.OperatorError
			if !errors.As(f.Err, &oe) || oe.Offset != 2 {
				t.Errorf("failure %d: %v", i+1, f.Err)
			}
			if i > 0 && s.when[i].Sub(s.when[i-1]) < 9900*time.Millisecond {
				t.Errorf("tries at %v", s.when)
			}
		}
		for id, at := range s.restored {
			if want := map[bool]int{true: 4, false: 1}[id == offsets.Task{}]; len(at) != want {
				t.Errorf("task %s was restored %d times, want %d", id, len(at), want)
			}
		}
	})
}

// When a strategy gives a task up, Run says which, why and what to do. Before that, what
// other tasks have done is committed, in other lanes, too.
func TestVirtualGiveUp(t *testing.T) {
	errBroken := errors.New("broken for good")
	for name, c := range map[string]struct {
		err      error
		strategy processor.Strategy
		failed   int
		says     string
	}{
		"fixed-delay":   {errBroken, processor.FixedDelay(2, time.Second), 2, "given up at failure 3 by fixed-delay,attempts=2,delay=1s: "},
		"failure-rate":  {errBroken, processor.FailureRate(1, time.Minute, time.Second), 1, "given up at failure 2 by failure-rate,max-failures-per-interval=1,"},
		"none":          {errBroken, processor.NoRestart(), 0, "given up at failure 1 by none: "},
		"non-retriable": {topology.NonRetriable(errBroken), processor.ExponentialDelay(), 0, "given up, as trying again does not help: "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				mended, passing, passed := false, make(chan struct{}), 0
				plan := b.counting(func(key string) error {
					switch {
					case key == "bad" && !mended:
						<-passing // the other lane has begun an epoch that is not due for long
						return c.err
					case key == "b":
						if passed++; passed == 1 {
							close(passing)
						}
					}
					return nil
				})
				b.send(0, "bad")
				b.send(0, "a")
				b.send(1, "b")
				s := new(story)
				const interval = 30 * time.Second
				dir := processor.StateDir(t.TempDir())
				_, ended := b.start(plan, s.listener(), processor.RestartStrategy(c.strategy), processor.Lanes(2), processor.InstanceID("w"), dir,
					processor.CommitInterval(interval), processor.TransactionTimeout(2*interval), processor.RebalanceTimeout(3*interval))
				err := b.ended(ended)
				says(t, err, processor.ErrGaveUp, "task 0-0: "+c.says, "broken for good", "; mend the cause and start again")
				var oe *task.OperatorError
				if !errors.Is(err, errBroken) || !errors.As(err, &oe) || oe.Topic != "in" || errors.Is(err, topology.ErrNonRetriable) != (name == "non-retriable") {
					t.Errorf("%v lacks its cause", err)
				}
				if took := time.Since(s.gaveUpAt); took >= interval {
					t.Errorf("the worker ended %s after it had given up", took)
				}
				if g := s.gaveUp[0]; len(s.gaveUp) != 1 || len(s.failed) != c.failed || g.Attempt != c.failed+1 || g.Task != (offsets.Task{}) || !errors.Is(g.Err, errBroken) {
					t.Errorf("failed %v, given up %v", s.failed, s.gaveUp)
				}
				// The epoch of b was committed: it is not processed again.
				mended = true
				s = new(story)
				stop, _ := b.start(plan, s.listener(), processor.Lanes(2), processor.InstanceID("w"), dir)
				b.wants(3, "a=1 b=1 bad=1")
				if err := stop(); err != nil || passed != 1 {
					t.Errorf("b was processed %d times; %v", passed, err)
				}
			})
		})
	}
}

// Failures inside of one back-off window are one: of a task that somebody has had restored
// meanwhile, whatever the worker forgot with its membership.
func TestVirtualFailuresInOneWindowCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		b.send(0, "bad")
		b.send(1, "b")
		const pause = time.Minute
		var first time.Time
		calls := 0
		s := new(story)
		stop, _ := b.start(b.counting(func(key string) error {
			if key != "bad" {
				return nil
			}
			if calls++; calls == 1 {
				first = time.Now()
			}
			if time.Since(first) < pause/2 {
				return errors.New("not yet")
			}
			return nil
		}), s.listener(), processor.RestartStrategy(processor.FixedDelay(1, pause)), processor.InstanceID("w"))
		s.until(b, func() bool { return len(s.failed) == 1 })
		names := offsets.Names{Application: "failing", Timeline: 1}
		for n := 2; n <= 3; n++ {
			// Out of the group and in again: the task is restored at once.
			kicked := kadm.LeaveGroup(names.Group()).InstanceIDs(names.GroupInstance("w", 0))
			if _, err := kadm.NewClient(b.cl).LeaveGroup(b.ctx, kicked); err != nil {
				t.Fatal(err)
			}
			s.until(b, func() bool { return len(s.failed) == n || len(s.gaveUp) > 0 })
		}
		b.wants(2, "b=1 bad=1")
		if err := stop(); err != nil {
			t.Error(err)
		}
		if len(s.failed) != 3 || len(s.gaveUp) != 0 || calls != 4 {
			t.Fatalf("called %d times, failed %v, given up %v", calls, s.failed, s.gaveUp)
		}
		end := s.when[0].Add(s.failed[0].Retry)
		for i, f := range s.failed {
			if at := s.when[i].Add(f.Retry); f.Attempt != 1 || at.Sub(end).Abs() > 2*time.Millisecond {
				t.Errorf("failure %d: %+v, tried again at %s, want %s", i+1, f, at, end)
			}
		}
	})
}

// In failover full all tasks of the worker, in all its lanes, end their epoch and start again
// after one pause. Their failures are those of one: two at once use up one attempt.
func TestVirtualFullFailover(t *testing.T) {
	for _, scope := range []processor.FailoverScope{processor.FailoverFull, processor.FailoverRegion} {
		t.Run(scope.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				for p, key := range []string{"a", "b"} {
					b.send(int32(p), key)
					b.send(int32(p), key+"-bad")
					b.send(int32(p), key)
				}
				const pause = 5 * time.Second
				var mu sync.Mutex
				failures := map[string]int{}
				met := make(chan struct{})
				s := new(story)
				stop, _ := b.start(b.counting(func(key string) error {
					if !strings.HasSuffix(key, "-bad") {
						return nil
					}
					mu.Lock()
					failures[key]++
					n, both := failures[key], len(failures) == 2
					if n == 1 && both {
						close(met)
					}
					mu.Unlock()
					if n > 1 {
						return nil
					}
					<-met // the other one is about to fail, too
					return errors.New("not yet")
				}), s.listener(), processor.RestartStrategy(processor.FixedDelay(1, pause)), processor.Failover(scope), processor.Lanes(2))
				b.wants(6, "a-bad=1 a=1 a=2 b-bad=1 b=1 b=2")
				if err := stop(); err != nil {
					t.Error(err)
				}
				if len(s.failed) != 2 || s.failed[0].Attempt != 1 || s.failed[1].Attempt != 1 || len(s.gaveUp) != 0 {
					t.Errorf("failed %v, given up %v", s.failed, s.gaveUp)
				}
				again := 0
				for id, at := range s.restored {
					if len(at) > 1 {
						again++
						if d := at[1].Sub(s.when[0]); len(at) != 2 || d < pause-100*time.Millisecond {
							t.Errorf("task %s restored at %v, after the failure at %s", id, at, s.when[0])
						}
					}
				}
				closed := map[string]int{}
				for _, c := range s.closed {
					_, why, _ := strings.Cut(c, " ")
					closed[why]++
				}
				want := "map[failed:2 stopped:5]" // with the control task
				restored := 2
				if scope == processor.FailoverFull {
					want, restored = "map[failed:2 failover:3 stopped:5]", 5
				}
				if fmt.Sprint(closed) != want || again != restored {
					t.Errorf("%d tasks were restored again, want %d; closed %v\n%s", again, restored, s.closed, b.log)
				}
			})
		})
	}
}

// In failover full the attempts are those of all tasks: the first failure of one may be the
// last that is put up with, because another one has failed before.
func TestVirtualFullFailoverCountsAllTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		b.send(0, "a")
		failures := map[string]int{}
		s := new(story)
		_, ended := b.start(b.counting(func(key string) error {
			if failures[key]++; failures[key] > 1 {
				return nil
			}
			return errors.New("not yet")
		}), s.listener(), processor.RestartStrategy(processor.FixedDelay(1, time.Second)), processor.Failover(processor.FailoverFull))
		b.wants(1, "a=1")
		b.send(1, "b")
		says(t, b.ended(ended), processor.ErrGaveUp, "task 0-1: given up at failure 2 by fixed-delay")
	})
}
