package processor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
)

// await reads the control topic, and while somebody else's rewind is under way, waits for its
// end. One that does not move for two transaction timeouts is dead.
func (r *rewinder) await(ctx context.Context) (control.State, error) {
	names := offsets.Names{Application: r.plan.Application()}
	var seen kadm.DescribedTransaction
	var since time.Time
	for {
		state, err := readControl(ctx, r.cfg, names.Application, true)
		if err != nil || r.done(state) {
			return state, err
		}
		theirs := slices.DeleteFunc(state.Pending(), func(i control.Intent) bool { return slices.Contains(r.mine, i.Timeline) })
		if len(theirs) == 0 {
			return state, nil
		}
		now := seen
		if all, err := r.adm.DescribeTransactions(ctx, names.BirthTransactionalID()); err == nil {
			now = all[names.BirthTransactionalID()]
		}
		moved := now.ProducerID != seen.ProducerID || now.ProducerEpoch != seen.ProducerEpoch || now.State != seen.State || now.StartTimestamp != seen.StartTimestamp
		switch {
		case since.IsZero():
			r.step("wait for " + theirs[len(theirs)-1].By)
			fallthrough
		case moved:
			seen, since = now, time.Now()
		case time.Since(since) >= 2*r.cfg.transactionTimeout:
			return state, nil
		}
		if err := pause(ctx, 5*retryPause); err != nil {
			return state, err
		}
	}
}

// unused is a number of a timeline of which there is no trace: no record, and no topic.
func (r *rewinder) unused(ctx context.Context, state control.State) (uint32, error) {
	found, err := r.adm.ListTopics(ctx)
	if err != nil {
		return 0, fmt.Errorf("list topics: %w", err)
	}
	line := state.Next()
	for topic := range found {
		rest, ok := strings.CutPrefix(topic, r.plan.Application()+".")
		number, _, dotted := strings.Cut(rest, ".")
		if n, err := strconv.ParseUint(number, 10, 32); ok && dotted && err == nil {
			line = max(line, uint32(n)+1)
		}
	}
	return line, nil
}

// cancelled says whether somebody has taken back what an attempt before this one had begun.
func (r *rewinder) cancelled(state control.State) (what, fix string, is bool) {
	for _, l := range r.mine {
		if l > state.Active() && !slices.ContainsFunc(state.Pending(), func(i control.Intent) bool { return i.Timeline == l }) {
			return fmt.Sprintf("timeline %d was cancelled by somebody else", l), "start it again if it is still wanted", true
		}
	}
	return "", "", false
}

// intend says that the timeline is being made: workers of older ones stop.
func (r *rewinder) intend(ctx context.Context, line uint32) error {
	if err := r.txn.begin(ctx); err != nil {
		return err
	}
	return r.commit(ctx, control.Intent{Timeline: line, By: r.cfg.clientID() + ", rewind " + r.id, Wall: time.Now().UnixMilli()})
}

func (r *rewinder) commit(ctx context.Context, records ...control.Record) error {
	if err := r.txn.decide(ctx, offsets.Names{Application: r.plan.Application()}.Control(), records...); err != nil {
		return err
	}
	err := r.txn.commit(ctx)
	r.txn.settled()
	return err
}

// fence ends the producers of all lanes, of all timelines. A lane that was initialised before
// is known to a broker and is ended; one that is initialised later reads the intent.
func (r *rewinder) fence(ctx context.Context) error {
	for wait := retryPause; ; wait = min(2*wait, time.Second) {
		// All brokers have to answer: one alone knows of its own.
		all, err := r.adm.ListTransactions(ctx, nil, nil)
		if err == nil {
			names := offsets.Names{Application: r.plan.Application()}
			for _, id := range all.TransactionalIDs() {
				if _, _, _, ok := names.ParseTransactionalID(id); !ok {
					continue
				}
				if err := initProducerID(ctx, r.client, id); err != nil {
					return fmt.Errorf("fence %s: %w", id, err)
				}
				r.cfg.listener.fenced(id)
			}
			return nil
		}
		if judge(err) == verdictFatal || ctx.Err() != nil {
			return fmt.Errorf("list transactions: %w", err)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// superseded are the ends of the outputs, to which nobody writes any more.
func (r *rewinder) superseded(ctx context.Context) ([]control.Superseded, error) {
	out := []control.Superseded{}
	if r.o.Fork || len(r.app.sinks()) == 0 {
		return out, nil // what the other one has written stays right
	}
	ends, err := r.adm.ListEndOffsets(ctx, r.app.sinks()...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list ends of outputs: %w", err)
	}
	for _, topic := range slices.Sorted(maps.Keys(ends)) {
		for _, p := range slices.Sorted(maps.Keys(ends[topic])) {
			out = append(out, control.Superseded{Topic: topic, Partition: p, End: ends[topic][p].Offset})
		}
	}
	return out, nil
}

// giveUpLimit bounds how long a rewind that has failed tries to take its intent back.
const giveUpLimit = 15 * time.Second

// giveUp takes the intent back, so that the timeline that was there may go on, and says why.
func (r *rewinder) giveUp(ctx context.Context, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpLimit)
	defer cancel()
	state, err := r.cancelAll(ctx)
	if err == nil && r.done(state) {
		return nil // the last commit was answered badly and is there
	}
	if err != nil {
		return errors.Join(why, &Error{What: "the rewind could not be taken back: " + err.Error(), Where: "application " + r.plan.Application(),
			Fix: "run it again, or cancel it; until then no worker of the application starts", Err: err})
	}
	return why
}

// cancelAll takes back every intent. Whoever has written one is fenced by it.
func (r *rewinder) cancelAll(ctx context.Context) (control.State, error) {
	if err := r.txn.reinit(ctx); err != nil {
		return control.State{}, err
	}
	state, err := readControl(ctx, r.cfg, r.plan.Application(), false)
	if err != nil || len(state.Pending()) == 0 {
		return state, err
	}
	var records []control.Record
	for _, i := range state.Pending() {
		records = append(records, control.Cancelled{Timeline: i.Timeline, By: r.cfg.clientID(), Wall: time.Now().UnixMilli()})
	}
	if err := r.txn.begin(ctx); err != nil {
		return state, err
	}
	return state, r.commit(ctx, records...)
}

// CancelRewind takes back rewinds that died before they counted, so that workers of the
// timeline that was there start again; it says which timelines will never be. A rewind that
// is under way is stopped by it.
func CancelRewind(ctx context.Context, plan *topology.Plan, opts ...Option) (cancelled []uint32, err error) {
	cfg, err := newConfig(plan, opts...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cfg.close()) }()
	names := offsets.Names{Application: plan.Application()}
	r := &rewinder{cfg: cfg, plan: plan}
	r.txn = &transaction{name: names.BirthTransactionalID(), timeout: cfg.transactionTimeout,
		make: func() (*kgo.Client, error) { return cfg.producer(names.BirthTransactionalID()) }}
	defer r.txn.close()
	state, err := readControl(ctx, cfg, names.Application, true)
	if err != nil || len(state.Pending()) == 0 {
		return nil, err
	}
	if state, err = r.cancelAll(ctx); err != nil {
		return nil, fmt.Errorf("cancel the rewind of %s: %w", names.Application, err)
	}
	for _, i := range state.Pending() {
		cancelled = append(cancelled, i.Timeline)
	}
	return cancelled, nil
}
