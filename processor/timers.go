package processor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/weir-stream/weir/processor/internal/epoch"
)

const trimEvery = 10 * time.Second // how often read repartition records are deleted

// tick looks at what only the clock brings: retries, idle inputs, heartbeats, trimming.
func (l *lane) tick() {
	now := l.now()
	if now.Sub(l.lastTick) < tickEvery {
		return
	}
	l.lastTick = now
	l.spread++
	l.tickRetries(now)
	l.applyIdle()
	l.drain()
	l.tickTime(now)
	if c := l.coordinator(); c != nil {
		c.tick(now.UnixMilli())
	}
	if now.Sub(l.trimmed) >= trimEvery {
		l.trimmed = now
		l.trim()
	}
}

// applyIdle lets stores without epochs go on writing and warming up.
func (l *lane) applyIdle() {
	if l.machine.Phase() != epoch.Idle {
		return
	}
	for _, t := range l.tasks {
		for _, s := range t.stores {
			if err := s.Apply(); err != nil {
				l.stopNow(t, fmt.Errorf("write state of task %s: %w", t.id, err))
			}
		}
	}
}

// tickTime moves processing time in tasks that care about time, and lets their readers
// know how far they are. It needs an epoch, because windows may fire.
func (l *lane) tickTime(now time.Time) {
	for _, id := range slices.Clone(l.order) {
		t := l.tasks[id]
		if t == nil || !t.wantTime && !t.ended() || t.stop != nil || t.cut.last {
			continue
		}
		t.remind(now)
		ms := now.UnixMilli()
		due := t.run.TickDue(ms)
		if !due && (now.Sub(t.beat) < heartbeatEvery || !t.behind()) {
			if err := t.run.Tick(ms); err != nil {
				l.stopNow(t, err)
			}
			continue
		}
		if l.machine.Phase() == epoch.Idle && l.leaseHolds() {
			l.tell(epoch.Wanted{})
		}
		if l.machine.Phase() != epoch.Open {
			return
		}
		if !t.touched {
			t.touched = true
			l.tell(epoch.Touched{Task: id})
		}
		if err := t.run.Tick(ms); err != nil {
			l.userFailed(t, err)
			return
		}
	}
}

// behind says whether a reader of the task's repartition topics knows less than the task.
func (t *runningTask) behind() bool {
	wm, idle := t.run.Watermark(), t.run.Idle()
	for i := range t.outputs {
		for _, told := range t.outputs[i].told {
			if !told.knows(wm, idle) {
				return true
			}
		}
	}
	return false
}

// remind makes the task say again what it has said to readers that keep no row of what they
// heard: one of them that was restored alone would wait for it.
func (t *runningTask) remind(now time.Time) {
	if now.Sub(t.reminded) < t.lane.cfg.remindEvery {
		return
	}
	t.reminded = now
	for i := range t.outputs {
		if out := &t.outputs[i]; out.forgetful || out.rowless && t.ended() {
			t.outputs[i].forget()
		}
	}
}

// wantsTime says whether time matters in the sub-topology or behind it. Through a loop there
// is no time, and without loops no way round.
func (a *application) wantsTime(sub int) bool {
	if a.graph.Subs[sub].HasTime {
		return true
	}
	for i := range a.graph.Subs {
		for _, in := range a.graph.Subs[i].Inputs {
			if in.Internal && !in.Loop && slices.Contains(in.Upstream, sub) && a.wantsTime(i) {
				return true
			}
		}
	}
	return false
}

// forgetsTime says whether the readers of a repartition topic pass time on and keep no row
// of what they heard: those without windows, with windows somewhere behind them.
func (a *application) forgetsTime(uid string) bool {
	sub, read := a.readerOf(uid)
	return read && !a.graph.Subs[sub].HasTime && a.wantsTime(sub)
}

// keepsNoTime says whether the readers of a repartition topic keep no row of what they heard.
func (a *application) keepsNoTime(uid string) bool {
	sub, read := a.readerOf(uid)
	return read && !a.graph.Subs[sub].HasTime
}

// readerOf is the sub-topology that reads a repartition topic, none if that is a loop.
func (a *application) readerOf(uid string) (sub int, found bool) {
	for i := range a.graph.Subs {
		for _, in := range a.graph.Subs[i].Inputs {
			if in.Internal && !in.Loop && in.Topic == uid {
				return i, true
			}
		}
	}
	return 0, false
}

// trim deletes the records of repartition topics that this lane's tasks have read and
// committed: nobody reads them again.
func (l *lane) trim() {
	floors := kadm.Offsets{}
	for _, t := range l.tasks {
		for i, in := range t.inputs {
			if !in.trimmed {
				continue
			}
			if floor := repartitionFloor(l.unpinned(t, in.topicPartition, t.ledger.Span(i).Committed)); floor > 0 {
				floors.AddOffset(in.Topic, in.Partition, floor, -1)
			}
		}
	}
	if len(floors) == 0 {
		return
	}
	cl := l.group.client
	l.helpers.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, trimEvery)
		defer cancel()
		if _, err := kadm.NewClient(cl).DeleteRecords(ctx, floors); err != nil && ctx.Err() == nil {
			l.cfg.listener.warn("trim repartition topics", err)
		}
	})
}
