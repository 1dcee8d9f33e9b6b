package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/state"
)

func newStateDiff() *cobra.Command {
	var (
		store         string
		brief, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show in what two savepoints or checkpoints differ",
		Long: `Show in what the rows of two savepoints or checkpoints differ, and count: + the second one alone has it, - the first one
alone, ~ both have it with other values. Stores are found by uid, and rows are compared by their bytes. Positions, and
records in flight, are not compared. State may be larger than memory.

The exit code is 0 if they are equal and 1 if they are not.`,
		Example: `  weir state diff /backups/monday /backups/tuesday --store counts --brief`,
		Args:    cobra.ExactArgs(2),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			return withState(cmd, args[0], func(ctx context.Context, a *state.Snapshot) error {
				b, err := state.Open(ctx, args[1])
				if err != nil {
					return err
				}
				w := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
				all, err := diff(ctx, w, a, b, store, brief, asJSON)
				if err := errors.Join(err, w.Flush(), b.Close()); err != nil {
					return err
				}
				if slices.ContainsFunc(all, func(s state.Summary) bool { return !s.Equal() }) {
					return &cli.Finding{}
				}
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&store, "store", "", "`uid` of the store; default: all of them")
	cmd.Flags().BoolVar(&brief, "brief", false, "only count")
	cmd.Flags().BoolVar(&asJSON, "json", false, "lines of JSON: the rows that differ, and at last the numbers")
	return cmd
}

func diff(ctx context.Context, w io.Writer, a, b *state.Snapshot, store string, brief, asJSON bool) ([]state.Summary, error) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if !asJSON {
		fmt.Fprintf(w, "A is %s\nB is %s\n\n", a, b)
	}
	told := false
	all, err := state.Diff(ctx, a, b, store, func(c state.Change) error {
		switch {
		case brief:
			return nil
		case asJSON:
			return e.Encode(c)
		}
		told = true
		_, err := fmt.Fprintln(w, changeLine(c))
		return err
	})
	if err != nil {
		return nil, err
	}
	if asJSON {
		return all, e.Encode(struct {
			Summary []state.Summary `json:"summary"`
		}{all})
	}
	if told {
		fmt.Fprintln(w)
	}
	t := newTable(w, []int{2, 3, 4, 5}, "store", "added", "removed", "changed", "same", "")
	for _, s := range all {
		t.AppendRow(table.Row{s.Store, number(s.Added), number(s.Removed), number(s.Changed), number(s.Same), s.Note})
	}
	t.Render()
	return all, nil
}

// changeLine is a row that differs, for people.
func changeLine(c state.Change) string {
	where := c.Store + " " + c.Task
	if c.Window != nil {
		where += " " + c.Window.String()
	}
	switch c.Op {
	case state.Added:
		return fmt.Sprintf("+ %s %s: %s", where, cell(c.Key), cell(c.After))
	case state.Removed:
		return fmt.Sprintf("- %s %s: %s", where, cell(c.Key), cell(c.Before))
	}
	return fmt.Sprintf("~ %s %s: %s -> %s", where, cell(c.Key), cell(c.Before), cell(c.After))
}
