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

	"github.com/weir-stream/weir/integration/bench/report"
	"github.com/weir-stream/weir/integration/bench/scale"
	"github.com/weir-stream/weir/integration/kafkatest"
)

// curve is a cause to vary. All of its points have the same workload.
type curve struct {
	flag     string // as it is chosen on the command line
	cause    scale.Cause
	workload string
	fixed    string
	points   []point
}

// point is a measurement to make.
type point struct {
	x          float64
	records    int64
	keys       int64
	partitions int
	hot        float64 // share of the first key
	roundRobin bool    // so that every key is there
	interval   time.Duration
	workers    int // processes
	lanes      int // of each
	rounds     int
	restarts   bool // over the state directory and without it
	warm       bool // measured is a second start, so that topics are not new
}

const (
	stateRow    = 1000    // bytes of a row of the curve of states
	moreRecords = 100_000 // of the input of a restart
	warmRecords = 200_000 // of the input before what is measured
)

// curvesOf are all curves. What is not a curve's cause is as in the other tables: 100 K keys, 4 tasks, 100 ms.
func curvesOf(s settings) []curve {
	usual := point{records: s.records, keys: 100_000, partitions: 4, interval: s.interval, workers: 1, lanes: s.lanes, rounds: s.rounds}
	with := func(x float64, change func(*point)) point {
		p := usual
		p.x = x
		change(&p)
		return p
	}
	k := func(n int64) string { return fmt.Sprintf("%d K", n/1000) }
	every := fmt.Sprintf("commits every %s, %d lanes", s.interval, s.lanes)
	keys := curve{"keys", scale.Keys, "count", fmt.Sprintf("%s records and at least 1.5 per key, 4 tasks, %s", k(s.records), every), nil}
	for _, n := range []int64{10_000, 100_000, 1_000_000, 10_000_000} {
		keys.points = append(keys.points, with(float64(n), func(p *point) {
			p.keys, p.records = n, max(p.records, n*3/2)
			if p.records > s.records {
				p.rounds = 1
			}
		}))
	}
	tasks := curve{"tasks", scale.Tasks, "count", fmt.Sprintf("%s records of 100 K keys after %s others and a restart, %s", k(s.records), k(warmRecords), every), nil}
	for _, n := range []int{4, 16, 64, 256} {
		tasks.points = append(tasks.points, with(float64(n), func(p *point) { p.partitions, p.warm = n, true }))
	}
	workers := curve{"workers", scale.Workers, "count",
		fmt.Sprintf("%s records of 100 K keys, 16 tasks, commits every %s, 1 lane per worker, all on one machine", k(s.records), s.interval), nil}
	for _, n := range []int{1, 2, 4, 8} {
		workers.points = append(workers.points, with(float64(n), func(p *point) { p.partitions, p.workers, p.lanes = 16, n, 1 }))
	}
	states := curve{"state", scale.State, "state",
		fmt.Sprintf("rows of %d bytes, %s records and at least one per row, 4 tasks, %s; restarts after a clean stop", stateRow, k(s.records/2), every), nil}
	for _, n := range []int64{10_000, 100_000, 1_000_000, 5_000_000} {
		states.points = append(states.points, with(float64(n*stateRow), func(p *point) {
			p.keys, p.records, p.roundRobin, p.restarts = n, max(p.records/2, n), true, true
			if n*stateRow >= 1e8 {
				p.rounds = 1
			}
		}))
	}
	var intervals []curve
	for _, workload := range []string{"pass", "count"} {
		c := curve{"interval", scale.Interval, workload, fmt.Sprintf("%s records of 100 K keys, 4 tasks, %d lanes", k(s.records), s.lanes), nil}
		for _, d := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second} {
			c.points = append(c.points, with(float64(d.Milliseconds()), func(p *point) { p.interval = d }))
		}
		intervals = append(intervals, c)
	}
	skew := curve{"skew", scale.Skew, "count", fmt.Sprintf("%s records of 100 K keys, 4 tasks, %s", k(s.records), every), nil}
	for _, share := range []float64{0, 50, 90, 99} {
		skew.points = append(skew.points, with(share, func(p *point) { p.hot = share / 100 }))
	}
	return append([]curve{tasks, keys, workers, states, skew}, intervals...)
}

func allCurves() string {
	var flags []string
	for _, c := range curvesOf(settings{}) {
		if !slices.Contains(flags, c.flag) {
			flags = append(flags, c.flag)
		}
	}
	return strings.Join(flags, ",")
}

// scaleUp measures the chosen curves and puts each into the file of results as soon as it is whole, in place of the one
// before.
func (b *bench) scaleUp(ctx context.Context) error {
	chosen := strings.Split(b.settings.curves, ",")
	for _, name := range chosen {
		if !slices.Contains(strings.Split(allCurves(), ","), name) {
			return fmt.Errorf("-curves %s: use some of %s", b.settings.curves, allCurves())
		}
	}
	if b.rounds < 1 {
		return errors.New("-rounds is 1 or more for curves")
	}
	result := scale.Scale{}
	if b.json != "" {
		var err error
		if result, err = scale.Read(b.json); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	result.Machine, result.Kafka = fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH), kafkatest.Version
	if err := b.warm(ctx); err != nil {
		return fmt.Errorf("warm the broker: %w", err)
	}
	for _, c := range curvesOf(b.settings) {
		if !slices.Contains(chosen, c.flag) {
			continue
		}
		got, err := b.curve(ctx, c)
		if err != nil {
			return fmt.Errorf("curve of %s: %w", c.cause, err)
		}
		result.Put(got)
		if b.json == "" {
			continue
		}
		if err := result.Write(b.json); err != nil {
			return err
		}
	}
	fmt.Print(result.Markdown())
	return nil
}

// redraw makes page and drawing again from what was measured.
func redraw(_ context.Context, s settings) error {
	result, err := scale.Read(s.json)
	if err != nil {
		return err
	}
	page, text := s.page, result.Markdown()
	if page == "" {
		page = strings.TrimSuffix(s.json, filepath.Ext(s.json)) + ".md"
	} else {
		old, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		if text, err = result.Page(string(old)); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	drawing, err := result.SVG()
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(page, filepath.Ext(page))+".svg", drawing, 0o644)
}

// curve measures its points one after the other. Points in a row with the same input share it.
func (b *bench) curve(ctx context.Context, c curve) (scale.Curve, error) {
	out := scale.Curve{Cause: c.cause, Workload: c.workload, Fixed: c.fixed}
	in, loaded := "", point{}
	for i, p := range c.points {
		same := p.records == loaded.records && p.keys == loaded.keys && p.partitions == loaded.partitions && p.hot == loaded.hot
		if p.warm {
			made, err := b.warmPoint(ctx, c, p)
			if err != nil {
				return out, fmt.Errorf("point %g: %w", p.x, err)
			}
			out.Points = append(out.Points, made)
			continue
		}
		if in == "" || !same || p.restarts {
			if in != "" {
				if err := b.drop(ctx, in); err != nil {
					return out, err
				}
			}
			in, loaded = fmt.Sprintf("scale-%s-%s-%d", c.flag, c.workload, i), p
			if err := b.loadPoint(ctx, in, p, p.records); err != nil {
				return out, err
			}
		}
		made, err := b.point(ctx, c, p, in)
		if err != nil {
			return out, fmt.Errorf("point %g: %w", p.x, err)
		}
		out.Points = append(out.Points, made)
	}
	if in == "" {
		return out, nil
	}
	return out, b.drop(ctx, in)
}

// warmPoint measures the second start of each application. The first pages of a new partition's index files cost the
// broker more than the records in it: of 256 partitions that would be measured, and nothing else.
func (b *bench) warmPoint(ctx context.Context, c curve, p point) (scale.Point, error) {
	out := scale.Point{X: p.x}
	for range p.rounds {
		j := b.job(c.workload, "", p.interval, max(3*time.Second, 2*p.interval))
		j.in, j.lanes = j.app+"-in", p.lanes
		var run scale.Run
		for _, records := range []int64{warmRecords, p.records} {
			if err := b.loadPoint(ctx, j.in, p, records); err != nil {
				return out, err
			}
			var err error
			if run, err = b.group(ctx, j, p, records); err != nil {
				return out, err
			}
		}
		say(c, p, "", run)
		out.Runs = append(out.Runs, run)
		if err := command(ctx, "bench", "verify", "--brokers", b.brokers, "--workload", c.workload, "--in", j.in, "--out", j.out); err != nil {
			return out, err
		}
		if err := b.clean(ctx, j); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (b *bench) loadPoint(ctx context.Context, topic string, p point, records int64) error {
	args := []string{"bench", "load", "--brokers", b.brokers, "--topic", topic, "--partitions", strconv.Itoa(p.partitions),
		"--records", strconv.FormatInt(records, 10), "--keys", strconv.FormatInt(p.keys, 10), "--hot", strconv.FormatFloat(p.hot, 'g', -1, 64)}
	if p.roundRobin {
		args = append(args, "--round-robin")
	}
	return command(ctx, args...)
}

// point runs all rounds of a point.
func (b *bench) point(ctx context.Context, c curve, p point, in string) (scale.Point, error) {
	out := scale.Point{X: p.x}
	total := p.records // in the input, which restarts add to
	for range p.rounds {
		j := b.job(c.workload, in, p.interval, max(3*time.Second, 2*p.interval))
		j.lanes = p.lanes
		run, err := b.group(ctx, j, p, total)
		if err != nil {
			return out, err
		}
		say(c, p, "", run)
		out.Runs = append(out.Runs, run)
		if p.restarts {
			for _, forget := range []bool{false, true} {
				if err := b.loadPoint(ctx, in, p, moreRecords); err != nil {
					return out, err
				}
				total += moreRecords
				if forget {
					if err := os.RemoveAll(j.state); err != nil {
						return out, err
					}
				}
				run, err := b.group(ctx, j, p, moreRecords)
				if err != nil {
					return out, err
				}
				if forget {
					say(c, p, ", without its directory", run)
					out.Rebuilt = append(out.Rebuilt, run)
				} else {
					say(c, p, ", with its directory", run)
					out.Kept = append(out.Kept, run)
				}
			}
		}
		if err := command(ctx, "bench", "verify", "--brokers", b.brokers, "--workload", c.workload, "--in", in, "--out", j.out); err != nil {
			return out, err
		}
		if err := b.clean(ctx, j); err != nil {
			return out, err
		}
	}
	return out, nil
}

func say(c curve, p point, how string, run scale.Run) {
	log.Printf("%s, %s %g%s: %.0f K/s, %.0f K per CPU-second, %d MiB (%d anonymous), %d files; ready %.2f s, restored %.2f s, first commit %.2f s, %d replayed",
		c.workload, c.cause, p.x, how, float64(run.Records)/run.Seconds/1e3, float64(run.Records)/run.CPUSeconds/1e3, run.MaxRSSBytes>>20,
		run.AnonBytes>>20, run.OpenFiles, run.Ready, run.Restored, run.FirstCommit, run.Replayed)
}

// told is what a worker prints at its end.
type told struct {
	scale.Run
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// group runs the workers of a point until nothing comes any more, and adds them up. Each has a fixed name in the group,
// so that one that comes back without its directory has not to wait for the session of the one before.
func (b *bench) group(ctx context.Context, j job, p point, records int64) (scale.Run, error) {
	var sum scale.Run
	before, err := b.brokerCPU()
	if err != nil {
		return sum, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of workers that are left behind
	var ws []*worker
	for i := range p.workers {
		name := fmt.Sprintf("w%d", i)
		s := system{name: report.Weir, command: func(j job) []string {
			return append(weirCommand(j), "--instance", name, "--row-bytes", strconv.Itoa(stateRow))
		}}
		mine := j
		mine.state = filepath.Join(j.state, name)
		w, err := s.start(ctx, mine)
		if err != nil {
			return sum, err
		}
		ws = append(ws, w)
	}
	looked := make(chan usage, 1)
	over := make(chan struct{})
	go func() { looked <- watch(ws, over) }()
	var first, last time.Time
	var failed error
	for _, w := range ws {
		var t told
		if _, err := w.wait(); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if err := json.Unmarshal(w.last(), &t); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		sum.Records += t.Records
		sum.CPUSeconds += t.CPUSeconds
		sum.MaxRSSBytes += t.MaxRSSBytes
		sum.Commits += t.Commits
		sum.Aborts += t.Aborts
		sum.Replayed += t.Replayed
		sum.Ready, sum.Restored, sum.FirstCommit = max(sum.Ready, t.Ready), max(sum.Restored, t.Restored), max(sum.FirstCommit, t.FirstCommit)
		if first.IsZero() || t.FirstAt.Before(first) && !t.FirstAt.IsZero() {
			first = t.FirstAt
		}
		if t.LastAt.After(last) {
			last = t.LastAt
		}
	}
	close(over)
	most := <-looked
	after, err := b.brokerCPU()
	if err = errors.Join(failed, err); err != nil {
		return sum, err
	}
	if sum.Records != records {
		return sum, fmt.Errorf("%d records committed, want %d", sum.Records, records)
	}
	sum.Seconds, sum.BrokerCPU = last.Sub(first).Seconds(), (after - before).Seconds()
	sum.AnonBytes, sum.OpenFiles = most.anon, most.files
	return sum, nil
}
