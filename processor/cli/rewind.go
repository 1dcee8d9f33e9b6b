package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weir-stream/weir/processor"
)

// rewindFlags say what an application begins anew from.
type rewindFlags struct {
	from, id          string
	fork, stopWorkers bool
	drained           bool
	claim             string
	leave             []string
	added             []string
	positions, rename map[string]string
	internal          int
}

func (r *rewindFlags) add(f *pflag.FlagSet) {
	f.StringVar(&r.from, "from", "", "begin anew from a savepoint, its `directory` or URL, or from the manifest of a checkpoint or savepoint")
	f.StringVar(&r.id, "rewind-id", "", "`name` of the rewind: one is carried out once, whoever asks for it again; default: the hash of the manifest")
	f.BoolVar(&r.fork, "fork", false, "let --from be of another application, which goes on")
	f.StringVar(&r.claim, "claim-mode", "no-claim", "`mode`: no-claim, --from stays yours; claim, it belongs to the application, which deletes it when checkpoints have taken its place")
	f.BoolVar(&r.stopWorkers, "stop-workers", false, "stop the workers that run, instead of refusing to rewind under them")
	f.BoolVar(&r.drained, "allow-drained", false, "let --from be of a drain: time begins anew, and windows that have fired fire again for records of theirs that come later")
	f.StringSliceVar(&r.leave, "allow-non-restored-state", nil, "`uids` of stores and repartitions, and topics of sources, that the plan no longer has and that may be left behind")
	f.StringToStringVar(&r.rename, "rename-state", nil, "`old=new`: uids of stores and repartitions that the plan calls something else")
	f.IntVar(&r.internal, "internal-partitions", 0, "`number` of partitions of repartition topics from then on: state and records in flight are divided anew, by key; default: as many as there were")
	f.StringSliceVar(&r.added, "allow-added-partitions", nil, "`topics` of sources that may have more partitions than they had; the new ones begin at the beginning")
	f.StringToStringVar(&r.positions, "position", nil, "`topic=earliest` or topic=latest: where partitions of a source begin whose position is of no use")
}

// options are nil if nothing is to be begun anew.
func (r *rewindFlags) options() (*processor.RewindOptions, error) {
	if r.claim != "claim" && r.claim != "no-claim" {
		return nil, Usagef("--claim-mode %s: known are claim, no-claim", r.claim)
	}
	if r.from == "" {
		if r.claim == "claim" || r.id != "" || r.fork || r.stopWorkers || r.drained || r.internal != 0 || len(r.leave)+len(r.added)+len(r.positions)+len(r.rename) > 0 {
			return nil, Usagef("--rewind-id, --fork, --claim-mode, --stop-workers, --allow-drained, --allow-non-restored-state, --rename-state, --internal-partitions, --allow-added-partitions and --position do nothing without --from")
		}
		return nil, nil
	}
	if r.internal < 0 {
		return nil, Usagef("--internal-partitions %d: pass 1 or more", r.internal)
	}
	o := &processor.RewindOptions{From: r.from, ID: r.id, Fork: r.fork, Claim: r.claim == "claim", StopWorkers: r.stopWorkers, AllowDrained: r.drained, AllowNonRestored: r.leave,
		Rename: r.rename, InternalPartitions: r.internal, AllowAddedPartitions: r.added, Positions: map[string]processor.RewindPosition{}}
	for topic, at := range r.positions {
		if at != string(processor.RewindToEarliest) && at != string(processor.RewindToLatest) {
			return nil, Usagef("--position %s=%s: known are earliest, latest", topic, at)
		}
		o.Positions[topic] = processor.RewindPosition(at)
	}
	return o, nil
}

const rewindHelp = `An application begins anew with the state and the positions of the savepoint or checkpoint, and with what was on its
way then, on a new timeline: other internal topics and another consumer group. Output topics are only added to: what
was written after that point is superseded, and up to which offsets is said. The source topics must still have the
records from there on.`

func (p program) rewind() *cobra.Command {
	var c Connection
	var w workerFlags
	var r rewindFlags
	var dry, cancel, asJSON bool
	cmd := &cobra.Command{
		Use:   "rewind",
		Short: "Go back to a savepoint or checkpoint, or look whether that can be done",
		Long: `Go back to a savepoint or checkpoint, and do not run afterwards.

` + rewindHelp + `

Everything is verified first, and what is wrong is told as a list before anything is changed. A rewind that died is
run again, or taken back with --cancel; until then no worker starts.`,
		Args: cobra.NoArgs,
		RunE: Action(func(cmd *cobra.Command, _ []string) error {
			if cancel == (r.from != "") {
				return Usagef("say --from where to rewind to, or --cancel")
			}
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
			opts = append([]processor.Option{processor.Logger(log)}, opts...)
			ctx, stop := Signals(cmd.Context())
			defer stop()
			if cancel {
				gone, err := processor.CancelRewind(ctx, plan, opts...)
				if err != nil {
					return err
				}
				if asJSON {
					return JSON(cmd.OutOrStdout(), struct {
						Cancelled []uint32 `json:"cancelled"`
					}{gone})
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d rewinds taken back\n", len(gone))
				return nil
			}
			o, err := r.options()
			if err != nil {
				return err
			}
			o.DryRun = dry
			report, err := processor.Rewind(ctx, plan, *o, opts...)
			if errors.Is(err, processor.ErrRewind) {
				return &Finding{Err: err}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return JSON(cmd.OutOrStdout(), report)
			}
			writeReport(cmd.OutOrStdout(), report, dry)
			return nil
		}),
	}
	c.Flags(cmd.Flags())
	r.add(cmd.Flags())
	cmd.Flags().BoolVar(&dry, "dry-run", false, "verify everything, and change nothing")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "take back a rewind that died")
	cmd.Flags().BoolVar(&asJSON, "json", false, "what was done, for programs")
	w.add(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}

// writeReport is for people.
func writeReport(w io.Writer, r processor.RewindReport, dry bool) {
	switch {
	case dry && !r.Done:
		fmt.Fprintln(w, "nothing stands against it")
		return
	case r.Done:
		fmt.Fprintf(w, "%s was rewound before: timeline %d, from cut %d of %s\n", r.Application, r.Timeline, r.Cut, r.Origin)
	default:
		fmt.Fprintf(w, "%s begins anew on timeline %d, from cut %d of %s: %d rows, %d records in flight\n", r.Application, r.Timeline, r.Cut, r.Origin, r.Rows, r.Records)
	}
	if r.Claimed {
		fmt.Fprintf(w, "claimed: %s is deleted when checkpoints have taken its place\n", r.From)
	}
	if len(r.Added) > 0 {
		fmt.Fprintf(w, "new in the plan: %s\n", strings.Join(r.Added, ", "))
	}
	if len(r.NotRestored) > 0 {
		fmt.Fprintf(w, "left behind: %s\n", strings.Join(r.NotRestored, ", "))
	}
	if len(r.Renamed) > 0 {
		fmt.Fprintf(w, "renamed: %s\n", strings.Join(r.Renamed, ", "))
	}
	if len(r.Rescaled) > 0 {
		fmt.Fprintf(w, "partitions: %s\n", strings.Join(r.Rescaled, ", "))
	}
	for _, s := range r.Superseded {
		fmt.Fprintf(w, "superseded: %s/%d, what was written below offset %d and after the cut\n", s.Topic, s.Partition, s.End)
	}
}
