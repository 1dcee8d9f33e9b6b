package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/admin"
)

func newCheckpoint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Show an application's checkpoints, and take one now",
		Long: `Show an application's checkpoints, and take one now.

A checkpoint is a consistent state of all tasks as of one moment, taken while they work. The application takes them
by itself, keeps the last ones and drops the others: a state that is yours to keep is a savepoint.`,
	}
	cmd.AddCommand(newCheckpointTrigger(), newCheckpointList())
	return cmd
}

func newCheckpointTrigger() *cobra.Command {
	var (
		o        admin.CheckpointOptions
		detached bool
		limit    timeoutFlag
	)
	cmd := ofApplication(&cobra.Command{
		Use:   "trigger APPLICATION",
		Short: "Take a checkpoint of a running application now",
		Long: `Take a checkpoint of a running application now, and not when its interval is over. It is one like all others: it
goes where the workers put them, and is dropped in its time. The request is a record in the application's control
topic: whoever ends this command does not end the checkpoint.

The id names the request: with the same one no second checkpoint is taken, and the result is that of the first. So
a script that does not know whether it has asked may ask again.

The exit code is 3 if the checkpoint was declined; the application goes on as if nobody had asked.`,
	}, func(ctx context.Context, cl *admin.Client, out output) error {
		k, err := cl.RequestCheckpoint(ctx, o)
		if err == nil && !detached {
			ctx, end := limit.context(ctx)
			defer end()
			k, err = cl.AwaitCheckpoint(ctx, k.Request, out.progress.checkpoint)
			out.progress.end()
		}
		if err != nil && !errors.Is(err, admin.ErrDeclined) {
			return err
		}
		return errors.Join(out.show(k, func(w io.Writer) {
			if err == nil {
				showCheckpoint(w, k)
			}
		}), err)
	})
	cmd.Flags().BoolVar(&o.Full, "full", false, "share nothing with the checkpoint before")
	cmd.Flags().StringVar(&o.ID, "id", "", "name of the request, of a-z, 0-9 and -; default: a new one")
	cmd.Flags().BoolVar(&detached, "detached", false, "do not wait; weir checkpoint list shows what became of it")
	limit.add(cmd)
	return cmd
}

func showCheckpoint(w io.Writer, k admin.Checkpoint) {
	if k.Manifest == "" {
		fmt.Fprintf(w, "checkpoint %s is %s\n", k.Request, k.State)
		return
	}
	fmt.Fprintf(w, "checkpoint %d, for %s, %s, in %s: %s\n", k.ID, k.Request, size(k), age(k.Took()), k.Manifest)
}

func newCheckpointList() *cobra.Command {
	return ofApplication(&cobra.Command{
		Use:   "list APPLICATION",
		Short: "Show checkpoints, and what became of them",
		Long: `Show checkpoints, and what became of them, as the application's control topic says: those that are kept, the last
ones that were declined or dropped, and all that somebody has asked for. Savepoints are among them, as they share
their numbers. Manifests of checkpoints are named below the application's directory in the workers' place for
checkpoints. Whether the files still lie there is not looked at: see weir savepoint inspect.`,
	}, func(ctx context.Context, cl *admin.Client, out output) error {
		all, err := cl.CheckpointList(ctx)
		if err != nil {
			return err
		}
		return out.show(all, func(w io.Writer) { showCheckpointList(w, all) })
	})
}

func showCheckpointList(w io.Writer, all []admin.Checkpoint) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no checkpoint was taken")
		return
	}
	t := newTable(w, []int{1, 5, 6}, "id", "kind", "state", "triggered", "took", "size", "asked for", "where, or why not")
	for _, k := range all {
		id, triggered, took, bytes, where := "-", "-", "-", "-", k.Manifest
		if k.ID != 0 {
			id, triggered = number(int64(k.ID)), k.Triggered.Format(time.DateTime+" MST")
		}
		if k.Ended != nil {
			took = age(k.Took())
		}
		switch {
		case k.State == admin.CheckpointDeclined:
			where = becauseOf(k)
		case k.Path != "":
			where = k.Path
		}
		if k.Manifest != "" {
			bytes = size(k)
		}
		asked := k.Request
		if asked != "" {
			asked += " by " + k.By
		}
		t.AppendRow(table.Row{id, k.Kind, k.State, triggered, took, bytes, asked, where})
	}
	t.Render()
}

// size of a complete checkpoint. An increment has two: what it wrote, and what a restore reads.
func size(k admin.Checkpoint) string {
	if k.Full {
		return fmt.Sprintf("full, %s bytes", number(k.Bytes))
	}
	return fmt.Sprintf("increment, %s of %s bytes", number(k.Added), number(k.Bytes))
}

// becauseOf is why a checkpoint or savepoint was declined.
func becauseOf(k admin.Checkpoint) string {
	if k.Why == "" {
		return k.Reason
	}
	return k.Reason + ": " + k.Why
}
