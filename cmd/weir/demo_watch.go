package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
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
		if now.Sub(toldAt) >= 2*time.Second || complete && counted > told {
			d.story.say("", "%11s orders committed, %8s/s", grouped(counted), grouped(int64(rate)))
			told, toldAt = counted, now
		} else {
			d.story.now("%11s orders committed, %8s/s", grouped(counted), grouped(int64(rate)))
		}
		if err := d.tellAborted(ctx); err != nil {
			return err
		}
		if d.killed.IsZero() && counted*5 >= d.o.n*2 {
			if err := d.killOne(ctx); err != nil {
				return err
			}
			continue
		}
		// The successor has to be back, or there would be nothing to tell.
		if complete && d.restores > 0 && (d.aborted || len(d.torn.open) == 0) {
			return nil
		}
	}
}

// awaitStart waits until a worker has passed its checks.
func (d *demo) awaitStart(ctx context.Context, name string) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.workers[name].done:
			return d.ended(name)
		case n := <-d.events:
			if d.tell(n); n.worker == name && n.event.Event == "started" {
				return nil
			}
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
	p := d.workers[victim]
	// Wait for the middle: something is written and not committed. The worker is held still
	// while it is looked at, twice, for what it had sent just before may still be on its
	// way. If the middle does not come there is nothing to do, and being killed then is just
	// as good.
	try, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for try.Err() == nil {
		if err := p.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		first, err := d.look(ctx, victim)
		if err != nil {
			return err
		}
		if d.torn, err = d.look(ctx, victim); err != nil {
			return err
		}
		if n := d.torn.total(); n > 0 && n == first.total() && maps.Equal(d.torn.open, first.open) {
			break
		}
		if err := p.signal(syscall.SIGCONT); err != nil {
			return err
		}
		select {
		case <-try.Done():
		case <-time.After(3 * time.Millisecond):
		}
	}
	p.kill()
	d.killed = time.Now()
	n := d.torn
	d.story.say(red, "KILLED worker %s (SIGKILL, process %d)", victim, p.cmd.Process.Pid)
	d.story.say(bold, "it left %s uncommitted records in an open transaction: %s results, %s orders on their way, %s changes of state",
		grouped(n.total()), grouped(n.results), grouped(n.rekeyed), grouped(n.changes))
	return d.start(ctx, victim, 2)
}

// tellAborted says when the torn transaction has been ended by the successor, as the
// brokers tell it.
func (d *demo) tellAborted(ctx context.Context) error {
	if d.aborted || d.killed.IsZero() || len(d.torn.open) == 0 {
		return nil
	}
	open, epoch, err := stillOpen(ctx, d.cl, d.torn.open)
	if err != nil || open {
		return err
	}
	d.aborted = true
	for _, was := range d.torn.open {
		d.story.say(bold, "its transaction is fenced and aborted (producer epoch %d, now %d): nobody ever reads those %s records",
			was.epoch, epoch, grouped(d.torn.total()))
		break
	}
	return nil
}

// tell says what a worker has to say.
func (d *demo) tell(n demoNews) {
	e := n.event
	if n.worker == victim && n.life == 1 && !d.killed.IsZero() {
		return // last words
	}
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
		name := strings.TrimPrefix(strings.TrimPrefix(tp, d.app+"-"), d.app+".1.")
		name = strings.Replace(name, ".repartition/", "/", 1)
		out = append(out, fmt.Sprintf("%s offset %s", name, grouped(at[tp])))
	}
	return strings.Join(out, ", ")
}
