package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/cli"
)

// benchWorker are the settings of one worker under measurement. What has no flag is the
// library's default.
type benchWorker struct {
	conn                   cli.Connection
	workload, app, in, out string
	commitInterval         time.Duration
	lanes                  int
	rowBytes               int
	stateDir, instance     string
	checkpoints            string
	checkpointInterval     time.Duration
	fullCheckpoints        bool
	standbys               int
	untilIdle              time.Duration
	tellRestores           bool
	cpuProfile, memProfile string
}

// benchResult is the line that a worker prints at its end.
type benchResult struct {
	Records     int64   `json:"records"`       // of the input, committed
	Seconds     float64 `json:"seconds"`       // from the first to the last committed record
	CPUSeconds  float64 `json:"cpu_seconds"`   // user and system, of the whole process
	MaxRSSBytes int64   `json:"max_rss_bytes"` // of the whole process
	Commits     int64   `json:"commits"`
	Aborts      int64   `json:"aborts"`

	// Seconds from the worker's start: the state directory is open and all is checked; the last task was restored; the
	// first epoch is committed. 0: not reached.
	Ready       float64 `json:"ready_seconds"`
	Restored    float64 `json:"restored_seconds"`
	FirstCommit float64 `json:"first_commit_seconds"`
	Replayed    int64   `json:"replayed_records"` // of changelogs, by restores

	Epochs benchEpochs `json:"epochs"`

	FirstAt time.Time `json:"first_at"` // begin of the first epoch that committed records
	LastAt  time.Time `json:"last_at"`  // end of the last one
}

// milestones of a worker's start, told by its lanes and restores.
type milestones struct {
	began time.Time

	mu     sync.Mutex // guards result
	result benchResult
	epochs epochTimes
}

// reach notes the time since the start, the first time or each.
func (m *milestones) reach(field func(*benchResult) *float64, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := field(&m.result); *at == 0 || !first {
		*at = time.Since(m.began).Seconds()
	}
}

func (m *milestones) replayed(records int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.result.Replayed += records
}

// benchRestore is a line that a worker prints when a task was restored, if it is to.
type benchRestore struct {
	Restored int64  `json:"restored"` // changelog records
	Base     string `json:"base"`
	Began    int64  `json:"began_ms"` // Unix time: its task was assigned
	Ended    int64  `json:"ended_ms"`
}

func newBenchWorker() *cobra.Command {
	var b benchWorker
	c := &cobra.Command{
		Use:   "worker --workload pass|count|window|rekey|state",
		Short: "Run a workload and report what it took",
		Long: `Run a workload until SIGTERM, or until nothing came for the time of --until-idle. Then one line of JSON says what it took.

  pass    the first byte of the value in upper case, if it is an ASCII letter
  count   the number of records of each key, every update, as 8 bytes big-endian
  window  the same for each key and 10 s of the record's time; the key is followed by 8 bytes of window start in ms
  rekey   through a repartition topic: the key becomes g and four digits of FNV-1a (32 bits) modulo 10,000; then as count
  state   as count, and the row of each key in the state has --row-bytes bytes`,
		Args: cobra.NoArgs,
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return &cli.UsageError{Err: err}
			}
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			r, err := b.run(ctx, cmd.OutOrStdout())
			if err != nil {
				return fmt.Errorf("workload %s: %w", b.workload, err)
			}
			return printLine(cmd.OutOrStdout(), r)
		}),
	}
	f := c.Flags()
	f.StringVar(&b.workload, "workload", "count", "pass, count, window, rekey or state")
	b.conn.Flags(f)
	f.StringVar(&b.app, "app", "bench", "name of the application")
	f.StringVar(&b.in, "in", "bench-in", "topic to read")
	f.StringVar(&b.out, "out", "bench-out", "topic to write; it is created like the input if it is missing")
	f.DurationVar(&b.commitInterval, "commit-interval", 100*time.Millisecond, "how long an epoch lasts")
	f.IntVar(&b.lanes, "lanes", runtime.GOMAXPROCS(0), "goroutines that process; default: one per CPU")
	f.Lookup("lanes").DefValue = "0" // so that the help is the same on every machine
	f.IntVar(&b.rowBytes, "row-bytes", 1000, "bytes of each row of workload state")
	f.StringVar(&b.stateDir, "state-dir", "", "directory for state (default: weir-state/<app>)")
	f.StringVar(&b.checkpoints, "checkpoint-dir", "", "take checkpoints into this `directory` or object store")
	f.DurationVar(&b.checkpointInterval, "checkpoint-interval", time.Minute, "from one checkpoint to the next")
	f.BoolVar(&b.fullCheckpoints, "full-checkpoints", false, "write all of the state with each checkpoint, not what has changed")
	f.IntVar(&b.standbys, "standbys", 0, "copies of each task's state in other workers")
	f.StringVar(&b.instance, "instance", "", "`name` of the worker, stable over restarts; default: one kept in the state directory")
	f.DurationVar(&b.untilIdle, "until-idle", 0, "end when nothing came for so long; 0: at SIGTERM only")
	f.BoolVar(&b.tellRestores, "tell-restores", false, "print a line of JSON when a task was restored, too")
	f.StringVar(&b.cpuProfile, "cpuprofile", "", "write a CPU profile to this file")
	f.StringVar(&b.memProfile, "memprofile", "", "write a heap profile to this file when the work is done")
	// Both spellings are in use for profiles.
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		switch name {
		case "cpu-profile":
			name = "cpuprofile"
		case "mem-profile":
			name = "memprofile"
		}
		return pflag.NormalizedName(name)
	})
	return c
}

func (b *benchWorker) check() error {
	if b.untilIdle < 0 {
		return fmt.Errorf("--until-idle is %s: use 0 or more", b.untilIdle)
	}
	if b.rowBytes < minRowBytes {
		return fmt.Errorf("--row-bytes is %d: the count takes %d", b.rowBytes, minRowBytes)
	}
	return checkWorkload(b.workload)
}

func (b *benchWorker) run(ctx context.Context, out io.Writer) (benchResult, error) {
	m := milestones{began: time.Now()}
	plan, err := workloadPlan(b.workload, b.app, b.in, b.out, b.rowBytes)
	if err != nil {
		return benchResult{}, err
	}
	if err := b.createOutput(ctx); err != nil {
		return benchResult{}, err
	}
	if b.stateDir == "" {
		b.stateDir = filepath.Join("weir-state", b.app)
	}
	connected, err := b.conn.Options()
	if err != nil {
		return benchResult{}, err
	}
	// What shows work: a committed epoch, and what comes before the first. A worker is not idle before it has started:
	// a large state directory takes its time to open.
	var last atomic.Int64
	alive := func() { last.Store(time.Now().UnixNano()) }
	idleSince := func() time.Time {
		if at := last.Load(); at != 0 {
			return time.Unix(0, at)
		}
		return time.Now()
	}
	options := []processor.Option{connected, processor.StateDir(b.stateDir), processor.Lanes(b.lanes), processor.CommitInterval(b.commitInterval)}
	if b.checkpoints != "" {
		options = append(options, processor.CheckpointInto(processor.Checkpoints{Dir: b.checkpoints, Interval: b.checkpointInterval, Full: b.fullCheckpoints}))
	}
	if b.standbys > 0 {
		options = append(options, processor.Standbys(b.standbys))
	}
	if b.instance != "" {
		options = append(options, processor.InstanceID(b.instance))
	}
	w, err := processor.New(plan, append(options,
		processor.Events(&processor.Listener{
			WorkerStarted: func(processor.WorkerInfo) {
				alive()
				m.reach(func(r *benchResult) *float64 { return &r.Ready }, true)
			},
			TasksAssigned: func(processor.AssignedInfo) { alive() },
			TaskRestoring: func(processor.RestoringInfo) { alive() },
			TaskRestored: func(i processor.RestoredInfo) {
				alive()
				m.reach(func(r *benchResult) *float64 { return &r.Restored }, false)
				m.replayed(i.Records)
				if b.tellRestores {
					now := time.Now()
					// One write each: lanes do not mix their lines. Nobody would be helped by a worker that ends here.
					_ = printLine(out, benchRestore{Restored: i.Records, Base: i.Base, Began: now.Add(-i.Took).UnixMilli(), Ended: now.UnixMilli()})
				}
			},
			EpochAborted: func(processor.AbortedInfo) { alive() },
			EpochCommitted: func(i processor.CommittedInfo) {
				m.epochs.add(i)
				if i.Records+i.Internal > 0 {
					alive()
					m.reach(func(r *benchResult) *float64 { return &r.FirstCommit }, true)
				}
			},
		}))...)
	if err != nil {
		return benchResult{}, err
	}
	stopProfile, err := startProfile(b.cpuProfile)
	if err != nil {
		return benchResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if b.untilIdle > 0 {
		go cancelWhenIdle(ctx, cancel, b.untilIdle, idleSince)
	}
	// The heap is of interest while there is state in it: before the worker closes its stores.
	var heap error
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		<-ctx.Done()
		heap = writeHeap(b.memProfile)
		stop()
	}()
	err = w.Run(running)
	cancel()
	<-running.Done()
	if err = errors.Join(err, stopProfile(), heap); err != nil {
		return benchResult{}, err
	}
	m.result.Epochs = m.epochs.result()
	return resultOf(m.result, w.Stats())
}

// createOutput creates the output topic with as many partitions as the input.
func (b *benchWorker) createOutput(ctx context.Context) error {
	cl, err := connect(ctx, &b.conn)
	if err != nil {
		return err
	}
	defer cl.Close()
	in, err := findTopic(ctx, cl, b.in)
	if errors.Is(err, errNoTopic) {
		return cli.Hint(err, "fill it with: weir bench load --topic %s", b.in)
	}
	if err != nil {
		return err
	}
	return ensureTopic(ctx, cl, b.out, int32(len(in.Partitions)))
}

// cancelWhenIdle cancels when the last sign of work is that long ago.
func cancelWhenIdle(ctx context.Context, cancel func(), idle time.Duration, last func() time.Time) {
	for {
		left := time.Until(last().Add(idle))
		if left <= 0 {
			cancel()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(left):
		}
	}
}

// resultOf adds to what is known of the start.
func resultOf(r benchResult, s processor.Stats) (benchResult, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return benchResult{}, fmt.Errorf("getrusage: %w", err)
	}
	r.Records, r.Commits, r.Aborts = s.Records, s.Commits, s.Aborts
	r.CPUSeconds = time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	r.MaxRSSBytes = used.Maxrss << 10
	if runtime.GOOS == "darwin" {
		r.MaxRSSBytes = used.Maxrss // others count in KiB
	}
	if !s.FirstCommit.IsZero() {
		r.Seconds = s.LastCommit.Sub(s.FirstCommit).Seconds()
		r.FirstAt, r.LastAt = s.FirstCommit, s.LastCommit
	}
	return r, nil
}

func startProfile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("CPU profile: %w", err), f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

func writeHeap(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("heap profile: %w", err)
	}
	runtime.GC()
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}
