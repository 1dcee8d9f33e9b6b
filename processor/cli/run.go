package cli

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weir-stream/weir/processor"
)

// workerFlags are the settings of a worker that belong to a deployment, not to a program.
type workerFlags struct {
	flags                    *pflag.FlagSet
	stateDir, instance, rack string
	lanes                    int
	standbys, warmups        int
	commit, session, txn     time.Duration
	commitBytes, cache       int64
	minFree                  uint64
	restart, failover        string
	checkpoints              checkpointFlags
	leave, old               bool
	logLevel, logFormat      string
}

func (w *workerFlags) add(f *pflag.FlagSet) {
	w.flags = f
	f.StringVar(&w.stateDir, "state-dir", "", "`directory` of this worker alone; default weir-state/<application>")
	f.StringVar(&w.instance, "instance", "", "`name` of this worker, stable over restarts; default: one kept in the state directory")
	f.StringVar(&w.rack, "rack", "", "`zone` of this worker; tasks are spread over zones")
	f.IntVar(&w.lanes, "lanes", 0, "`number` of goroutines that process; default: one per CPU")
	f.IntVar(&w.warmups, "warmups", 0, "`number` of tasks at a time whose state is copied before they move to another worker; default 2 with --standbys, else 0")
	f.IntVar(&w.standbys, "standbys", 0, "`number` of other workers that keep a copy of each task's state; default 0")
	f.DurationVar(&w.commit, "commit-interval", 0, "how long an epoch lasts; default 100ms")
	f.Int64Var(&w.commitBytes, "commit-bytes", 0, "`size` at which an epoch ends early; default 64 MiB")
	f.Int64Var(&w.cache, "cache-bytes", 0, "`bytes` of state held in memory; default: an eighth of the memory, at most 512 MiB")
	f.Uint64Var(&w.minFree, "min-free-disk", 0, "`bytes` left alone on the disk of the state directory; default 256 MiB")
	f.DurationVar(&w.session, "session-timeout", 0, "how long the group waits for a silent worker; default 10s")
	f.DurationVar(&w.txn, "transaction-timeout", 0, "how long brokers keep the transaction of a vanished worker; default 10s")
	f.StringVar(&w.restart, "restart", "", "`strategy` for tasks that fail, such as fixed-delay,attempts=3,delay=10s; default exponential-delay")
	f.StringVar(&w.failover, "failover", "", "`scope` of what a failure restores: region (the task, the default) or full (all tasks of this worker)")
	w.checkpoints.add(f)
	f.BoolVar(&w.leave, "leave", false, "leave the group when stopped, instead of keeping the tasks for a restart")
	f.BoolVar(&w.old, "allow-old-brokers", false, "accept brokers without transaction.version 2, where exactly-once has a gap")
	f.StringVar(&w.logLevel, "log-level", "info", "`level`: debug, info, warn or error")
	f.StringVar(&w.logFormat, "log-format", "", "`format`: json, or console for people; default: console on a terminal")
}

// options are those of the flags that were given.
func (w *workerFlags) options() ([]processor.Option, error) {
	all := map[string]func() processor.Option{
		"state-dir":           func() processor.Option { return processor.StateDir(w.stateDir) },
		"instance":            func() processor.Option { return processor.InstanceID(w.instance) },
		"rack":                func() processor.Option { return processor.Rack(w.rack) },
		"lanes":               func() processor.Option { return processor.Lanes(w.lanes) },
		"standbys":            func() processor.Option { return processor.Standbys(w.standbys) },
		"warmups":             func() processor.Option { return processor.Warmups(w.warmups) },
		"commit-interval":     func() processor.Option { return processor.CommitInterval(w.commit) },
		"commit-bytes":        func() processor.Option { return processor.CommitBytes(w.commitBytes) },
		"cache-bytes":         func() processor.Option { return processor.CacheBytes(w.cache) },
		"min-free-disk":       func() processor.Option { return processor.MinFreeDisk(w.minFree) },
		"session-timeout":     func() processor.Option { return processor.SessionTimeout(w.session) },
		"transaction-timeout": func() processor.Option { return processor.TransactionTimeout(w.txn) },
	}
	var opts []processor.Option
	w.flags.Visit(func(f *pflag.Flag) {
		if make, ok := all[f.Name]; ok {
			opts = append(opts, make())
		}
	})
	opts = append(opts, w.checkpoints.option(w.flags))
	if w.restart != "" {
		s, err := processor.ParseStrategy(w.restart)
		if err != nil {
			return nil, Usagef("--restart: %w", err)
		}
		opts = append(opts, processor.RestartStrategy(s))
	}
	switch w.failover {
	case "":
	case processor.FailoverRegion.String():
		opts = append(opts, processor.Failover(processor.FailoverRegion))
	case processor.FailoverFull.String():
		opts = append(opts, processor.Failover(processor.FailoverFull))
	default:
		return nil, Usagef("--failover %q: known are %s, %s", w.failover, processor.FailoverRegion, processor.FailoverFull)
	}
	if w.leave {
		opts = append(opts, processor.LeaveOnStop())
	}
	if w.old {
		opts = append(opts, processor.AllowOldBrokers())
	}
	return opts, nil
}

// logger is the log that the flags ask for.
func (w *workerFlags) logger(to io.Writer) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(w.logLevel)
	if err != nil {
		return zerolog.Nop(), Usagef("--log-level %q: known are debug, info, warn, error", w.logLevel)
	}
	format := w.logFormat
	if format == "" && IsTerminal(to) {
		format = "console"
	}
	switch format {
	case "json", "":
	case "console":
		to = zerolog.ConsoleWriter{Out: to, NoColor: os.Getenv("NO_COLOR") != "" || !IsTerminal(to), TimeFormat: time.TimeOnly}
	default:
		return zerolog.Nop(), Usagef("--log-format %q: known are json, console", w.logFormat)
	}
	return zerolog.New(to).Level(level).With().Timestamp().Logger(), nil
}

// IsTerminal says whether a person looks at what is written there.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

func (p program) run() *cobra.Command {
	var c Connection
	var w workerFlags
	var r rewindFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Process until SIGTERM or SIGINT",
		Long: `Process until SIGTERM or SIGINT: they commit what is done and end the process. A second one ends it at
once, which loses nothing either: what was not committed is processed again by the next start.

A stopped worker keeps its tasks until its session times out, so that a restart is quick and disturbs nobody;
with --leave the others take its tasks over at once.

With --from it is rewound first. ` + rewindHelp + `
All workers may be started with the same flags, and started again: a rewind is carried out once, by whoever is first.

A task that fails is tried again as --restart says; the names and parameters are Flink's:
  exponential-delay,initial-backoff=1s,max-backoff=1m,backoff-multiplier=1.5,jitter-factor=0.1,
    reset-backoff-threshold=1h,attempts-before-reset-backoff=0    (0: without limit)
  fixed-delay,attempts=1,delay=1s
  failure-rate,max-failures-per-interval=1,failure-rate-interval=1m,delay=1s
  none
These are the defaults; parameters may be left out. When a task is given up, the worker commits what is done and
ends with an error.`,
		Args: cobra.NoArgs,
		RunE: Action(func(cmd *cobra.Command, _ []string) error {
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
			rewind, err := r.options()
			if err != nil {
				return err
			}
			if rewind != nil {
				opts = append(opts, processor.StartFrom(*rewind))
			}
			ctx, stop := Signals(cmd.Context())
			defer stop()
			// First, so that a logger of the program wins.
			return processor.Run(ctx, plan, append([]processor.Option{processor.Logger(log)}, opts...)...)
		}),
	}
	c.Flags(cmd.Flags())
	r.add(cmd.Flags())
	w.add(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}
