package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/topology"
)

// Worker runs a plan as one process of a consumer group: some lanes over one state
// directory.
type Worker struct {
	plan     *topology.Plan
	cfg      *config
	instance string
	stats    workerStats
	failures *failures
	control  *controlTail
	uploads  *uploads
	standbys *standbys
	stopped  atomic.Bool // by a record of the control topic
}

// New checks the options. It does not talk to Kafka and opens nothing.
func New(plan *topology.Plan, opts ...Option) (*Worker, error) {
	cfg, err := newConfig(plan, opts...)
	if err != nil {
		return nil, err
	}
	w := &Worker{plan: plan, cfg: cfg}
	w.stats.lanes = make([]laneStats, cfg.lanes)
	return w, nil
}

// Run processes until ctx ends or an error needs a person. It returns nil after a clean
// stop: the open epoch is committed, nothing is undecided. So is the end of a worker whose
// application was stopped (weir stop); it leaves its group, too. When a task is given up
// (RestartStrategy) it stops likewise, and returns ErrGaveUp. The worker stays a member of
// its group until its session ends, so that a restart moves no task; LeaveOnStop leaves at
// once.
func Run(ctx context.Context, plan *topology.Plan, opts ...Option) error {
	w, err := New(plan, opts...)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// Run is the function Run on a worker made by New. It may be called once.
func (w *Worker) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, w.cfg.close()) }()
	db, err := changelog.Open(w.cfg.dbOptions())
	if err != nil {
		return fmt.Errorf("open state directory: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if w.instance = w.cfg.instance; w.instance == "" {
		if w.instance, err = db.InstanceID(); err != nil {
			return fmt.Errorf("instance id: %w", err)
		}
	}
	// Stopped before it began: nothing is open, so that is a clean stop too.
	asked := ctx
	defer func() {
		if asked.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil
		}
	}()
	if w.cfg.from != nil {
		if _, err := rewind(ctx, w.cfg, w.plan, *w.cfg.from); err != nil {
			return err
		}
	}
	app, err := openApplication(ctx, w.cfg, w.plan)
	if err != nil && asked.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	w.cfg.listener.started(w.plan.Application(), w.instance, w.cfg.lanes)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if w.cfg.checkpoints.Mode == atLeastOnce {
		w.cfg.listener.warn("checkpoints", errAtLeastOnce)
	}
	w.failures = newFailures(w.cfg, stop)
	w.uploads = newUploads(w.cfg, app)
	w.control = newControlTail(w.cfg, app, w.uploads.decided, func() {
		w.stopped.Store(true)
		stop()
	})
	defer w.uploads.close()
	w.standbys = newStandbys(w.cfg, app, db)
	defer w.standbys.close()
	g, ctx := errgroup.WithContext(ctx)
	tail, last := context.WithCancel(ctx)
	defer last()
	g.Go(func() error { return w.control.run(tail) })
	var lanes sync.WaitGroup
	for i := range w.cfg.lanes {
		lanes.Add(1)
		g.Go(func() error {
			defer lanes.Done()
			return w.runLane(ctx, i, app, db)
		})
	}
	lanes.Wait()
	last()
	err = g.Wait()
	gaveUp := w.failures.err()
	if (gaveUp != nil || w.stopped.Load()) && errors.Is(err, context.Canceled) {
		err = nil // of a lane that had not begun
	}
	err = errors.Join(gaveUp, err)
	if w.cfg.leaveOnStop || w.stopped.Load() {
		err = errors.Join(err, w.leave(app))
	}
	return err
}

// A lane that asks for it is begun anew, with fresh clients, after a pause that grows while
// it does not help.
const (
	lanePauseMin  = 100 * time.Millisecond
	lanePauseMax  = 30 * time.Second
	laneIsWellFor = time.Minute
)

// runLane runs lane i until ctx ends or an error needs a person.
func (w *Worker) runLane(ctx context.Context, i int, app *application, db *changelog.DB) error {
	instance := app.names.GroupInstance(w.instance, i)
	wait := lanePauseMin
	for {
		var l *lane
		b := newBalancer(w.balancerConfig(app, db, i, func() *lane { return l }))
		l = newLane(i, instance, w, app, db, b)
		began := time.Now()
		if err := l.run(ctx); err != nil || l.again == nil {
			return err
		}
		if time.Since(began) >= laneIsWellFor {
			wait = lanePauseMin
		}
		w.cfg.listener.warn(fmt.Sprintf("lane %d begins anew in %s", i, wait), l.again)
		if pause(ctx, wait) != nil {
			return nil // asked to stop while nothing was open
		}
		wait = min(2*wait, lanePauseMax)
	}
}

// balancerConfig is what the lanes' balancers know of this worker.
func (w *Worker) balancerConfig(app *application, db *changelog.DB, lane int, l func() *lane) balancerConfig {
	return balancerConfig{
		Fingerprint: app.plan.Fingerprint(),
		Tasks:       app.tasks(),
		Inputs:      app.inputs,
		Stateful:    app.stateful,
		Rack:        w.cfg.rack,
		Local:       func() []localState { return w.localState(app, db) },
		Refused:     func(err error) { l().inbox.push(groupRefused{err}) },
		Rebalance:   func(string) { l().inbox.push(rebalanceAsked{}) },
		Standbys:    w.cfg.standbys,
		Warmups:     w.cfg.warmupsOf(),
		Follow: func(f following) {
			w.standbys.assign(lane, f, func() { l().inbox.push(rebalanceAsked{}) })
		},
	}
}

// localState are the tasks whose state this worker has: the group prefers it for them. How
// far that on disk is behind nobody knows, so it counts for less than a standby at the end.
func (w *Worker) localState(app *application, db *changelog.DB) []localState {
	stored, err := db.Stored()
	if err != nil {
		w.cfg.listener.warn("list local state", err)
		return nil
	}
	var out []localState
	lags := w.standbys.lags()
	for t, lag := range lags {
		out = append(out, localState{t, lag})
	}
	for _, s := range stored {
		if _, follows := lags[s.ID.Task]; follows || s.ID.Timeline != app.names.Timeline || slices.ContainsFunc(out, func(l localState) bool { return l.Task == s.ID.Task }) {
			continue
		}
		lag := int64(1)
		if s.Marker.Restoring { // its restore was cut short, or it was a standby
			lag = 1 << 14
		}
		out = append(out, localState{s.ID.Task, lag})
	}
	return out
}

// leave takes the worker's members out of the group, so that others get its tasks without
// waiting for the session to end.
func (w *Worker) leave(app *application) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.cfg.sessionTimeout)
	defer cancel()
	var ids []string
	for i := range w.cfg.lanes {
		ids = append(ids, app.names.GroupInstance(w.instance, i))
	}
	return leaveGroup(ctx, w.cfg, app.names.Group(), ids)
}

// Stats are the counters of a worker since Run began.
type Stats struct {
	Records     int64 // of source topics, committed
	Internal    int64 // of repartition topics, committed; heartbeats and idle marks are no records
	Commits     int64
	Aborts      int64
	FirstCommit time.Time // begin of the first epoch that committed records of either kind; zero before
	LastCommit  time.Time // end of the last one
}

type workerStats struct{ lanes []laneStats }

type laneStats struct {
	records, internal, commits, aborts atomic.Int64
	first, last                        atomic.Int64 // unix ns
}

func (s *laneStats) committed(n recordCount, began, now time.Time) {
	if n == (recordCount{}) {
		return
	}
	s.records.Add(n.source)
	s.internal.Add(n.internal)
	s.first.CompareAndSwap(0, began.UnixNano())
	s.last.Store(now.UnixNano())
}

// Stats may be called by any goroutine, at any time.
func (w *Worker) Stats() Stats {
	var out Stats
	for i := range w.stats.lanes {
		s := &w.stats.lanes[i]
		out.Records += s.records.Load()
		out.Internal += s.internal.Load()
		out.Commits += s.commits.Load()
		out.Aborts += s.aborts.Load()
		if ns := s.first.Load(); ns != 0 && (out.FirstCommit.IsZero() || time.Unix(0, ns).Before(out.FirstCommit)) {
			out.FirstCommit = time.Unix(0, ns)
		}
		if ns := s.last.Load(); ns != 0 && time.Unix(0, ns).After(out.LastCommit) {
			out.LastCommit = time.Unix(0, ns)
		}
	}
	return out
}
