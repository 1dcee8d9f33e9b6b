//go:build synctests

package processor_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// noPlace makes the place for checkpoints one that cannot be written, until it is mended.
func (v *virtualTally) noPlace() (mend func()) {
	if err := os.WriteFile(v.checkpoints(), nil, 0o644); err != nil {
		v.Fatal(err)
	}
	return func() {
		if err := os.Remove(v.checkpoints()); err != nil {
			v.Fatal(err)
		}
	}
}

// Too many checkpoints fail. With "fail" that is a failure of the task that coordinates, and the
// restart strategy decides: it is tried again, or the worker ends with an error that says so.
// With "report" nothing happens but that it is told. Records are processed meanwhile, and the
// next checkpoint completes when it can.
func TestVirtualTooManyFailedCheckpoints(t *testing.T) {
	failing := func(on string) processor.Option {
		return processor.AdjustCheckpoints(func(c *processor.Checkpoints) { c.TolerableFailures, c.OnTooManyFailures = 2, on })
	}
	for on, strategy := range map[string]processor.Strategy{"report": processor.NoRestart(), "fail": processor.ExponentialDelay()} {
		t.Run(on, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				mend := v.noPlace()
				var failed, told atomic.Int64
				v.start("a", v.plain(), failing(on), processor.RestartStrategy(strategy), processor.Events(&processor.Listener{
					CheckpointsFail: func(i processor.CheckpointsFailInfo) {
						if told.Add(1); i.Failures != 3 {
							t.Errorf("%+v", i)
						}
					},
					TaskFailed: func(i processor.FailedInfo) {
						if failed.Add(1); !errors.Is(i.Err, processor.ErrCheckpointsFail) {
							t.Errorf("task %s: %v", i.Task, i.Err)
						}
					},
				}))
				v.load(0, 100, true)
				v.right(100)
				for told.Load() < 2 && v.ctx.Err() == nil {
					time.Sleep(50 * time.Millisecond) // virtual
				}
				if got := failed.Load(); (on == "fail") != (got > 0) {
					t.Errorf("%d tasks failed", got)
				}
				mend()
				if _, err := v.completed(); err != nil {
					t.Fatalf("%v\n%s", err, v.log)
				}
				if err := errors.Join(v.stop("a"), v.audit("a")); err != nil {
					t.Errorf("%v\n%s", err, v.log)
				}
			})
		})
	}
	t.Run("none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := newVirtualTally(t)
			v.noPlace()
			v.start("a", v.plain(), failing("fail"), processor.RestartStrategy(processor.NoRestart()))
			err := v.endedAlone("a")
			if !errors.Is(err, processor.ErrGaveUp) || !errors.Is(err, processor.ErrCheckpointsFail) {
				t.Fatalf("it ended with %v\n%s", err, v.log)
			}
			for _, want := range []string{"3 checkpoints in a row have failed, 2 are tolerable", "upload-failed", v.checkpoints(), "weir status"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v lacks %q", err, want)
				}
			}
		})
	})
}

// cutLog are the committed records about cuts, as cut and state, in their order.
func (v *virtualTally) cutLog() (out [][2]string) {
	v.Helper()
	topic := offsets.Names{Application: v.App}.Control()
	end, err := v.end(topic)
	if err != nil {
		v.Fatal(err)
	}
	_, err = changelog.ReadRange(v.ctx, append(v.Kafka, kgo.SeedBrokers(v.brokers...)), topic, 0, 0, end, func(key, value []byte, _ int64) error {
		cut, ok := strings.CutPrefix(string(key), "cut.")
		if !ok || value == nil {
			return nil
		}
		var said struct{ State string }
		err := json.Unmarshal(value, &said)
		out = append(out, [2]string{cut, said.State})
		return err
	})
	if err != nil {
		v.Fatal(err)
	}
	return out
}

// legal says what one coordinator at a time would not have written.
func (v *virtualTally) legal() {
	v.Helper()
	undecided, decided := "", map[string]string{}
	for _, r := range v.cutLog() {
		cut, state := r[0], r[1]
		switch {
		case state == "triggered" && (undecided != "" || decided[cut] != ""):
			v.Errorf("cut %s is triggered while %q is undecided", cut, undecided)
		case state == "triggered":
			undecided = cut
		case state == "dropped":
			if decided[cut] != "complete" {
				v.Errorf("cut %s is dropped, and is %q", cut, decided[cut])
			}
		case undecided != cut:
			v.Errorf("cut %s is %s, undecided is %q", cut, state, undecided)
		default:
			undecided, decided[cut] = "", state
		}
	}
	if len(decided) == 0 {
		v.Error("no cut was decided")
	}
}

// frozen is a network that stands still while the flag is set: what was sent arrives later.
func frozen(dial func(context.Context, string, string) (net.Conn, error), still *atomic.Bool) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		thaw(still)
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return frozenConn{c, still}, nil
	}
}

type frozenConn struct {
	net.Conn
	still *atomic.Bool
}

func (c frozenConn) Write(b []byte) (int, error) {
	thaw(c.still)
	return c.Conn.Write(b)
}

func thaw(still *atomic.Bool) {
	for still.Load() {
		time.Sleep(50 * time.Millisecond) // virtual
	}
}

// controller is the worker that has the control task, "" if nobody says so.
func (v *virtualTally) controller() string {
	v.Helper()
	got, err := kadm.NewClient(v.adm).DescribeGroups(v.ctx, offsets.Names{Application: v.App, Timeline: 1}.Group())
	if err != nil {
		v.Fatal(err)
	}
	for _, g := range got {
		for _, m := range g.Members {
			assigned, ok := m.Assigned.AsConsumer()
			if !ok || m.InstanceID == nil {
				continue
			}
			for _, topic := range assigned.Topics {
				if topic.Topic == (offsets.Names{Application: v.App}).Control() && len(topic.Partitions) > 0 {
					name, _, _ := offsets.ParseGroupInstance(*m.InstanceID)
					return name
				}
			}
		}
	}
	return ""
}

// Two coordinators at once: the worker that has the control task stands still with a checkpoint
// under way, another one takes the task over, and the first one goes on as if nothing had
// happened. Its decisions are fenced: the log is one that a single coordinator could have
// written.
func TestVirtualTwoCoordinators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		still := map[string]*atomic.Bool{"a": new(atomic.Bool), "b": new(atomic.Bool)}
		for name, flag := range still {
			v.start(name, v.plain(), processor.Kafka(kgo.Dialer(frozen(v.dial, flag))))
		}
		v.members(2)
		v.load(0, 200, false)
		const moves = 4
		for i := range moves {
			if _, err := v.completed(); err != nil {
				t.Fatalf("%v\n%s", err, v.log)
			}
			owner := v.controller()
			flag := still[owner]
			if flag == nil {
				t.Fatalf("the control task is %q's", owner)
			}
			time.Sleep(time.Duration(i) * 90 * time.Millisecond) // virtual: somewhere in the next checkpoint
			flag.Store(true)
			for v.controller() == owner || v.controller() == "" {
				if time.Sleep(100 * time.Millisecond); v.ctx.Err() != nil { // virtual
					t.Fatalf("nobody takes over\n%s", v.log)
				}
			}
			v.load(200+50*i, 250+50*i, false)
			if _, err := v.completed(); err != nil { // of the new one, while the old one is away
				t.Fatalf("%v\n%s", err, v.log)
			}
			flag.Store(false)
			v.members(2)
		}
		if n := strings.Count(v.log.String(), "epoch rolled back"); n < moves {
			t.Errorf("%d decisions of old coordinators were lost, of %d\n%s", n, moves, v.log)
		}
		v.load(200+50*moves, 500, true)
		v.right(500)
		if _, err := v.completed(); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		if err := errors.Join(v.stop("a"), v.stop("b"), v.audit("a", "b")); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
		v.legal()
	})
}

// A checkpoint that is asked for while the group rebalances completes, or is declined with the
// reason; the next one completes.
func TestVirtualCheckpointDuringRebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		request := processor.AdjustCheckpoints(func(c *processor.Checkpoints) { c.Interval = -1 })
		v.start("a", v.plain(), request)
		v.load(0, 100, false)
		v.members(1)
		cl := v.admin()
		completed, declined := 0, 0
		const rounds = 8
		for i := range rounds {
			v.load(100+20*i, 120+20*i, false)
			k, err := cl.RequestCheckpoint(v.ctx, admin.CheckpointOptions{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i/2) * 15 * time.Millisecond) // virtual
			if i%2 == 0 {
				v.start("b", v.plain(), request)
			} else if err := v.stop("b"); err != nil {
				t.Fatal(err)
			}
			k, err = cl.AwaitCheckpoint(v.ctx, k.Request, nil)
			switch {
			case err == nil && k.State != admin.CheckpointRequested:
				completed++
			case errors.Is(err, admin.ErrDeclined) && (k.Reason == "task-failed" || k.Reason == "coordinator-changed" || k.Reason == "timed-out"):
				if declined++; !strings.Contains(err.Error(), "the application goes on; ") {
					t.Errorf("declined without what to do: %v", err)
				}
			default:
				t.Fatalf("%+v, %v\n%s", k, err, v.log)
			}
			k, err = cl.TriggerCheckpoint(v.ctx, admin.CheckpointOptions{}, nil)
			if err == nil && k.Took() <= 0 { // most are done between two ticks of the lane
				t.Errorf("checkpoint %d took %s, says the log", k.ID, k.Took())
			}
			if err != nil {
				// What it waits for may move once more, and then it is the next one.
				if !errors.Is(err, admin.ErrDeclined) {
					t.Fatalf("%v\n%s", err, v.log)
				}
				if _, err = cl.TriggerCheckpoint(v.ctx, admin.CheckpointOptions{}, nil); err != nil {
					t.Fatalf("two behind the rebalance: %v\n%s", err, v.log)
				}
			}
		}
		t.Logf("%d completed, %d declined", completed, declined)
		v.load(100+20*rounds, 400, true)
		v.right(400)
		if err := errors.Join(v.stop("a"), v.audit("a", "b")); err != nil {
			t.Errorf("%v\n%s", err, v.log)
		}
		v.legal()
	})
}
