// Tallyworker runs the tally topology as one worker process, for the tests that kill it.
// It prints a line for each event that a test may wait for.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
)

func main() {
	var (
		t        tally.Tally
		brokers  = flag.String("brokers", "", "addresses, comma-separated")
		state    = flag.String("state", "", "state directory")
		instance = flag.String("instance", "", "instance id")
		lanes    = flag.Int("lanes", 2, "lanes")
		commit   = flag.Duration("commit", 50*time.Millisecond, "commit interval")
		session  = flag.Duration("session", 6*time.Second, "session timeout")
		txn      = flag.Duration("transaction", 5*time.Second, "transaction timeout")
		parts    = flag.Int("partitions", 4, "partitions")
		cache    = flag.Int64("cache", 64<<20, "cache bytes")
		leave    = flag.Bool("leave", false, "leave the group on stop")
		standbys = flag.Int("standbys", 0, "copies of each task's state")
		cuts     = flag.String("checkpoints", "", "take checkpoints into this directory")
		every    = flag.Duration("interval", 300*time.Millisecond, "between checkpoints; negative: none but those that are asked for")
		from     = flag.String("from", "", "begin anew from the manifest")
		again    = flag.String("rewind", "", "id of the rewind")
		fork     = flag.Bool("fork", false, "the manifest is of another application")
		claim    = flag.Bool("claim", false, "the savepoint is the application's from there on")
		halt     = flag.Bool("stop-workers", false, "stop those that run, for the rewind")
		internal = flag.Int("internal", 0, "internal partitions of the rewind")
		reset    = flag.String("reset", "", "id of a reset: begin with empty state, at the beginning of the input")
		retained = flag.Int("retained", 3, "checkpoints that are kept")
	)
	flag.StringVar(&t.App, "app", "", "application")
	flag.IntVar(&t.Keys, "keys", 100, "keys")
	flag.StringVar(&t.Source, "source", "", "topic of the input; default: the application's own")
	flag.IntVar(&t.Groups, "groups", 10, "groups")
	flag.Parse()
	t.Partitions = int32(*parts)
	more := []processor.Option{processor.Standbys(*standbys)}
	if *from != "" {
		more = append(more, processor.StartFrom(processor.RewindOptions{From: *from, ID: *again, Fork: *fork, Claim: *claim, StopWorkers: *halt, InternalPartitions: *internal}))
	}
	if *cuts != "" {
		more = append(more, processor.CheckpointInto(processor.Checkpoints{Dir: *cuts, Interval: *every, TolerableFailures: -1, Retained: *retained}))
	}
	before := func(context.Context, *topology.Plan, []processor.Option) error { return nil }
	if *reset != "" {
		before = func(ctx context.Context, plan *topology.Plan, opts []processor.Option) error {
			report, err := processor.Reset(ctx, plan, processor.ResetOptions{ID: *reset, To: processor.ResetToEarliest, StopWorkers: *halt}, opts...)
			if err != nil {
				return err
			}
			text, err := json.Marshal(report)
			fmt.Printf("reset %s\n", text)
			return err
		}
	}
	if err := run(t, before, strings.Split(*brokers, ","), *state, *instance, *lanes, *commit, *session, *txn, *cache, *leave, more...); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println("stopped")
}

func run(t tally.Tally, before func(context.Context, *topology.Plan, []processor.Option) error, brokers []string, state, instance string, lanes int, commit, session, txn time.Duration, cache int64, leave bool, more ...processor.Option) error {
	zerolog.TimeFieldFormat = time.RFC3339Nano // so that lines of several workers can be put in order
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	plan, err := t.Plan()
	if err != nil {
		return err
	}
	opts := []processor.Option{
		processor.Brokers(brokers...), processor.StateDir(state), processor.InstanceID(instance), processor.Lanes(lanes),
		processor.CommitInterval(commit), processor.SessionTimeout(session), processor.TransactionTimeout(txn),
		processor.HeartbeatInterval(500 * time.Millisecond), processor.RebalanceTimeout(10 * time.Second),
		processor.CacheBytes(cache), processor.Logger(zerolog.New(os.Stdout).Level(zerolog.InfoLevel).With().Timestamp().Logger()),
	}
	if leave {
		opts = append(opts, processor.LeaveOnStop())
	}
	opts = append(opts, more...)
	if err := before(ctx, plan, opts); err != nil {
		return err
	}
	return processor.Run(ctx, plan, opts...)
}
