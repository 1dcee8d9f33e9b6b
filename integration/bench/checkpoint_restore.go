package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weir-stream/weir/integration/bench/checkpoints"
	"github.com/weir-stream/weir/processor/admin"
)

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
	at := []string{"--checkpoint-dir", dir, "--checkpoint-interval", "-1s"}
	j, w, err := b.filled(ctx, rows, versionsOfRow, at...)
	if err != nil {
		return r, err
	}
	defer func() { w.kill() }() // the last one
	cl, err := b.admin(j.app)
	if err != nil {
		return r, err
	}
	defer cl.Close()
	if _, err := cl.TriggerCheckpoint(ctx, admin.CheckpointOptions{Full: true}, nil); err != nil {
		return r, err
	}
	if w, r.Snapshot, _, err = b.startEmpty(ctx, j, w, "checkpoint", at...); err != nil {
		return r, err
	}
	if w, r.Changelog, r.Records, err = b.startEmpty(ctx, j, w, "changelog"); err != nil {
		return r, err
	}
	w.kill()
	if err := b.clean(ctx, j); err != nil {
		return r, err
	}
	// A changelog with one version of each row is what the best log cleaner leaves.
	if j, w, err = b.filled(ctx, rows, 1); err != nil {
		return r, err
	}
	if w, r.Compacted, _, err = b.startEmpty(ctx, j, w, "changelog"); err != nil {
		return r, err
	}
	w.kill()
	return r, b.clean(ctx, j)
}

// startEmpty stops the worker, takes its directory away and starts it again. It gives the new one, and what it took
// until all tasks were restored, from that base.
func (b *bench) startEmpty(ctx context.Context, j job, w *worker, base string, more ...string) (next *worker, seconds float64, records int64, err error) {
	if _, err := w.stop(); err != nil {
		return w, 0, 0, err
	}
	if err := os.RemoveAll(j.state); err != nil {
		return w, 0, 0, err
	}
	if next, err = stateful(append([]string{"--tell-restores"}, more...)...).start(ctx, j); err != nil {
		return w, 0, 0, err
	}
	var told []restoreLine
	err = next.until(ctx, func() (ok bool, err error) {
		told, err = next.restores()
		return len(told) == partitions, err
	})
	if err != nil {
		return next, 0, 0, err
	}
	for _, one := range told {
		if one.Base != base {
			return next, 0, 0, fmt.Errorf("a task was restored from %s, want %s", one.Base, base)
		}
	}
	records, seconds, err = next.restored()
	return next, seconds, records, err
}
