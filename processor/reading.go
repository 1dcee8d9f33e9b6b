package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/internal/epoch"
)

const (
	heldAbove = 1000        // records: no queue of fewer is long
	heldAfter = time.Second // a task that would need longer for its queue is slow

	behindRest = 10 * time.Millisecond // until the next look

	napMin = time.Millisecond // shorter ones are not worth it
	napMax = 50 * time.Millisecond
)

// nap lets records gather. A poll returns what somebody has just written and has the client
// fetch the next batch, many hundred times a second, for results that nobody sees before the
// epoch ends. So a lane that has little to do sleeps for half of the time that is left, again
// and again, and polls as it comes in the end only. A push wakes it.
func (l *lane) nap() {
	if l.machine.Phase() != epoch.Open || !l.work.light(l.cfg.commitInterval) {
		return
	}
	if d := min(l.patience()/2, napMax); d >= napMin {
		l.inbox.wait(l.ctx, d)
	}
}

// rest is how long the lane does not begin an epoch: its epochs fail, or its state changes
// faster than the disk takes it, and memory would grow without end.
func (l *lane) rest() time.Duration {
	d := l.pace.rest(l.now())
	for _, t := range l.tasks {
		for _, s := range t.stores {
			if s.Behind() {
				return max(d, behindRest)
			}
		}
	}
	return d
}

// noWait makes a poll return with what there is: to the client, no context means that.
var noWait context.Context

// pollMore takes what the client has while records are still in memory, so that a slow task
// does not keep the others of the lane from theirs. Whatever comes of it, the group is held
// afterwards: without that, callbacks would run while the records are processed.
func (l *lane) pollMore() kgo.Fetches {
	room := pollRecords
	for _, t := range l.tasks {
		room -= t.waiting()
	}
	if room > 0 {
		if fetches := l.group.client.PollRecords(noWait, room); len(fetches) > 0 {
			return fetches
		}
	}
	// A poll whose context has ended takes nothing but the hold.
	l.group.client.PollRecords(over, pollRecords)
	return nil
}

// holdSlow pauses the partitions of tasks that would fill the memory of the lane with records
// that wait for them, until their queue is short.
func (l *lane) holdSlow() {
	now := l.now()
	for _, id := range l.order {
		t := l.tasks[id]
		switch n := t.waiting(); {
		case t.held && n <= heldAbove/2:
			t.held = false
			t.since, t.done = now, 0
			l.resume(t)
		case t.held || now.Sub(t.since) < heldAfter:
		default:
			if t.done < n && n > heldAbove {
				t.held = true
				l.pause(t)
			}
			t.since, t.done = now, 0
		}
	}
}

// accept hands polled records to their tasks.
func (l *lane) accept(fs kgo.Fetches) {
	fs.EachPartition(func(p kgo.FetchTopicPartition) {
		if p.Err != nil {
			l.fetchError(p.Topic, p.Partition, p.Err)
		}
		if len(p.Records) == 0 {
			return
		}
		r, ok := l.route[topicPartition{p.Topic, p.Partition}]
		t := l.tasks[r.task]
		if !ok {
			return
		}
		if t == nil {
			// Nobody here takes them, but the client has moved on: a restore in place has to
			// put it back, or they would be skipped.
			l.rewinds[r.task] = true
			return
		}
		l.work.left(p.LastStableOffset-p.Records[len(p.Records)-1].Offset-1, int64(len(p.Records)))
		if err := t.accept(r.input, p.Records); err != nil {
			l.stopNow(t, err)
		}
	})
}

// fetchError tells the owner of a partition that it cannot be read.
//
// The client reports an error of a partition in two cases, which look the same: a fetch
// that it will repeat, and a position that it could not learn or look up; then it does not
// read that partition again as long as it is a member. So after every such error a new
// client is taken; as a static member it gets the same tasks back.
func (l *lane) fetchError(topic string, partition int32, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	what := fmt.Sprintf("read %s/%d", topic, partition)
	tp := topicPartition{topic, partition}
	r, ours := l.route[tp]
	switch v := judge(err); {
	case v == verdictFencedInstance:
		l.fatal = errors.Join(ErrInstanceTaken, err)
		l.tell(epoch.Stop{})
	case !ours || !l.owned[tp] || v == verdictRetry:
		l.cfg.listener.warn(what, err)
	case v == verdictFatal && l.tasks[r.task] != nil:
		l.unread[tp] = err
		l.stopNow(l.tasks[r.task], fmt.Errorf("%s: %w", what, err))
	default:
		l.restart(fmt.Errorf("%s: %w", what, err))
	}
}

// restart ends the lane after the open epoch; the worker begins it anew.
func (l *lane) restart(why error) {
	if l.again != nil || l.stopping {
		return
	}
	l.again, l.stopping = why, true
	l.tell(epoch.Stop{})
}
