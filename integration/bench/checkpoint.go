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
	"strconv"
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

// takeovers kills one of two workers that follow each other's state.
func (b *bench) takeovers(ctx context.Context, out *checkpoints.Results) error {
	out.Standby = &checkpoints.Standby{Keys: recoverKeys}
	for round := range max(b.recovery, 1) {
		took, records, all, err := b.takeover(ctx)
		if err != nil {
			return err
		}
		log.Printf("standby, round %d: ready %.0f ms after the assignment, %d records left, all partitions %.2f s after the kill", round+1, took, records, all)
		s := out.Standby
		s.Takeovers, s.Records, s.All = append(s.Takeovers, took), append(s.Records, records), append(s.All, all)
	}
	return nil
}

func (b *bench) takeover(ctx context.Context) (took float64, records int64, all float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := b.job("count", "", b.interval, 0)
	j.in = j.app + "-in"
	if err := b.load(ctx, j.in, b.records, recoverKeys); err != nil {
		return 0, 0, 0, err
	}
	if err := b.create(ctx, j.out); err != nil {
		return 0, 0, 0, err
	}
	unfed, err := b.feed(ctx, cancel, j.in)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, unfed()) }()
	var ws []*worker
	for _, name := range []string{"a", "b"} {
		mine := j
		mine.state = filepath.Join(j.state, name)
		w, err := checkpointer("--instance", name, "--standbys", "1", "--tell-restores").start(ctx, mine)
		if err != nil {
			return 0, 0, 0, err
		}
		defer w.kill()
		ws = append(ws, w)
	}
	cl, err := b.admin(j.app)
	if err != nil {
		return 0, 0, 0, err
	}
	defer cl.Close()
	o := observer{bench: b, group: weirGroup(j.app), topic: j.in}
	if err := o.caughtUp(ctx, ws[1]); err != nil {
		return 0, 0, 0, err
	}
	err = ws[1].until(ctx, func() (bool, error) { return followed(ctx, cl) })
	if err != nil {
		return 0, 0, 0, err
	}
	ws[0].kill()
	killed := time.Now()
	was, err := o.left(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	if _, all, err = o.moved(ctx, ws[1], was, killed); err != nil {
		return 0, 0, 0, err
	}
	if err := unfed(); err != nil {
		return 0, 0, 0, err
	}
	if err := o.caughtUp(ctx, ws[1]); err != nil {
		return 0, 0, 0, err
	}
	if _, err := ws[1].stop(); err != nil {
		return 0, 0, 0, err
	}
	told, err := ws[1].restores()
	if err != nil {
		return 0, 0, 0, err
	}
	n := 0
	for _, r := range told {
		if r.Base == "standby" && r.Began >= killed.UnixMilli() {
			took, records, n = max(took, float64(r.Ended-r.Began)), records+*r.Restored, n+1
		}
	}
	if n == 0 {
		return 0, 0, 0, errors.New("no standby took over")
	}
	if err := command(ctx, "bench", "verify", "--brokers", b.brokers, "--workload", j.workload, "--in", j.in, "--out", j.out); err != nil {
		return 0, 0, 0, err
	}
	return took, records, all, b.clean(ctx, j)
}

// followed says whether every task with state has a copy elsewhere, and nothing is being restored.
func followed(ctx context.Context, cl *admin.Client) (bool, error) {
	s, err := cl.Status(ctx)
	if err != nil {
		return false, err
	}
	for _, t := range s.Tasks {
		if len(t.Stores) > 0 && (len(t.Standbys) == 0 || t.Restoring != nil) {
			return false, nil
		}
	}
	return len(s.Tasks) > 0, nil
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

// sizes are the numbers of rows of states.
func (b *bench) sizes() (out []int64, err error) {
	for _, s := range strings.Split(b.stateRows, ",") {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-rows %s: want numbers separated by commas", b.stateRows)
		}
		out = append(out, n)
	}
	return out, nil
}

// filled starts a worker with a state of so many rows, each written so many times.
func (b *bench) filled(ctx context.Context, rows, versions int64, more ...string) (job, *worker, error) {
	j := b.job("state", "", b.interval, 0)
	j.in = j.app + "-in"
	p := point{records: rows * versions, keys: rows, partitions: partitions, roundRobin: true}
	if err := b.loadPoint(ctx, j.in, p, p.records); err != nil {
		return j, nil, err
	}
	if err := b.create(ctx, j.out); err != nil {
		return j, nil, err
	}
	w, err := stateful(more...).start(ctx, j)
	if err != nil {
		return j, nil, err
	}
	o := observer{bench: b, group: weirGroup(j.app), topic: j.in}
	if err := o.caughtUp(ctx, w); err != nil {
		w.kill()
		return j, nil, err
	}
	return j, w, nil
}

// stateful is a worker whose rows have smallRow bytes.
func stateful(more ...string) system {
	return checkpointer(append([]string{"--row-bytes", strconv.Itoa(smallRow), "--instance", "w"}, more...)...)
}

// durations takes a savepoint of each size: it is a snapshot of all rows, whatever was written before.
func (b *bench) durations(ctx context.Context, out *checkpoints.Results) error {
	sizes, err := b.sizes()
	if err != nil {
		return err
	}
	out.Durations = nil
	for _, rows := range sizes {
		j, w, err := b.filled(ctx, rows, 1)
		if err != nil {
			return err
		}
		d, err := b.duration(ctx, j)
		w.kill()
		if err = errors.Join(err, b.clean(ctx, j)); err != nil {
			return err
		}
		log.Printf("snapshot of %d rows: %.2f s, %d bytes written", d.Rows, d.Seconds, d.Written)
		out.Durations = append(out.Durations, d)
	}
	return nil
}

func (b *bench) duration(ctx context.Context, j job) (d checkpoints.Duration, err error) {
	cl, err := b.admin(j.app)
	if err != nil {
		return d, err
	}
	defer cl.Close()
	path := j.state + "-savepoint"
	defer func() { err = errors.Join(err, os.RemoveAll(path)) }()
	s, err := cl.TriggerSavepoint(ctx, admin.SavepointOptions{Path: path}, nil)
	if err != nil {
		return d, err
	}
	what, err := admin.InspectSavepoint(ctx, path, false)
	if err != nil {
		return d, err
	}
	return checkpoints.Duration{
		Rows: what.Rows, Bytes: what.Rows * (smallRow + smallKey), Written: what.Bytes, Seconds: s.Ended.Sub(s.Requested).Seconds(),
	}, nil
}

// lostDirectories starts a worker without its directory, from a checkpoint and from the changelog.
func (b *bench) lostDirectories(ctx context.Context, out *checkpoints.Results) error {
	sizes, err := b.sizes()
	if err != nil {
		return err
	}
	out.Restores = nil
	for _, rows := range sizes[min(1, len(sizes)-1):] { // the smallest is over before it can be measured
		r, err := b.lostDirectory(ctx, rows)
		if err != nil {
			return err
		}
		log.Printf("lost directory of %d rows: from the checkpoint %.2f s, from %d records of the changelog %.2f s", rows, r.Snapshot, r.Records, r.Changelog)
		out.Restores = append(out.Restores, r)
	}
	return nil
}

func (b *bench) lostDirectory(ctx context.Context, rows int64) (r checkpoints.Restore, err error) {
	r = checkpoints.Restore{Rows: rows, Bytes: rows * (smallRow + smallKey), Versions: versionsOfRow}
	dir := filepath.Join(b.work, "restore-cuts")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	j, w, err := b.filled(ctx, rows, versionsOfRow, "--checkpoint-dir", dir, "--checkpoint-interval", "10s", "--full-checkpoints")
	if err != nil {
		return r, err
	}
	defer func() { w.kill() }() // the last one
	cl, err := b.admin(j.app)
	if err != nil {
		return r, err
	}
	defer cl.Close()
	filled := time.Now()
	err = w.until(ctx, func() (bool, error) {
		k, ok, err := newestCheckpoint(ctx, cl)
		return ok && k.Triggered.After(filled), err
	})
	if err != nil {
		return r, err
	}
	for _, base := range []string{"checkpoint", "changelog"} {
		if _, err := w.stop(); err != nil {
			return r, err
		}
		if err := os.RemoveAll(j.state); err != nil {
			return r, err
		}
		more := []string{"--tell-restores"}
		if base == "checkpoint" {
			more = append(more, "--checkpoint-dir", dir, "--checkpoint-interval", "24h")
		}
		if w, err = stateful(more...).start(ctx, j); err != nil {
			return r, err
		}
		var told []restoreLine
		err = w.until(ctx, func() (ok bool, err error) {
			told, err = w.restores()
			return len(told) == partitions, err
		})
		if err != nil {
			return r, err
		}
		for _, one := range told {
			if one.Base != base {
				return r, fmt.Errorf("a task was restored from %s, want %s", one.Base, base)
			}
		}
		n, seconds, err := w.restored()
		if err != nil {
			return r, err
		}
		if base == "checkpoint" {
			r.Snapshot = seconds
		} else {
			r.Changelog, r.Records = seconds, n
		}
	}
	w.kill()
	return r, b.clean(ctx, j)
}
