package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/bench/report"
	"github.com/weir-stream/weir/offsets"
)

// A survivor is a system as it is killed.
type survivor struct {
	flag, system, setting string
	group                 func(app string) string // whose offsets are the positions
	command               func(job) []string
}

// survivors have the settings with which throughput is measured and, some of them, one that matters here. A fixed id is one
// that is not lost with the directory: by it a worker takes over what it was before at once, and has not to wait for the end
// of its own session.
var survivors = []survivor{
	{"weir", report.Weir, "", weirGroup, func(j job) []string { return weirSurvivor(j) }},
	{"weir", report.Weir, "fixed id", weirGroup, func(j job) []string { return weirSurvivor(j, "--instance", "w") }},
	{"streams", report.Streams, "", streamsGroup, func(j job) []string { return streamsSurvivor(j) }},
	{"streams", report.Streams, "6 s sessions", streamsGroup, func(j job) []string {
		return streamsSurvivor(j, "main.consumer.session.timeout.ms=6000", "main.consumer.heartbeat.interval.ms=2000")
	}},
	{"streams", report.Streams, "fixed id", streamsGroup, func(j job) []string { return streamsSurvivor(j, "group.instance.id=w") }},
}

func weirGroup(app string) string { return offsets.Names{Application: app, Timeline: 1}.Group() }

func streamsGroup(app string) string { return app }

func weirSurvivor(j job, more ...string) []string {
	return append(append(weirCommand(j), "--tell-restores"), more...)
}

func streamsSurvivor(j job, more ...string) []string {
	return streamsCommand(j, append([]string{"restores=1"}, more...)...)
}

// recoverKeys is how many keys the stores hold that are restored.
const recoverKeys = 1_000_000

// recoveries kills each survivor in turn, in each round once with its state directory and once without.
func (b *bench) recoveries(ctx context.Context) ([]report.Recovery, error) {
	var chosen []survivor
	var out []report.Recovery
	for _, v := range survivors {
		for _, s := range b.systems {
			if s.flag == v.flag {
				chosen = append(chosen, v)
				out = append(out, report.Recovery{System: v.system, Setting: v.setting, Keys: recoverKeys, Records: b.records, Rate: b.rate})
			}
		}
	}
	for round := range b.recovery {
		for i, v := range chosen {
			restarts, err := b.killed(ctx, v)
			name := strings.TrimSuffix(v.system+", "+v.setting, ", ")
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", name, round+1, err)
			}
			for _, r := range restarts {
				log.Printf("killed, round %d: %s, state directory %t: first commit %.2f s, all partitions %.2f s, %d changelog records in %.2f s",
					round+1, name, r.Directory, r.First, r.All, r.Restored, r.RestoreSeconds)
			}
			out[i].Restarts = append(out[i].Restarts, restarts...)
		}
	}
	return out, nil
}

// killed lets a worker work off a backlog and kills it as soon as it has, at full speed. The next one has the state
// directory; it is killed when it has worked off what came meanwhile, and the one after that has not. In the end every
// result must be there exactly once.
func (b *bench) killed(ctx context.Context, v survivor) (restarts []report.Restart, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	s := system{flag: v.flag, name: v.system, command: v.command}
	j := b.job("count", "", b.interval, 0)
	j.in, j.records = j.app+"-in", b.records
	if err := b.load(ctx, j.in, b.records, recoverKeys); err != nil {
		return nil, err
	}
	if err := b.create(ctx, j.out); err != nil {
		return nil, err
	}
	unfed, err := b.feed(ctx, cancel, j.in)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unfed()) }()
	o := observer{bench: b, group: v.group(j.app), topic: j.in}
	w, err := s.start(ctx, j)
	if err != nil {
		return nil, err
	}
	defer func() { w.kill() }() // the last one
	if err := o.caughtUp(ctx, w); err != nil {
		return nil, fmt.Errorf("first start: %w", err)
	}
	for _, directory := range []bool{true, false} {
		w.kill()
		if !directory {
			if err := os.RemoveAll(j.state); err != nil {
				return nil, err
			}
		}
		was, err := o.left(ctx)
		if err != nil {
			return nil, err
		}
		r := report.Restart{Directory: directory}
		began := time.Now()
		next, err := s.start(ctx, j)
		if err != nil {
			return nil, err
		}
		w = next
		if r.First, r.All, err = o.moved(ctx, w, was, began); err != nil {
			return nil, fmt.Errorf("start with state directory %t: %w", directory, err)
		}
		if !directory {
			if err := unfed(); err != nil {
				return nil, fmt.Errorf("produce: %w", err)
			}
		}
		if err := o.caughtUp(ctx, w); err != nil {
			return nil, fmt.Errorf("start with state directory %t: %w", directory, err)
		}
		if directory {
			w.kill()
		} else if _, err := w.stop(); err != nil {
			return nil, err
		}
		if r.Restored, r.RestoreSeconds, err = w.restored(); err != nil {
			return nil, err
		}
		restarts = append(restarts, r)
	}
	if err := command(ctx, "bench", "verify", "--brokers", b.brokers, "--workload", j.workload, "--in", j.in, "--out", j.out); err != nil {
		return nil, err
	}
	return restarts, b.clean(ctx, j)
}

// feed goes on producing at the rate of the benchmark until stop is called, which may be done twice. A failure cancels what
// waits for the records.
func (b *bench) feed(ctx context.Context, cancel func(), topic string) (stop func() error, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.brokers, ",")...), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	enough, ended := make(chan struct{}), make(chan struct{})
	var failed error
	go func() {
		defer close(ended)
		defer cl.Close()
		if failed = feedUntil(ctx, cl, enough, b.rate); failed != nil {
			cancel()
		}
	}()
	stopped := false
	return func() error {
		if !stopped {
			stopped = true
			close(enough)
		}
		<-ended
		return failed
	}, nil
}

func feedUntil(ctx context.Context, cl *kgo.Client, enough <-chan struct{}, rate int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, value := time.Now(), make([]byte, 100)
	for sent := int64(0); ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-enough:
			if err := cl.Flush(ctx); err != nil {
				return err
			}
			return context.Cause(ctx)
		case <-tick.C:
		}
		for due := int64(time.Since(began).Seconds() * float64(rate)); sent < due; sent++ {
			r := &kgo.Record{Key: fmt.Appendf(nil, "k%09d", sent*7919%recoverKeys), Value: value} // keys as those of the backlog
			cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					cancel(err)
				}
			})
		}
	}
}

// observer looks at what a group has committed of a topic, whoever its workers are.
type observer struct {
	*bench
	group, topic string
}

// positions of the partitions. Undecided are those that an open transaction wants to move; they are left out.
func (o observer) positions(ctx context.Context) (at map[int32]int64, undecided bool, err error) {
	fetched, err := o.cluster.Admin().FetchOffsets(kadm.RequireStable(ctx), o.group)
	if errors.Is(err, kerr.GroupIDNotFound) || kerr.IsRetriable(err) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("positions of %s: %w", o.group, err)
	}
	at = make(map[int32]int64)
	for partition, p := range fetched[o.topic] {
		switch {
		case kerr.IsRetriable(p.Err): // UNSTABLE_OFFSET_COMMIT
			undecided = true
		case p.Err != nil:
			return nil, false, fmt.Errorf("position of %s/%d of %s: %w", o.topic, partition, o.group, p.Err)
		default:
			at[partition] = p.At
		}
	}
	return at, undecided, nil
}

// undecidedFor is how long a commit may take that was under way at a kill. It is short, as the clocks of sessions go on.
const undecidedFor = 300 * time.Millisecond

// left gives the positions that the dead worker left. A commit that was under way is decided within moments; what stays
// undecided will not be committed, as only the dead could ask for it, and the position before it holds.
func (o observer) left(ctx context.Context) (map[int32]int64, error) {
	for began := time.Now(); ; {
		at, undecided, err := o.positions(ctx)
		if err != nil || !undecided {
			return at, err
		}
		if time.Since(began) > undecidedFor {
			break
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
	fetched, err := o.cluster.Admin().FetchOffsets(ctx, o.group)
	if err != nil {
		return nil, fmt.Errorf("positions of %s: %w", o.group, err)
	}
	at := make(map[int32]int64)
	for partition, p := range fetched[o.topic] {
		if p.Err != nil {
			return nil, fmt.Errorf("position of %s/%d of %s: %w", o.topic, partition, o.group, p.Err)
		}
		at[partition] = p.At
	}
	return at, nil
}

// moved waits until the first and until each of the positions is a new one, and gives the seconds since the start.
func (o observer) moved(ctx context.Context, w *worker, was map[int32]int64, began time.Time) (first, all float64, err error) {
	done := make(map[int32]bool)
	err = o.until(ctx, w, func(at map[int32]int64) bool {
		since := time.Since(began).Seconds()
		for partition, now := range at {
			if now > was[partition] && !done[partition] {
				done[partition] = true
				if all = since; first == 0 {
					first = since
				}
			}
		}
		return len(done) == partitions
	})
	return first, all, err
}

// caughtUp waits until everything is committed that was in the topic when it was called.
func (o observer) caughtUp(ctx context.Context, w *worker) error {
	ends, err := o.cluster.Admin().ListEndOffsets(ctx, o.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("end of %s: %w", o.topic, err)
	}
	done := make(map[int32]bool)
	return o.until(ctx, w, func(at map[int32]int64) bool {
		for partition, now := range at {
			if end, ok := ends.Lookup(o.topic, partition); ok && now >= end.Offset {
				done[partition] = true
			}
		}
		return len(done) == len(ends[o.topic])
	})
}

// until looks at the positions until they are enough. There is nothing to wait for when the worker has ended.
func (o observer) until(ctx context.Context, w *worker, enough func(map[int32]int64) bool) error {
	for {
		at, _, err := o.positions(ctx)
		if err != nil {
			return err
		}
		if enough(at) {
			return nil
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

// pause is the time between two looks, and with it the resolution of what is measured.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}

// kill ends a worker as a crash would. One that has ended already stays as it is.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill()
	<-w.done
}

// restoreLine is what a worker tells of one restore.
type restoreLine struct {
	Restored *int64 `json:"restored"` // changelog records; nil: another line
	Base     string `json:"base"`
	Began    int64  `json:"began_ms"`
	Ended    int64  `json:"ended_ms"`
}

// restores are those that a worker has told of so far, of tasks with state.
func (w *worker) restores() (out []restoreLine, err error) {
	for line := range strings.Lines(w.out.String()) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var r restoreLine
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("%s printed %.200q: %w", w.cmd.Args[0], line, err)
		}
		if r.Restored != nil && r.Base != "none" {
			out = append(out, r)
		}
	}
	return out, nil
}

// restored adds up what a worker told of its restores: the changelog records, and the time from the first to the last.
func (w *worker) restored() (records int64, seconds float64, err error) {
	all, err := w.restores()
	if err != nil {
		return 0, 0, err
	}
	if len(all) == 0 || !strings.HasSuffix(w.out.String(), "\n") {
		return 0, 0, fmt.Errorf("%s told of no restore, or was killed in a line", w.cmd.Args[0])
	}
	began, ended := all[0].Began, all[0].Ended
	for _, r := range all {
		began, ended, records = min(began, r.Began), max(ended, r.Ended), records+*r.Restored
	}
	return records, float64(ended-began) / 1e3, nil
}
