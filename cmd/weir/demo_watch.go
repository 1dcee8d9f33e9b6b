package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// stallLimit is how long nothing may come before the demo gives up and compares what
// there is.
const stallLimit = time.Minute

// watch follows the work to its end and kills the victim on the way.
func (d *demo) watch(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var seen, told int64 // orders: when last looked, when last told of
	moved, toldAt := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-d.written:
			if err != nil {
				return err
			}
			continue
		case n := <-d.events:
			d.tell(n)
			continue
		case <-d.workers[steady].done:
			return d.ended(steady)
		case <-d.workers[victim].done:
			return d.ended(victim)
		case <-tick.C:
		}
		counted, complete, err := d.reader.progress()
		if err != nil {
			return err
		}
		now := time.Now()
		if counted != seen {
			seen, moved = counted, now
		}
		if now.Sub(moved) > stallLimit {
			d.story.say(red, "nothing new for %s: giving up", stallLimit)
			return nil
		}
		rate := float64(counted-told) / now.Sub(toldAt).Seconds()
		if now.Sub(toldAt) >= 2*time.Second || complete {
			d.story.say("", "%11s orders committed, %8s/s", grouped(counted), grouped(int64(rate)))
			told, toldAt = counted, now
		} else {
			d.story.now("%11s orders committed, %8s/s", grouped(counted), grouped(int64(rate)))
		}
		d.tellAborted()
		if d.killed.IsZero() && counted*5 >= d.o.n*2 {
			if err := d.killOne(ctx); err != nil {
				return err
			}
			continue
		}
		// The successor has to be back, or there would be nothing to tell.
		if complete && d.restores > 0 {
			return nil
		}
	}
}

// ended is the error of a worker that ended on its own.
func (d *demo) ended(name string) error {
	if err := d.workers[name].failure(); err != nil {
		return err
	}
	return fmt.Errorf("worker %s ended before its time", name)
}

// killOne kills the victim in the middle of a transaction and starts it again.
func (d *demo) killOne(ctx context.Context) error {
	// Wait for the middle: something of it is written and not committed. If that does not
	// come, there is nothing to do, and being killed then is just as good.
	try, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		open, err := openOf(ctx, d.cl, d.app, victim)
		if err != nil {
			return err
		}
		spans, err := uncommitted(ctx, d.cl, d.app)
		if err != nil {
			return err
		}
		if len(open) > 0 && len(spans) > 0 || try.Err() != nil {
			break
		}
		select {
		case <-try.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	pid := d.workers[victim].cmd.Process.Pid
	d.workers[victim].kill()
	d.killed = time.Now()
	open, err := openOf(ctx, d.cl, d.app, victim)
	if err != nil {
		return err
	}
	spans, err := uncommitted(ctx, d.cl, d.app)
	if err != nil {
		return err
	}
	d.story.say(red, "KILLED worker %s (SIGKILL, process %d)", victim, pid)
	if err := d.start(ctx, victim, 2); err != nil {
		return err
	}
	if d.tornSize, err = countUncommitted(ctx, &d.conn, spans, open); err != nil {
		return err
	}
	d.torn = open
	n := d.tornSize
	d.story.say(bold, "it left %s uncommitted records in an open transaction: %s results, %s orders on their way, %s changes of state",
		grouped(n.total()), grouped(n.results), grouped(n.rekeyed), grouped(n.changes))
	return nil
}

// tellAborted says when the torn transaction has been aborted, as its markers in the
// output show.
func (d *demo) tellAborted() {
	if d.aborted || len(d.torn) == 0 {
		return
	}
	if n := d.reader.abortMarkers(d.torn); n > 0 {
		d.aborted = true
		d.story.say(bold, "its transaction is fenced and aborted: no reader of the output ever sees those %s records", grouped(d.tornSize.total()))
	}
}

// tell says what a worker has to say.
func (d *demo) tell(n demoNews) {
	e := n.event
	switch e.Event {
	case "restored":
		if n.worker == victim && n.life == 2 {
			d.restores++
			d.story.say("", "worker %s is back at task %s: %s; goes on at %s", n.worker, e.Task, stateText(e), d.positions(e.Positions))
		} else if n.life == 1 && !d.killed.IsZero() {
			d.story.say("", "worker %s takes task %s over: %s; goes on at %s", n.worker, e.Task, stateText(e), d.positions(e.Positions))
		}
	case "ended":
		d.story.say("", "worker %s ended the transaction of %s", n.worker, e.Text)
	case "aborted":
		d.story.say("", "worker %s rolled %s records back and does them again: %s", n.worker, grouped(e.Records), e.Text)
	case "failed":
		d.story.say(red, "worker %s, task %s: %s", n.worker, e.Task, e.Text)
	case "warning":
		d.story.say(dim, "worker %s: %s", n.worker, strings.ReplaceAll(e.Text, "\n", "; "))
	}
}

func stateText(e demoEvent) string {
	switch e.Base {
	case "local":
		return fmt.Sprintf("local state trusted, %s newer changes read", grouped(e.Records))
	case "changelog":
		return fmt.Sprintf("state rebuilt from %s changes", grouped(e.Records))
	case "empty":
		return "no state yet"
	}
	return "it has no state"
}

// positions writes where a task goes on, without the names that all topics share.
func (d *demo) positions(at map[string]int64) string {
	var out []string
	for _, tp := range slices.Sorted(maps.Keys(at)) {
		name := strings.TrimPrefix(strings.TrimPrefix(tp, d.app+"-"), d.app+".")
		out = append(out, fmt.Sprintf("%s offset %s", name, grouped(at[tp])))
	}
	return strings.Join(out, ", ")
}
