package processor

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology/task"
)

// Inputs of the control task.
const (
	controlInput = 0
	acksInput    = 1
)

// coordinator is the work of the control task: it carries out what the machine of that name
// decides about cuts. The lane's goroutine calls it, like any task.
//
// What it reads is committed, so it is a fact whatever becomes of the epoch that reads it: it
// is told to the machine once, and skipped when the epoch is replayed. What it writes is part
// of its epoch.
type coordinator struct {
	task    *runningTask
	machine *checkpoint.Coordinator
	drain   drainLook
	claims  claims
	state   control.State
	read    [2]int64                          // by input: records below were told to the machine
	acks    map[offsets.Task]control.Ack      // of the undecided cut
	uploads map[offsets.Task]control.Uploaded // the same
	place   manifestPlace                     // of its manifest, once written
	write   checkpoint.Record                 // to be written in the open epoch, or written in it; nil: none
	written bool

	discarded bool // the application has ended for good, and no checkpoint is left
}

// manifestPlace is where the manifest of a cut lies.
type manifestPlace struct {
	cut          uint64
	name, sha256 string
	path         string // the store of a savepoint
	bytes, added int64  // of the objects that it names
}

// newCoordinator reads the control topic to its end: what was decided so far, and what was
// left undecided by a predecessor.
func newCoordinator(ctx context.Context, cfg *config, app *application) (*coordinator, error) {
	c := &coordinator{
		machine: checkpoint.NewCoordinator(cfg.checkpoints.settings(), app.planTasks()),
		acks:    map[offsets.Task]control.Ack{}, uploads: map[offsets.Task]control.Uploaded{},
	}
	cl, err := cfg.client()
	if err != nil {
		return nil, fmt.Errorf("read control topic %s: %w", app.names.Control(), err)
	}
	defer cl.Close()
	end, err := controlEnd(ctx, cfg, cl, app.names.Control(), false)
	if err != nil {
		return nil, err
	}
	_, err = changelog.ReadRange(ctx, cfg.clientOpts(), app.names.Control(), 0, 0, end, func(key, value []byte, offset int64) error {
		return c.learn(key, value, offset)
	})
	if err != nil {
		return nil, fmt.Errorf("read control topic %s: %w", app.names.Control(), err)
	}
	c.read[controlInput] = end
	c.machine.Step(checkpoint.CaughtUp{})
	return c, nil
}

// learn tells the machine of a record of the control topic.
func (c *coordinator) learn(key, value []byte, offset int64) error {
	r, err := control.Decode(key, value)
	if err == nil {
		err = c.state.Apply(r)
	}
	if err != nil {
		return controlDamage("of the coordinator", offset, err)
	}
	if f := control.Fact(r); f != nil {
		c.machine.Step(checkpoint.Logged{Record: f})
	}
	switch r := r.(type) {
	case control.Declined:
		c.forget(r.ID)
		if c.task != nil {
			c.task.lane.uploads.abandon(r.ID)
		}
	case control.Complete:
		c.forget(r.ID)
	case control.Claim:
		c.claims.says.heard()
	case control.Quiet:
		c.drain.says.heard()
	}
	return nil
}

// forget what the tasks said of a cut that is decided, and of those before it.
func (c *coordinator) forget(id uint64) {
	maps.DeleteFunc(c.acks, func(_ offsets.Task, m control.Ack) bool { return m.Cut <= id })
	maps.DeleteFunc(c.uploads, func(_ offsets.Task, m control.Uploaded) bool { return m.Cut <= id })
}

// hear tells the machine of a record of the acks topic. What is said of a cut that is not
// undecided comes too late.
func (c *coordinator) hear(key, value []byte, offset int64) error {
	m, err := control.DecodeMessage(key, value)
	if err != nil {
		return controlDamage("acknowledgements", offset, err)
	}
	switch m := m.(type) {
	case control.Ack:
		c.acks[m.Task] = m
		c.machine.Step(checkpoint.Acked{Task: m.Task, ID: m.Cut, Epoch: m.Epoch})
	case control.Moved:
		if undecided, ok := c.state.Cuts().Undecided(); ok && undecided.ID == m.Cut {
			c.machine.Step(checkpoint.TaskDown{Task: m.Task})
		}
	case control.Uploaded:
		if m.Failed != "" {
			c.machine.Step(checkpoint.UploadLost{Task: m.Task, ID: m.Cut, Epoch: m.Epoch, Why: m.Failed})
			break
		}
		c.uploads[m.Task] = m
		c.machine.Step(checkpoint.Uploaded{Task: m.Task, ID: m.Cut, Epoch: m.Epoch})
	}
	return nil
}

func (c *coordinator) Process(input int, r *task.Raw) error {
	if r.Offset < c.read[input] {
		return nil
	}
	c.read[input] = r.Offset + 1
	c.look()
	tell := c.learn
	if input == acksInput {
		tell = c.hear
	}
	if err := tell(r.Key, r.Value, r.Offset); err != nil {
		return err
	}
	c.act()
	return nil
}

// act carries out what the machine has ordered.
func (c *coordinator) act() {
	l := c.task.lane
	for _, a := range c.machine.Ready() {
		switch a := a.(type) {
		case checkpoint.Write:
			c.write, c.written = a.Record, false
		case checkpoint.WriteManifest:
			l.uploads.manifest(c.manifest(a), func(p manifestPlace, err error) {
				if err != nil {
					l.inbox.push(coordinatorFact{checkpoint.ManifestLost{ID: a.Cut.ID, Why: err.Error()}, p})
					return
				}
				l.inbox.push(coordinatorFact{checkpoint.ManifestWritten{ID: a.Cut.ID}, p})
			})
		case checkpoint.Delete:
			g := garbage{id: a.ID}
			for _, k := range c.state.Kept() {
				if k.Kind == checkpoint.Checkpoint {
					g.kept = append(g.kept, k)
				}
			}
			if d, ok := c.state.Dropped(a.ID); ok {
				g.manifest = d.Manifest
			}
			// Those that are deleted later still have their manifests: none of them may be left without its objects.
			for _, id := range c.machine.Condemned() {
				if d, ok := c.state.Dropped(id); ok && id != a.ID {
					g.kept = append(g.kept, d)
				}
			}
			for _, p := range c.state.Savepoints() {
				if p.Declined != nil && p.Declined.ID == a.ID {
					g.savepoint = &p
				}
			}
			l.uploads.discard(g, func() { l.inbox.push(coordinatorFact{fact: checkpoint.Deleted(a)}) })
		case checkpoint.Fail:
			l.checkpointsFail(c.task, a)
		case checkpoint.Stopped:
			c.discarded = true
		case checkpoint.Answer:
			// Who asked reads the log.
		default:
			panic(fmt.Sprintf("coordinator: unknown action %T", a))
		}
	}
}

// coordinatorFact comes from background work; the control task may have moved since.
type coordinatorFact struct {
	fact  checkpoint.Event
	place manifestPlace
}

func (l *lane) coordinatorFact(e coordinatorFact) {
	t := l.tasks[l.app.controlTask()]
	if t == nil {
		return
	}
	c := t.run.(*coordinator)
	if e.place.cut != 0 {
		c.place = e.place
	}
	c.look()
	c.machine.Step(e.fact)
	c.act()
}

// look tells the machine the time, so that what it decides next is of now.
func (c *coordinator) look() {
	c.machine.Step(checkpoint.Tick{Now: c.task.lane.now().UnixMilli()})
}

// coordinator is the work of the control task, if it runs here.
func (l *lane) coordinator() *coordinator {
	if t := l.tasks[l.app.controlTask()]; t != nil {
		return t.run.(*coordinator)
	}
	return nil
}

// pending says whether there is something to write, which takes an epoch.
func (c *coordinator) pending() bool {
	return c.write != nil && !c.written || c.claims.says.pending() || c.drain.says.pending()
}

// notices are written beside what the machine decides.
func (c *coordinator) notices() [2]*notice { return [2]*notice{&c.claims.says, &c.drain.says} }

// tick lets the machine look at the clock, which takes no epoch.
func (c *coordinator) tick(now int64) {
	c.machine.Step(checkpoint.Tick{Now: now})
	c.act()
	c.lookAtDrain(now)
	c.lookAtClaims(now)
}

// Flush writes what was decided, in the epoch that decided it.
func (c *coordinator) Flush() error {
	for _, n := range c.notices() {
		if !n.pending() {
			continue
		}
		failpoint("notice")
		if err := c.send(n.record); err != nil {
			return err
		}
		n.written = true
	}
	if c.write == nil || c.written {
		return nil
	}
	failpoint("decide")
	r, ok := c.record(c.write)
	if !ok {
		return nil
	}
	if err := c.send(r); err != nil {
		return err
	}
	c.written = true
	return nil
}

// send writes a record to the control topic.
func (c *coordinator) send(r control.Record) error {
	key, value, err := control.Encode(r)
	if err != nil {
		return err
	}
	txn := c.task.lane.txn
	rec := txn.arena.record()
	rec.Topic, rec.Key, rec.Value = c.task.lane.app.names.Control(), txn.arena.copy(key), txn.arena.copy(value)
	rec.Timestamp = c.task.lane.started
	txn.produce(c.task.lane.ctx, rec, txn.promise(c.task, nil))
	return nil
}

// record is what the control topic gets for a decision of the machine; false: nothing. The
// log may have decided otherwise since, if the control task has another owner by now and this
// one does not know it. What it writes then is never committed.
func (c *coordinator) record(r checkpoint.Record) (control.Record, bool) {
	line := c.task.lane.app.names.Timeline
	switch r := r.(type) {
	case checkpoint.Triggered:
		return control.Trigger{Cut: c.cut(r.Cut), Timeline: line, Wall: r.Wall}, true
	case checkpoint.Declined:
		return control.Declined{Cut: c.cut(r.Cut), Timeline: line, Reason: r.Reason, Why: r.Why, Triggered: r.Began, Wall: r.Wall}, true
	case checkpoint.Completed:
		return control.Complete{
			Cut: c.cut(r.Cut), Timeline: line, Manifest: c.place.name, SHA256: c.place.sha256, Path: c.place.path, Triggered: r.Began, Wall: r.Wall,
			Bytes: c.place.bytes, Added: c.place.added,
		}, true
	case checkpoint.Dropped:
		k, ok := c.state.Complete(r.ID)
		return control.Dropped{Complete: k, At: time.Now().UnixMilli()}, ok
	case checkpoint.Forgotten:
		return control.Forgotten{ID: r.ID}, true
	}
	panic(fmt.Sprintf("coordinator: cannot write %T", r))
}

// cut says of a cut what it answers.
func (c *coordinator) cut(of checkpoint.Cut) control.Cut {
	out := control.Cut{ID: of.ID, Kind: of.Kind, Full: of.Full}
	if asked, ok := c.state.Request(of.Request); ok {
		out.Asked = &asked
	}
	return out
}

// Committed: what was written is in the log, and comes back from there.
func (c *coordinator) Committed() {
	for _, n := range c.notices() {
		n.commit()
	}
	if c.written {
		c.write, c.written = nil, false
	}
}

// Rollback: what was to be written is lost, and the machine decides anew.
func (c *coordinator) Rollback() {
	for _, n := range c.notices() {
		n.rollback()
	}
	if c.write != nil {
		c.write, c.written = nil, false
		c.machine.Step(checkpoint.WriteLost{})
		c.act()
	}
}

// The control task has no time: nobody waits for it.

func (c *coordinator) EndInput(int) error                                        { return nil }
func (c *coordinator) Tick(int64) error                                          { return nil }
func (c *coordinator) TickDue(int64) bool                                        { return false }
func (c *coordinator) Stamped(int, offsets.Task, int64, offsets.StampKind) error { return nil }
func (c *coordinator) Watermark() int64                                          { return offsets.NoTime }
func (c *coordinator) InputWatermark(int) int64                                  { return offsets.NoTime }
func (c *coordinator) Idle() bool                                                { return true }
func (c *coordinator) GuessRow(dst, _ []byte) []byte                             { return dst }
