package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

func newStatus() *cobra.Command {
	return ofApplication(&cobra.Command{
		Use:   "status APPLICATION",
		Short: "Show tasks, owners, lag, age of commits, and what holds time back",
		Long: `Show the tasks of an application: who runs them, how many records are before the end of their inputs, how old
their last commit is, how far their time is and the source partition that it waits for, and how many changelog
records a worker without local state would read to rebuild theirs, which workers follow it to take over, and how
checkpoints are: the newest one, how far the next one is, and why the last one that failed did. If its time is to
end (stop --drain), or has, it says how far that is. A restore that lasts
longer than a second shows how far it is, and a task that failed and waits for its next try the cause and when that
is.

It is what the last commits say. The exit code is 1 if no worker runs, a task is nobody's or waits after a failure,
or the group is rebalancing.`,
	}, func(ctx context.Context, cl *admin.Client, out output) error {
		s, err := cl.Status(ctx)
		if err != nil {
			return err
		}
		if err := out.show(s, func(w io.Writer) { showStatus(w, s, time.Now()) }); err != nil {
			return err
		}
		if len(s.Problems) > 0 {
			return &cli.Finding{}
		}
		return nil
	})
}

func showStatus(w io.Writer, s admin.Status, now time.Time) {
	fmt.Fprintf(w, "%s, timeline %d, born %s, group %s %s\n", s.Application, s.Timeline, s.Born.Format("2006-01-02 15:04 MST"), s.Group, strings.ToLower(s.GroupState))
	fmt.Fprintf(w, "%s offsets before the end, transaction markers included; time is at %s%s\n\n", number(s.Lag), moment(s.Watermark), held(s.HeldBy))

	t := newTable(w, []int{3, 4}, "worker", "host", "tasks", "with local state")
	for _, l := range s.Lanes {
		t.AppendRow(table.Row{fmt.Sprintf("%s/%d", l.Worker, l.Lane), l.Host, l.Tasks, l.Local})
	}
	if len(s.Lanes) > 0 {
		t.Render()
		fmt.Fprintln(w)
	}

	t = newTable(w, []int{3, 4, 7}, "task", "owner", "lag", "commit", "time", "held by", "rebuild", "epoch")
	for _, task := range s.Tasks {
		owner, committed := task.Owner, "never"
		if owner == "" {
			owner = "nobody"
		}
		if task.Committed != nil {
			committed = age(now.Sub(*task.Committed)) + " ago"
		}
		rebuild := int64(0)
		for _, st := range task.Stores {
			rebuild += st.Rebuild
		}
		restore := "-"
		if len(task.Stores) > 0 {
			restore = number(rebuild)
		}
		t.AppendRow(table.Row{task.Task, owner, number(task.Lag), committed, moment(task.Watermark), task.HeldBy, restore, task.Epoch})
	}
	t.Render()
	showStandbys(w, s)
	showCheckpoints(w, s.Checkpoints, now)
	showDrain(w, s.Drain, now)
	for _, task := range s.Tasks {
		if r := task.Restoring; r != nil {
			fmt.Fprintf(w, "\ntask %s is being restored by %s since %s: %.0f %%, %s changelog offsets left", task.Task, r.Owner, age(now.Sub(r.Since)), r.Percent, number(r.Left))
		}
	}
	if slices.ContainsFunc(s.Tasks, func(t admin.Task) bool { return t.Restoring != nil }) {
		fmt.Fprintln(w)
	}
	for i, p := range s.Problems {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "PROBLEM  %s\n", p)
	}
}

// showCheckpoints says how the newest ones are.
func showCheckpoints(w io.Writer, c admin.Checkpoints, now time.Time) {
	if len(c.Kept)+len(c.Claimed) == 0 && c.Running == nil && c.Declined == nil {
		return
	}
	fmt.Fprintln(w)
	if n := len(c.Kept); n > 0 {
		k := c.Kept[n-1]
		fmt.Fprintf(w, "checkpoint %d was completed %s ago, in %s, %s; %d kept\n", k.ID, age(now.Sub(*k.Ended)), age(k.Took()), size(k), n)
	}
	if r := c.Running; r != nil {
		fmt.Fprintf(w, "%s %d is being taken since %s: %s\n", r.Kind, r.ID, age(now.Sub(r.Triggered)), partsText(r.Parts))
	}
	if d := c.Declined; d != nil {
		fmt.Fprintf(w, "%s %d was given up %s ago: %s\n", d.Kind, d.ID, age(now.Sub(*d.Ended)), becauseOf(*d))
	}
	if c.Failures > 0 {
		fmt.Fprintf(w, "%d checkpoints in a row have failed\n", c.Failures)
	}
	for _, s := range c.Claimed {
		becomes := "is deleted when checkpoints have taken its place"
		if s.Deleting {
			becomes = "is being deleted"
		}
		fmt.Fprintf(w, "savepoint %s, which was claimed, %s\n", s.Manifest, becomes)
	}
}

// showDrain says how far the end of time is.
func showDrain(w io.Writer, d *admin.Drain, now time.Time) {
	if d == nil {
		return
	}
	fmt.Fprintln(w)
	if d.Done != nil {
		fmt.Fprintf(w, "drained %s ago by %s: time has ended, and savepoint %s lies in %s\n", age(now.Sub(*d.Done)), d.By, d.Request, d.Path)
		return
	}
	fmt.Fprintf(w, "being drained since %s by %s: time has ended in %d of %d tasks", age(now.Sub(d.Since)), d.By, d.Ended, d.Tasks)
	switch {
	case d.Declined != "":
		fmt.Fprintf(w, "; savepoint %s was given up (%s): ask for another one\n", d.Request, d.Declined)
	case d.Ended == d.Tasks:
		fmt.Fprintf(w, "; savepoint %s is not complete yet\n", d.Request)
	case d.Loops:
		fmt.Fprint(w, "; loops are to become empty\n")
	default:
		fmt.Fprintln(w)
	}
}

// showStandbys says which workers follow the state of which tasks.
func showStandbys(w io.Writer, s admin.Status) {
	follows, gets := map[string][]string{}, map[string][]string{}
	for _, task := range s.Tasks {
		if to := task.MovesTo; to != "" {
			gets[to] = append(gets[to], task.Task)
		}
		for _, worker := range task.Standbys {
			follows[worker] = append(follows[worker], task.Task)
		}
	}
	if len(follows)+len(gets) > 0 {
		fmt.Fprintln(w)
	}
	for _, worker := range slices.Sorted(maps.Keys(follows)) {
		fmt.Fprintf(w, "%s follows the state of %s\n", worker, strings.Join(follows[worker], " "))
	}
	for _, worker := range slices.Sorted(maps.Keys(gets)) {
		fmt.Fprintf(w, "%s is to take over %s, and gets the state first\n", worker, strings.Join(gets[worker], " "))
	}
}

func held(by string) string {
	if by == "" {
		return ""
	}
	return ", held by " + by
}

func moment(t *admin.Time) string {
	if t == nil {
		return "unknown"
	}
	if t.Ended() {
		return "the end"
	}
	return t.Format("2006-01-02T15:04:05.000Z")
}

// age is a duration in as few digits as tell something.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
