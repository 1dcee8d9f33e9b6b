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
	"github.com/weir-stream/weir/processor/cli"
)

func newSavepointList() *cobra.Command {
	return ofApplication(&cobra.Command{
		Use:   "list APPLICATION",
		Short: "Show the savepoints that were asked for, and what became of them",
		Long: `Show the savepoints that were asked for, and what became of them, as the application's control topic says.
Whether their files still lie where they were written is not looked at: see weir savepoint inspect.`,
	}, func(ctx context.Context, cl *admin.Client, out output) error {
		all, err := cl.Savepoints(ctx)
		if err != nil {
			return err
		}
		return out.show(all, func(w io.Writer) { showSavepoints(w, all) })
	})
}

func showSavepoints(w io.Writer, all []admin.Savepoint) {
	if len(all) == 0 {
		fmt.Fprintln(w, "nobody has asked for a savepoint")
		return
	}
	t := newTable(w, []int{2}, "id", "cut", "state", "format", "requested", "by", "where, or why not")
	for _, s := range all {
		cut, where := "-", s.Path
		if s.Cut != 0 {
			cut = number(int64(s.Cut))
		}
		if s.State == admin.SavepointDeclined {
			where = s.Reason
			if s.Why != "" {
				where += ": " + s.Why
			}
		}
		t.AppendRow(table.Row{s.ID, cut, s.State, s.Format, minute(s.Requested), s.By, where})
	}
	t.Render()
}

func minute(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }

func newSavepointInspect() *cobra.Command {
	var asJSON, verify bool
	cmd := &cobra.Command{
		Use:   "inspect PATH",
		Short: "Show what a savepoint holds, without its application",
		Long: `Show what a savepoint holds: tasks with their positions, stores with their rows and bytes, what was in flight, the
plan. PATH is its directory or URL, wherever it was copied to; the file of a manifest, of a checkpoint too, may be
given instead. Kafka is not needed.

The files that the manifest names are looked for; with --verify all of them are read, and any damage is found. The
exit code is 1 if it cannot be restored.`,
		Args: cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			s, err := admin.InspectSavepoint(ctx, args[0], verify)
			if err != nil && s.Application == "" {
				return inspected(err)
			}
			if asJSON {
				err = errors.Join(cli.JSON(cmd.OutOrStdout(), s), err)
			} else {
				showContent(cmd.OutOrStdout(), s)
			}
			return inspected(err)
		}),
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "read all files")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// inspected tells a savepoint that is not as it should be from one that could not be looked at.
func inspected(err error) error {
	if errors.Is(err, admin.ErrBroken) {
		return &cli.Finding{Err: err}
	}
	return err
}

func showContent(w io.Writer, s admin.SavepointContent) {
	fmt.Fprintf(w, "%s of %s, timeline %d, cut %d, %s\n", s.Kind, s.Application, s.Timeline, s.Cut, s.Format)
	if s.Request != "" {
		fmt.Fprintf(w, "asked for as %s\n", s.Request)
	}
	fmt.Fprintf(w, "taken %s, written in %s by weir %s, plan %s\n", s.Triggered.Format("2006-01-02 15:04:05 MST"), age(s.Completed.Sub(s.Triggered)), s.Weir, s.Plan.Fingerprint)
	fmt.Fprintf(w, "%s rows and %s records in flight in %s files, %s bytes\n\n", number(s.Rows), number(s.Records), number(int64(s.Files)), number(s.Bytes))

	t := newTable(w, []int{5, 6, 7, 8}, "store", "kind", "key", "value", "tasks", "layers", "rows", "bytes")
	for _, st := range s.Stores {
		t.AppendRow(table.Row{st.UID, st.Kind, st.Key, st.Value, number(int64(st.Tasks)), number(int64(st.Layers)), number(st.Rows), number(st.Bytes)})
	}
	if len(s.Stores) > 0 {
		t.Render()
		fmt.Fprintln(w)
	}
	t = newTable(w, []int{3, 4, 5, 6}, "in flight to", "task", "from", "to", "copied", "bytes")
	for _, p := range s.InFlight {
		t.AppendRow(table.Row{fmt.Sprintf("%s/%d", p.UID, p.Partition), p.Task, number(p.From), number(p.To), number(p.Records), number(p.Bytes)})
	}
	if len(s.InFlight) > 0 {
		t.Render()
		fmt.Fprintln(w)
	}
	t = newTable(w, []int{3, 5, 6}, "task", "input", "position", "time", "rows", "bytes")
	for _, task := range s.Tasks {
		for i, p := range task.Positions {
			row := table.Row{"", fmt.Sprintf("%s/%d", p.Topic, p.Partition), number(p.Offset), moment(p.Watermark), "", ""}
			if i == 0 {
				row[0], row[4], row[5] = task.Task, number(task.Rows), number(task.Bytes)
			}
			t.AppendRow(row)
		}
	}
	t.Render()
}

func newSavepointDispose() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dispose PATH",
		Short: "Delete a savepoint for good",
		Long: `Delete a savepoint for good: the files that its manifest names, the manifest, and directories that are empty then.
Nothing else is deleted, and nothing at all where there is no savepoint: checkpoints belong to their application,
which drops them itself. Kafka is not needed.`,
		Args: cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			d, err := admin.DisposeSavepoint(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return cli.JSON(cmd.OutOrStdout(), d)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "deleted savepoint %s of %s, cut %d: %s files, %s bytes in %s\n", d.Request, d.Application, d.Cut, number(int64(d.Files)), number(d.Bytes), d.Location)
			return nil
		}),
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
