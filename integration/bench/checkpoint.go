package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/bench/checkpoints"
	"github.com/weir-stream/weir/integration/bench/report"
	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/processor/admin"
)

// checkpointParts are what can be measured of checkpoints, in this order.
var checkpointParts = []struct {
	flag    string
	measure func(*bench, context.Context, *checkpoints.Results) error
}{
	{"blocking", (*bench).blocking},
	{"lag", (*bench).lagging},
	{"standby", (*bench).takeovers},
	{"loss", (*bench).losses},
	{"duration", (*bench).durations},
	{"restore", (*bench).lostDirectories},
}

func allParts() string {
	var flags []string
	for _, p := range checkpointParts {
		flags = append(flags, p.flag)
	}
	return strings.Join(flags, ",")
}

const (
	smallRow      = 100 // bytes of the rows of states of a given size
	smallKey      = 10  // of their keys
	versionsOfRow = 10  // in an uncompacted changelog
	lossEvery     = 5 * time.Second
	blockingEvery = 100 * time.Millisecond
	backlog       = 6_000_000 // of which at least 5 M are left when the first checkpoint is complete
)

// checkpointing measures the chosen parts and puts each into the file of results as soon as it is there, in place of
// the one before.
func (b *bench) checkpointing(ctx context.Context) error {
	chosen := strings.Split(b.parts, ",")
	for _, name := range chosen {
		if !slices.Contains(strings.Split(allParts(), ","), name) {
			return fmt.Errorf("-parts %s: use some of %s", b.parts, allParts())
		}
	}
	result := checkpoints.Results{}
	if b.json != "" {
		var err error
		if result, err = checkpoints.Read(b.json); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	result.Machine, result.Kafka = fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH), kafkatest.Version
	if err := b.warm(ctx); err != nil {
		return fmt.Errorf("warm the broker: %w", err)
	}
	for _, p := range checkpointParts {
		if !slices.Contains(chosen, p.flag) {
			continue
		}
		if err := p.measure(b, ctx, &result); err != nil {
			return fmt.Errorf("checkpoints, %s: %w", p.flag, err)
		}
		if b.json != "" {
			if err := result.Write(b.json); err != nil {
				return err
			}
		}
	}
	fmt.Print(result.Markdown())
	return nil
}

// checkpointer is weir with more flags.
func checkpointer(more ...string) system {
	return system{flag: "weir", name: report.Weir, command: func(j job) []string { return append(weirCommand(j), more...) }}
}

func (b *bench) admin(app string) (*admin.Client, error) {
	return admin.New(app, kgo.SeedBrokers(strings.Split(b.brokers, ",")...))
}

// newestCheckpoint is the last one that is kept; false: there is none.
func newestCheckpoint(ctx context.Context, cl *admin.Client) (admin.Checkpoint, bool, error) {
	all, err := cl.Checkpoints(ctx)
	if err != nil || len(all.Kept) == 0 {
		return admin.Checkpoint{}, false, err
	}
	return all.Kept[len(all.Kept)-1], true, nil
}

// until asks again and again while the worker lives.
func (w *worker) until(ctx context.Context, enough func() (bool, error)) error {
	for {
		if ok, err := enough(); err != nil || ok {
			return err
		}
		select {
		case <-w.done:
			return fmt.Errorf("the worker ended: %v\n%.4000s", w.err, w.errors.String())
		default:
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// blocking takes many checkpoints under a steady load and has the worker tell how long its lanes stood still.
func (b *bench) blocking(ctx context.Context, out *checkpoints.Results) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := b.job("count", "", b.interval, 0)
	j.in = j.app + "-in"
	dir := j.state + "-cuts"
	for _, topic := range []string{j.in, j.out} {
		if err := b.create(ctx, topic); err != nil {
			return err
		}
	}
	unfed, err := b.feed(ctx, cancel, j.in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unfed()) }()
	w, err := checkpointer("--checkpoint-dir", dir, "--checkpoint-interval", blockingEvery.String()).start(ctx, j)
	if err != nil {
		return err
	}
	defer w.kill()
	cl, err := b.admin(j.app)
	if err != nil {
		return err
	}
	defer cl.Close()
	tick, last := time.NewTicker(time.Second), uint64(0)
	defer tick.Stop()
	o := observer{bench: b, group: weirGroup(j.app), topic: j.in}
	if err := o.until(ctx, w, func(at map[int32]int64) bool { return len(at) == partitions }); err != nil { // it is born
		return err
	}
	err = w.until(ctx, func() (bool, error) {
		<-tick.C // a look costs the broker something, too
		k, ok, err := newestCheckpoint(ctx, cl)
		if ok {
			last = k.ID
		}
		return ok && last >= uint64(b.checkpoints), err
	})
	if err != nil {
		return err
	}
	if _, err := w.stop(); err != nil {
		return err
	}
	var said struct {
		Epochs checkpoints.Blocking `json:"epochs"`
	}
	if err := json.Unmarshal(w.last(), &said); err != nil {
		return err
	}
	k := said.Epochs
	k.Checkpoints, k.Rate, k.Interval, k.Keys = int(last), b.rate, blockingEvery.Milliseconds(), recoverKeys
	out.Blocking = &k
	log.Printf("%d checkpoints: own work %+v, ends of epochs with one %+v, without %+v", last, k.CutWork, k.Cuts, k.Plain)
	if err := unfed(); err != nil {
		return err
	}
	return errors.Join(b.clean(ctx, j), os.RemoveAll(dir))
}

// lagging takes a checkpoint while a worker has everything in front of it.
func (b *bench) lagging(ctx context.Context, out *checkpoints.Results) error {
	j := b.job("rekey", "", b.interval, 0)
	j.in = j.app + "-in"
	if err := b.load(ctx, j.in, backlog, 100_000); err != nil {
		return err
	}
	if err := b.create(ctx, j.out); err != nil {
		return err
	}
	dir := j.state + "-cuts"
	w, err := checkpointer("--checkpoint-dir", dir, "--checkpoint-interval", "500ms").start(ctx, j)
	if err != nil {
		return err
	}
	defer w.kill()
	cl, err := b.admin(j.app)
	if err != nil {
		return err
	}
	defer cl.Close()
	o := observer{bench: b, group: weirGroup(j.app), topic: j.in}
	if err := o.until(ctx, w, func(at map[int32]int64) bool { return len(at) == partitions }); err != nil {
		return err
	}
	var first admin.Checkpoint
	err = w.until(ctx, func() (ok bool, err error) {
		first, ok, err = newestCheckpoint(ctx, cl)
		return ok, err
	})
	if err != nil {
		return err
	}
	at, _, err := o.positions(ctx)
	if err != nil {
		return err
	}
	left := int64(backlog)
	for _, p := range at {
		left -= p
	}
	w.kill()
	out.Lag = &checkpoints.Lag{Records: left, Seconds: first.Took().Seconds()}
	log.Printf("checkpoint %d with %d records of lag: %.2f s", first.ID, left, out.Lag.Seconds)
	return errors.Join(b.clean(ctx, j), os.RemoveAll(dir))
}

// losses runs with and without checkpoints over the same input, in turn.
func (b *bench) losses(ctx context.Context, out *checkpoints.Results) error {
	out.Losses = nil
	for _, keys := range []int64{100_000, 1_000_000} {
		l := checkpoints.Loss{Keys: keys, Records: 6 * b.records, Interval: lossEvery.Milliseconds()}
		in := fmt.Sprintf("loss-%d", keys)
		if err := b.load(ctx, in, l.Records, keys); err != nil {
			return err
		}
		dir := filepath.Join(b.work, "loss-cuts")
		for round := range b.rounds {
			for _, with := range []bool{false, true} {
				s := checkpointer()
				if with {
					s = checkpointer("--checkpoint-dir", dir, "--checkpoint-interval", lossEvery.String())
				}
				run, err := b.once(ctx, s, row{"count", keys}, in, l.Records)
				if err != nil {
					return err
				}
				log.Printf("loss, %d keys, round %d, checkpoints %t: %.2f CPU-s, %.2f s", keys, round+1, with, run.CPUSeconds, run.Seconds)
				mine := &l.Without
				if with {
					mine = &l.With
				}
				*mine = append(*mine, checkpoints.Run{CPUSeconds: run.CPUSeconds, Seconds: run.Seconds, Records: run.Records})
				if err := os.RemoveAll(dir); err != nil {
					return err
				}
			}
		}
		out.Losses = append(out.Losses, l)
		if err := b.drop(ctx, in); err != nil {
			return err
		}
	}
	return nil
}
