package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
)

// ResetOptions say where an application begins anew without its state.
type ResetOptions struct {
	// ID names this reset: one is carried out once in the life of an application, and whoever asks for it again
	// is told what it has done. It shares its names with those of rewinds. Characters a-z, 0-9 and -. Default:
	// reset-<timeline that is given up>.
	ID string
	// To is where all sources begin. Default: where the plan says for each.
	To ResetPosition
	// Positions say otherwise for single ones: by topic, or by "topic/partition".
	Positions map[string]ResetPosition
	// StopWorkers stops the workers that run now. Without it a reset of an application that has some is refused.
	StopWorkers bool
	// DeleteOld deletes what belongs to older timelines when the new one counts: internal topics, and consumer
	// groups. Checkpoints of theirs that have records in flight cannot be gone back to any more, savepoints can.
	DeleteOld bool
	// DryRun looks at everything and changes nothing.
	DryRun bool
	// Progress, if not nil, is called at the beginning of each step.
	Progress func(step string)
}

// ResetReport says what a reset has done, or would do.
type ResetReport struct {
	ID          string            `json:"id"`
	Done        bool              `json:"done"` // it was done before, and nothing was done now
	DryRun      bool              `json:"dryRun"`
	Application string            `json:"application"`
	Timeline    uint32            `json:"timeline"` // that was made; of a dry run, that would be
	Previous    uint32            `json:"previous"` // whose state is given up
	Members     []string          `json:"members"`  // of its group when it was looked at: they stand against a reset
	Sources     []ResetSource     `json:"sources"`
	Stores      []string          `json:"stores"`     // of the timeline before; those of the new one are empty
	Topics      []string          `json:"topics"`     // internal ones of the new timeline
	Old         []string          `json:"old"`        // topics of older timelines
	Deleted     []string          `json:"deleted"`    // of them, and groups, what was deleted
	Superseded  []SupersededRange `json:"superseded"` // see RewindReport
}

// ResetSource is where a partition of a source was and where it begins.
type ResetSource struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // -1: the timeline before did not read it
	To        int64  `json:"to"`
	Start     int64  `json:"start"` // of the log
	End       int64  `json:"end"`
}

// ErrReset: a reset was refused, and nothing was changed. Each reason is an *Error.
var ErrReset = errors.New("reset refused")

// Reset makes an application begin anew with empty state, at the positions that are asked for: what
// kafka-streams-application-reset does. It makes a new timeline, as Rewind does: one commit makes it count, and until then
// the one that was there does. One that died is run again, or taken back with CancelRewind. The timeline takes the plan that
// is given, so that one which no longer fits what is there may begin with a reset.
//
// Rows of the old timeline in state directories are not looked at any more. Its topics stay unless DeleteOld is set. Output
// topics are only added to: what comes of records that are read again is written again.
func Reset(ctx context.Context, plan *topology.Plan, o ResetOptions, opts ...Option) (report ResetReport, err error) {
	cfg, err := newConfig(plan, opts...)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, cfg.close()) }()
	r := &resetter{o: o, rewinder: rewinder{cfg: cfg, plan: plan, id: o.ID, o: RewindOptions{From: "empty state", StopWorkers: o.StopWorkers, Progress: o.Progress}}}
	if err := r.run(ctx); err != nil {
		return ResetReport{}, fmt.Errorf("reset %s: %w", plan.Application(), err)
	}
	return r.out, nil
}

// resetter carries out one reset, with the steps of a rewind that has nothing to copy.
type resetter struct {
	rewinder
	o   ResetOptions
	out ResetReport
}

func (r *resetter) refuse(what, fix string) error {
	return &Error{What: what, Fix: fix, Err: ErrReset} // Reset says of what
}

func (r *resetter) run(ctx context.Context) (err error) {
	if r.id != "" {
		if err := offsets.CheckName(r.id); err != nil {
			return r.refuse("the id of the reset: "+err.Error(), "use a-z, 0-9 and -")
		}
	}
	if r.client, err = r.cfg.client(); err != nil {
		return err
	}
	defer r.client.Close()
	r.adm = kadm.NewClient(r.client)
	if err := checkBrokers(ctx, r.cfg, r.client); err != nil {
		return err
	}
	for try, wait := 1, time.Second; ; try, wait = try+1, min(2*wait, 10*time.Second) {
		err := r.attempt(ctx)
		if err == nil || !again(err) || try == rewindTries || ctx.Err() != nil {
			return err
		}
		r.cfg.listener.warn("trying again", err)
		if pause(ctx, wait) != nil {
			return err
		}
	}
}

// attempt goes from what is there to a new timeline, in the order of a rewind's.
func (r *resetter) attempt(ctx context.Context) error {
	application := r.plan.Application()
	name := offsets.Names{Application: application}.BirthTransactionalID()
	r.txn = &transaction{name: name, timeout: r.cfg.transactionTimeout, make: func() (*kgo.Client, error) { return r.cfg.producer(name) }}
	defer r.txn.close()
	state, err := r.await(ctx)
	if err != nil {
		return err
	}
	if r.id == "" {
		r.id = fmt.Sprintf("reset-%d", state.Active())
	}
	if done, err := r.finished(ctx, state); done || err != nil {
		return err
	}
	if what, fix, is := r.cancelled(state); is {
		return r.refuse(what, fix)
	}
	if state.Active() == 0 {
		return r.refuse("application "+application+" never ran on these brokers", "check the name and the brokers; an application that is new begins with empty state")
	}
	r.step("verify")
	if err := r.look(ctx, state, state.Next()); err != nil {
		return err
	}
	if r.o.DryRun {
		r.out.DryRun = true
		return nil
	}
	if err := r.stopped(ctx, state); err != nil {
		return err
	}
	// Whoever holds the id is alone, and what others had begun is over.
	if err := r.txn.reinit(ctx); err != nil {
		return err
	}
	if state, err = readControl(ctx, r.cfg, application, false); err != nil {
		return err
	}
	if done, err := r.finished(ctx, state); done || err != nil {
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
		if err := r.giveUp(ctx, err); err != nil {
			return err
		}
		// It was committed all the same, and not answered.
		if state, err = readControl(ctx, r.cfg, application, false); err != nil {
			return err
		}
		_, err := r.finished(ctx, state)
		return err
	}
	return r.deleteOld(ctx, line)
}

// stopped is verifyStopped in the words of a reset.
func (r *resetter) stopped(ctx context.Context, state control.State) error {
	err := r.verifyStopped(ctx, state)
	var alive *Error
	if errors.As(err, &alive) {
		return r.refuse(alive.What, "stop its workers, or let the reset stop them (ResetOptions.StopWorkers, --stop-workers)")
	}
	return err
}

// finished says whether this reset was carried out before, and deletes what it was to delete.
func (r *resetter) finished(ctx context.Context, state control.State) (bool, error) {
	a, ok := state.Rewound(r.id)
	if !ok {
		return false, nil
	}
	if a.Base.Manifest != "" {
		return true, r.refuse(fmt.Sprintf("the id %s is that of a rewind, to cut %d of %s", r.id, a.Base.Cut, a.Base.Application), "choose another id")
	}
	r.out.ID, r.out.Application, r.out.Done = r.id, r.plan.Application(), !slices.Contains(r.mine, a.Timeline)
	r.out.Timeline, r.out.Previous = a.Timeline, a.From
	r.out.Superseded = rangesOf(a.Base.Superseded)
	if r.o.DryRun || !r.o.DeleteOld || a.Timeline != state.Active() {
		return true, nil
	}
	return true, r.deleteOld(ctx, a.Timeline)
}

func rangesOf(all []control.Superseded) (out []SupersededRange) {
	for _, s := range all {
		out = append(out, SupersededRange(s))
	}
	return out
}

// look fills in the report, and refuses what cannot be meant.
func (r *resetter) look(ctx context.Context, state control.State, line uint32) error {
	r.app = newApplication(r.cfg, r.plan, line)
	if err := r.app.measure(ctx, r.client); err != nil {
		return err
	}
	r.app.layOut()
	born, _ := state.Newest()
	r.out = ResetReport{ID: r.id, Application: r.plan.Application(), Timeline: line, Previous: state.Active(), Deleted: []string{}}
	for _, t := range r.app.internalTopics() {
		if t.name != r.app.names.Control() {
			r.out.Topics = append(r.out.Topics, t.name)
		}
	}
	slices.Sort(r.out.Topics)
	var err error
	if r.out.Stores, err = storesOf(born); err != nil {
		return err
	}
	if r.out.Old, err = r.older(ctx, line); err != nil {
		return err
	}
	superseded, err := r.superseded(ctx)
	if err != nil {
		return err
	}
	r.out.Superseded = rangesOf(superseded)
	if r.out.Members, err = r.members(ctx, state.Active()); err != nil {
		return err
	}
	r.out.Sources, err = r.sources(ctx, state.Active())
	return err
}

// make is all between the intent and the commit that makes the timeline count.
func (r *resetter) make(ctx context.Context, line uint32) error {
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
	if err := r.look(ctx, state, line); err != nil { // again, because time has passed
		return err
	}
	if err := createTopics(ctx, r.client, r.app.internalTopics()); err != nil {
		return err
	}
	if err := r.app.identify(ctx, r.client); err != nil {
		return err
	}
	r.app.layOut()
	at, err := r.app.initialPositions(ctx, r.client)
	if err != nil {
		return err
	}
	for _, s := range r.out.Sources {
		at[topicPartition{s.Topic, s.Partition}] = s.To
	}
	active := control.Active{
		Timeline: line, From: state.Active(), Cut: state.Cuts().Last(), Fingerprint: r.plan.Fingerprint(), Wall: time.Now().UnixMilli(),
		Base: control.Base{Rewind: r.id, Application: r.plan.Application(), Timeline: state.Active()},
	}
	for _, s := range r.out.Superseded {
		active.Base.Superseded = append(active.Base.Superseded, control.Superseded(s))
	}
	r.step("commit")
	err = r.app.commitBirth(ctx, r.txn, beginning{at: at, active: &active, metadata: func(t offsets.Task, _ topicPartition) offsets.Metadata {
		return offsets.Metadata{Cut: active.Cut, Time: offsets.NoTime, InputTime: offsets.NoTime, Ends: make([]int64, len(r.app.stores(t)))}
	}})
	if err == nil {
		r.step("done")
	}
	return err
}
