package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor"
)

// resetFlags say where sources begin.
type resetFlags struct {
	to        string
	positions map[string]string
}

func (r *resetFlags) options() (o processor.ResetOptions, err error) {
	if r.to != "" {
		if o.To, err = processor.ParseResetPosition(r.to); err != nil {
			return o, Usagef("--to %w", err)
		}
	}
	o.Positions = map[string]processor.ResetPosition{}
	for _, source := range slices.Sorted(maps.Keys(r.positions)) {
		if o.Positions[source], err = processor.ParseResetPosition(r.positions[source]); err != nil {
			return o, Usagef("--position %s: %w", source, err)
		}
	}
	return o, nil
}

func (p program) reset() *cobra.Command {
	var (
		c                                    Connection
		w                                    workerFlags
		r                                    resetFlags
		id                                   string
		stopWorkers, deleteOld, exec, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Begin anew with empty state, or look what that would mean",
		Long: `Begin anew with empty state, at the positions that are asked for; do not run afterwards. Without --execute it is only
shown what would be done, and nothing is changed.

The application gets a new timeline: other internal topics, and another consumer group, with the plan of this program,
which may be another one than before. State directories need no cleaning. Output topics are only added to: what comes of
records that are read again is written again. What belongs to older timelines stays, so that their checkpoints may be
gone back to, until --delete-old.

Workers that run are a reason to refuse, or are stopped with --stop-workers. A reset that died is run again, or taken
back with rewind --cancel; until then no worker starts.`,
		Example: `  app reset --to earliest                              what would be read again
  app reset --to earliest --execute
  app reset --to 2026-01-31T12:00:00Z --position orders=latest --position orders/3=4711 --execute`,
		Args: cobra.NoArgs,
		RunE: Action(func(cmd *cobra.Command, _ []string) error {
			o, err := r.options()
			if err != nil {
				return err
			}
			o.ID, o.StopWorkers, o.DeleteOld, o.DryRun = id, stopWorkers, deleteOld, !exec
			log, err := w.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			plan, err := p.plan()
			if err != nil {
				return err
			}
			opts, err := p.options(&c, &w)
			if err != nil {
				return err
			}
			ctx, stop := Signals(cmd.Context())
			defer stop()
			report, err := processor.Reset(ctx, plan, o, append([]processor.Option{processor.Logger(log)}, opts...)...)
			if errors.Is(err, processor.ErrReset) {
				return &Finding{Err: err}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return JSON(cmd.OutOrStdout(), report)
			}
			writeReset(cmd.OutOrStdout(), report, deleteOld)
			return nil
		}),
	}
	c.Flags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&r.to, "to", "", "where all sources begin: `earliest`, latest, a time such as 2026-01-31T12:00:00Z, or an offset; default: where the plan says")
	f.StringToStringVar(&r.positions, "position", nil, "`topic=latest`, or topic/partition=4711: the same for single sources or partitions")
	f.BoolVar(&exec, "execute", false, "do it; without, nothing is changed")
	f.BoolVar(&stopWorkers, "stop-workers", false, "stop the workers that run, instead of refusing to reset under them")
	f.BoolVar(&deleteOld, "delete-old", false, "delete internal topics and consumer groups of older timelines")
	f.StringVar(&id, "reset-id", "", "`name` of the reset: one is carried out once, whoever asks for it again; default: reset-<timeline that is given up>")
	f.BoolVar(&asJSON, "json", false, "what was done, for programs")
	w.add(f)
	f.SortFlags = false
	return cmd
}

// writeReset is for people.
func writeReset(w io.Writer, r processor.ResetReport, deleteOld bool) {
	switch {
	case r.Done:
		fmt.Fprintf(w, "%s was reset as %s before: timeline %d\n", r.Application, r.ID, r.Timeline)
	case r.DryRun:
		fmt.Fprintf(w, "%s would begin anew on timeline %d, with empty state; nothing was changed\n", r.Application, r.Timeline)
	default:
		fmt.Fprintf(w, "%s begins anew on timeline %d, with empty state\n", r.Application, r.Timeline)
	}
	if len(r.Sources) > 0 {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "source\tfrom\tto\tlog")
		for _, s := range r.Sources {
			from := "-"
			if s.From >= 0 {
				from = fmt.Sprint(s.From)
			}
			fmt.Fprintf(t, "%s/%d\t%s\t%d\t[%d, %d]\n", s.Topic, s.Partition, from, s.To, s.Start, s.End)
		}
		t.Flush() // w is the terminal, as for all the other lines
		fmt.Fprintln(w)
	}
	list := func(what string, names []string) {
		if len(names) > 0 {
			fmt.Fprintf(w, "%s: %s\n", what, strings.Join(names, ", "))
		}
	}
	list("state that is given up", r.Stores)
	list("new internal topics", r.Topics)
	switch {
	case r.DryRun && deleteOld:
		list("to be deleted", r.Old)
	case len(r.Deleted) > 0:
		list("deleted", r.Deleted)
	default:
		list("topics of older timelines, which stay", r.Old)
	}
	for _, s := range r.Superseded {
		if s.End > 0 {
			fmt.Fprintf(w, "superseded: %s/%d below offset %d, as far as it comes again\n", s.Topic, s.Partition, s.End)
		}
	}
	if r.DryRun && len(r.Members) > 0 {
		fmt.Fprintf(w, "workers run, which have to stop (--stop-workers): %s\n", strings.Join(r.Members, ", "))
	}
	if r.DryRun && !r.Done {
		fmt.Fprintln(w, "\ndo it with --execute")
	}
}
