package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
)

// RewindOptions say what an application begins anew from, and what is allowed on the way.
// What is there stays untouched: a savepoint is its owner's, and any number of applications
// may begin from one, unless it is claimed.
type RewindOptions struct {
	// From is the directory or URL of a savepoint, or the file of a manifest. A checkpoint is
	// named by its manifest: <directory>/<application>/manifests/<cut>-<sum>.json.
	From string
	// ID names this rewind. An id is carried out once in the life of an application, so that
	// any number of workers may be started, and started again, with the same options. Give
	// another one to go back to the same place again. Characters a-z, 0-9 and -. Default: the
	// SHA-256 of the manifest, with InternalPartitions behind it.
	ID string
	// Fork lets From be of another application: this one, which must be new, begins with a
	// copy of its state and positions. The other one is not touched and goes on.
	Fork bool
	// Claim gives the savepoint to the application, which deletes it when as many newer
	// checkpoints are complete as are retained, or with its checkpoints when it is cancelled. All
	// workers must see it under this name, and nobody else may need it. A checkpoint of the
	// application's own belongs to it in any case; one of another application cannot be claimed.
	Claim bool
	// StopWorkers stops the workers that run now. Without it a rewind of an application that
	// has some is refused.
	StopWorkers bool
	// AllowNonRestored names what the plan no longer has and may be left behind: stores and
	// repartition topics by uid, sources by topic.
	AllowNonRestored []string
	// Rename says, by uid of the savepoint or checkpoint, which store or repartition of the plan
	// takes over what it had.
	Rename map[string]string
	// InternalPartitions, if not 0, is how many partitions repartition topics get, but for those
	// for which the plan says something else. Rows of stores behind them, open windows and records
	// in flight are divided anew, by key. Default: what the plan says, or else as many as there were.
	InternalPartitions int
	// AllowAddedPartitions names sources that may have more partitions than they had. New ones
	// begin at the beginning, with nothing in their stores: keys may have moved there, and what
	// was kept of them has not.
	AllowAddedPartitions []string
	// Positions says, by source topic, where partitions begin whose position is of no use: the
	// log does not have it any more, the topic was made anew, or the partition is new.
	Positions map[string]RewindPosition
	// AllowDrained lets From be of the time behind a drain, or of the middle of one. Time begins
	// anew in it, and windows that the drain has fired fire again, for the records of theirs that
	// come later, and with these alone.
	AllowDrained bool
	// DryRun looks at everything and changes nothing.
	DryRun bool
	// Progress, if not nil, is called at the beginning of each step.
	Progress func(step string)
}

// RewindPosition is where a partition of a source begins that cannot begin where it was.
type RewindPosition string

// The positions of RewindOptions.Positions.
const (
	RewindToEarliest RewindPosition = "earliest"
	RewindToLatest   RewindPosition = "latest"
)

// RewindReport says what a rewind has done.
type RewindReport struct {
	ID          string `json:"id"`
	Done        bool   `json:"done"`        // it was done before, and nothing was done now
	Application string `json:"application"` // that begins anew
	Timeline    uint32 `json:"timeline"`    // that was made
	Previous    uint32 `json:"previous"`    // that was active before; 0: the application is new
	From        string `json:"from"`        // the manifest, without secrets
	Origin      string `json:"origin"`      // the application that it is of
	Cut         uint64 `json:"cut"`

	Rows        int64    `json:"rows"`               // of state
	Records     int64    `json:"records"`            // that were in flight
	Bytes       int64    `json:"bytes"`              // of both
	Added       []string `json:"added"`              // stores and sources that the manifest does not have; they begin empty, or where the plan says
	NotRestored []string `json:"notRestored"`        // of RewindOptions.AllowNonRestored, what was left behind
	Rescaled    []string `json:"rescaled,omitempty"` // repartitions that have another number of partitions now, "by-customer: 3 to 7"
	Renamed     []string `json:"renamed,omitempty"`  // RewindOptions.Rename, "old=new"
	Claimed     bool     `json:"claimed,omitempty"`  // the savepoint belongs to the application from here on
	// Superseded are the output partitions with their ends when nobody wrote to them any more.
	// Records below that came of what is processed again now come again behind it: who read
	// them has to forget them.
	Superseded []SupersededRange `json:"superseded"`
	Took       time.Duration     `json:"tookNs"`
}

// SupersededRange is a partition of an output topic, up to End.
type SupersededRange struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	End       int64  `json:"end"`
}

// ErrRewind: a rewind was refused, and nothing was changed. Each reason is an *Error.
var ErrRewind = errors.New("rewind refused")

// StartFrom makes Run rewind the application before it joins the group, unless that was done
// before: see RewindOptions.ID. What was done is told as the event Rewound.
func StartFrom(o RewindOptions) Option { return set(func(c *config) { c.from = &o }) }

// Rewind makes an application begin anew from a savepoint or from a checkpoint that is kept:
// with its state and positions, and what was on its way between its tasks. It makes a new
// timeline, which is: internal topics and a consumer group of its own. One commit makes it
// count; before that the timeline that was there does, afterwards nothing older. A rewind that
// died is run again, or taken back with CancelRewind.
//
// Everything is verified first. What is wrong is refused as a list, wrapping ErrRewind, before
// anything is changed. Source topics must still have the records behind the positions. The
// topics of older timelines stay: checkpoints of theirs can be gone back to as long as they
// are there.
func Rewind(ctx context.Context, plan *topology.Plan, o RewindOptions, opts ...Option) (report RewindReport, err error) {
	cfg, err := newConfig(plan, opts...)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, cfg.close()) }()
	return rewind(ctx, cfg, plan, o)
}

// rewinder carries out one rewind. The fields of the attempt are replaced when it is tried
// again.
type rewinder struct {
	cfg    *config
	plan   *topology.Plan
	o      RewindOptions
	client *kgo.Client
	adm    *kadm.Client
	bucket *snapshot.Bucket
	m      *snapshot.Manifest
	name   string // of the manifest in the bucket
	id     string
	mine   []uint32 // timelines of attempts that died

	app    *application
	origin *origin // how the plan is made up of what the manifest has

	rescaled []string
	txn      *transaction
	report   RewindReport
}

// rewindTries bounds how often a rewind begins anew after an error of Kafka, or because
// somebody else began one.
const rewindTries = 8

func rewind(ctx context.Context, cfg *config, plan *topology.Plan, o RewindOptions) (RewindReport, error) {
	began := time.Now()
	r := &rewinder{cfg: cfg, plan: plan, o: o}
	if err := r.open(ctx); err != nil {
		if errors.Is(err, snapshot.ErrNotFound) {
			done, look := r.claimedBefore(ctx)
			if done {
				cfg.listener.rewound(r.report)
				return r.report, nil
			}
			err = errors.Join(err, look)
		}
		return RewindReport{}, fmt.Errorf("rewind %s: %w", plan.Application(), err)
	}
	defer r.close()
	for try, wait := 1, time.Second; ; try, wait = try+1, min(2*wait, 10*time.Second) {
		err := r.attempt(ctx)
		if err == nil {
			r.report.Took = time.Since(began)
			cfg.listener.rewound(r.report)
			return r.report, nil
		}
		err = fmt.Errorf("rewind %s: %w", plan.Application(), err)
		if !again(err) || try == rewindTries || ctx.Err() != nil {
			return RewindReport{}, err
		}
		cfg.listener.warn("trying again", err)
		if pause(ctx, wait) != nil {
			return RewindReport{}, err
		}
	}
}

// again says whether an attempt may be repeated: Kafka did not do what it was asked, and
// perhaps somebody else was at it.
func again(err error) bool {
	var mine *Error
	var store *snapshot.Error
	return !errors.As(err, &mine) && !errors.As(err, &store) && judge(err) != verdictFatal
}

// open looks at the options and reads the manifest.
func (r *rewinder) open(ctx context.Context) (err error) {
	if r.o.ID != "" {
		if err := offsets.CheckName(r.o.ID); err != nil {
			return r.refuse("the id of the rewind: "+err.Error(), "use a-z, 0-9 and -")
		}
	}
	if r.o.InternalPartitions < 0 {
		return r.refuse(fmt.Sprintf("the number of internal partitions is %d", r.o.InternalPartitions), "pass 1 or more, or leave it out")
	}
	for topic, at := range r.o.Positions {
		if at != RewindToEarliest && at != RewindToLatest {
			return r.refuse(fmt.Sprintf("the position of %s is %q", topic, at), "use earliest or latest")
		}
	}
	if r.client, err = r.cfg.client(); err != nil {
		return err
	}
	r.adm = kadm.NewClient(r.client)
	if err := checkBrokers(ctx, r.cfg, r.client); err != nil {
		r.client.Close()
		return err
	}
	r.bucket, r.m, err = snapshot.Find(ctx, r.o.From, snapshot.Options{})
	if err != nil {
		r.client.Close()
		return err
	}
	if r.name, err = r.m.Name(); err != nil {
		r.close()
		return err
	}
	r.id = r.idOf(r.name)
	return nil
}

// idOf is the rewind's, to a manifest of this name.
func (r *rewinder) idOf(manifest string) string {
	switch {
	case r.o.ID != "":
		return r.o.ID
	case r.o.InternalPartitions != 0:
		return fmt.Sprintf("%s-%d", manifestSum(manifest), r.o.InternalPartitions)
	}
	return manifestSum(manifest)
}

// manifestSum is the hash in manifests/<cut>-<sha256>.json.
func manifestSum(name string) string {
	_, sum, _ := strings.Cut(strings.TrimSuffix(name, ".json"), "-")
	return sum
}

func (r *rewinder) close() {
	r.client.Close()
	_ = r.bucket.Close() // nothing is under way
}

func (r *rewinder) step(name string) {
	failpoint("rewind." + name)
	if r.o.Progress != nil {
		r.o.Progress(name)
	}
}

func (r *rewinder) refuse(what, fix string) error {
	return &Error{What: what, Where: "rewind " + r.plan.Application() + " to " + r.o.From, Fix: fix, Err: ErrRewind}
}

// attempt goes from what is there to a new timeline. Until the intent nothing is changed;
// from there on workers of older timelines stop, and an error that trying again does not
// heal takes the intent back.
func (r *rewinder) attempt(ctx context.Context) error {
	application := r.plan.Application()
	name := offsets.Names{Application: application}.BirthTransactionalID()
	r.txn = &transaction{name: name, timeout: r.cfg.transactionTimeout, make: func() (*kgo.Client, error) { return r.cfg.producer(name) }}
	defer r.txn.close()
	state, err := r.await(ctx)
	if err != nil {
		return err
	}
	if done, err := r.carriedOut(state); done || err != nil {
		return err
	}
	if what, fix, is := r.cancelled(state); is {
		return r.refuse(what, fix)
	}
	r.step("verify")
	if err := r.verify(ctx, state, state.Next()); err != nil {
		return err
	}
	if err := r.verifyObjects(ctx); err != nil {
		return err
	}
	if err := r.verifyKeys(ctx); err != nil {
		return err
	}
	if err := r.verifyStopped(ctx, state); err != nil {
		return err
	}
	if r.o.DryRun {
		r.report.ID, r.report.Application, r.report.Previous = r.id, application, state.Active()
		r.report.From, r.report.Origin, r.report.Cut = r.bucket.String()+"/"+r.name, r.m.Application, r.m.Cut
		r.reportPlan()
		return nil
	}
	if err := createTopics(ctx, r.client, []internalTopic{{r.app.names.Control(), 1, settings.control}}); err != nil {
		return err
	}
	// Whoever holds the id is alone, and what others had begun is over.
	if err := r.txn.reinit(ctx); err != nil {
		return err
	}
	if state, err = readControl(ctx, r.cfg, application, false); err != nil {
		return err
	}
	if done, err := r.carriedOut(state); done || err != nil {
		return err
	}
	line, err := r.unused(ctx, state)
	if err != nil {
		return err
	}
	r.step("intent")
	if err := r.intend(ctx, line); err != nil {
		return err
	}
	r.mine = append(r.mine, line)
	if err := r.make(ctx, line); err != nil {
		// What becomes of an attempt that is repeated is decided by the next one.
		if again(err) && ctx.Err() == nil {
			return err
		}
		return r.giveUp(ctx, err)
	}
	return nil
}

// carriedOut is done, and refuses an id that a reset has had: that went nowhere near a savepoint.
func (r *rewinder) carriedOut(state control.State) (bool, error) {
	if a, ok := state.Rewound(r.id); ok && a.Base.Manifest == "" {
		return false, r.refuse(fmt.Sprintf("the id %s is that of a reset, which made timeline %d", r.id, a.Timeline), "choose another id")
	}
	return r.done(state), nil
}

// done says whether this rewind was carried out before.
func (r *rewinder) done(state control.State) bool {
	a, ok := state.Rewound(r.id)
	if !ok {
		return false
	}
	r.report.Done = !slices.Contains(r.mine, a.Timeline)
	r.reportOf(a)
	return true
}

func (r *rewinder) reportOf(a control.Active) {
	r.report.ID, r.report.Application = a.Base.Rewind, r.plan.Application()
	r.report.Timeline, r.report.Previous = a.Timeline, a.From
	r.report.From, r.report.Origin, r.report.Cut = a.Base.Manifest, a.Base.Application, a.Base.Cut
	r.report.Claimed = a.Base.Claim != ""
	r.report.Superseded = nil
	for _, s := range a.Base.Superseded {
		r.report.Superseded = append(r.report.Superseded, SupersededRange(s))
	}
}

// make is all between the intent and the commit that makes the timeline count.
func (r *rewinder) make(ctx context.Context, line uint32) error {
	r.step("fence")
	if err := r.fence(ctx); err != nil {
		return err
	}
	// Whoever decided anything is fenced: this is the last word of the old timeline.
	state, err := readControl(ctx, r.cfg, r.plan.Application(), false)
	if err != nil {
		return err
	}
	r.step("topics")
	// Again, because time has passed: what was needed may have been dropped or trimmed.
	if err := r.verify(ctx, state, line); err != nil {
		return err
	}
	a := r.app
	active := control.Active{
		Timeline: line, From: state.Active(), Cut: state.Cuts().Last(), Fingerprint: r.plan.Fingerprint(), Wall: time.Now().UnixMilli(),
		Base: control.Base{
			Rewind: r.id, Application: r.m.Application, Timeline: r.m.Timeline, Cut: r.m.Cut,
			Manifest: r.bucket.String() + "/" + r.name, SHA256: manifestSum(r.name),
		},
	}
	if active.Base.Claim, err = r.claimOf(); err != nil {
		return err
	}
	if active.Base.Superseded, err = r.superseded(ctx); err != nil {
		return err
	}
	if err := createTopics(ctx, r.client, a.internalTopics()); err != nil {
		return err
	}
	if err := a.identify(ctx, r.client); err != nil {
		return err
	}
	a.layOut()
	c := newCopier(r.txn, r.cfg.transactionTimeout/3)
	r.step("state")
	if err := r.copyState(ctx, c); err != nil {
		return err
	}
	r.step("in-flight")
	if err := r.copyInFlight(ctx, c, active.Cut); err != nil {
		return err
	}
	b, err := r.beginning(ctx, c, &active)
	if err != nil {
		return err
	}
	r.step("commit")
	if err := a.commitBirth(ctx, r.txn, b); err != nil {
		return err
	}
	r.step("done")
	r.reportOf(active)
	r.report.Rows, r.report.Records, r.report.Bytes = c.rows, c.records, c.bytes
	r.reportPlan()
	return nil
}

// reportPlan tells how the plan is made up.
func (r *rewinder) reportPlan() {
	r.report.Added, r.report.NotRestored = r.origin.added, r.origin.left
	r.report.Rescaled, r.report.Renamed = r.rescaled, r.origin.renames()
}

// beginning is where all tasks of the timeline begin.
func (r *rewinder) beginning(ctx context.Context, c *copier, active *control.Active) (beginning, error) {
	at, err := r.app.initialPositions(ctx, r.client)
	if err != nil {
		return beginning{}, err
	}
	for tp, offset := range r.origin.at {
		at[tp] = offset
	}
	return beginning{at: at, active: active, metadata: func(t offsets.Task, tp topicPartition) offsets.Metadata {
		m := offsets.Metadata{Cut: active.Cut, Time: offsets.NoTime, InputTime: offsets.NoTime, Ends: make([]int64, len(r.app.stores(t)))}
		if t == r.app.controlTask() {
			return m
		}
		m.Time, m.InputTime = r.origin.time(t), r.origin.inputTime(t, tp)
		for i := range m.Ends {
			m.Ends[i] = c.ends[topicPartition{r.app.changelogTopic(int(t.Sub), i), t.Partition}]
		}
		return m
	}}, nil
}
