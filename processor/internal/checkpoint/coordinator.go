package checkpoint

import (
	"fmt"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// Coordinator is the machine of the owner of the control task: it decides when a cut is triggered and what
// becomes of it. It is not safe for concurrent use.
//
// It acts on what the log says. At most one record is on its way there; until it is seen, or known never to
// come, no other is ordered.
//
// Invariants:
//
//	cut != nil && !cut.seen => writing is its trigger
//	cut != nil && cut.seen  => it is the undecided cut of the log
//	writing is Completed    => cut is completing, or the log has passed it
//	cut is completing or finishing => every part is done
//	not acting              => cut and writing are nil, nothing is ordered but Stopped
type Coordinator struct {
	settings Settings
	tasks    []offsets.Task // of the plan, in order
	log      Log
	live     bool // the log was seen up to its end
	stopping bool
	discard  bool // no checkpoint outlives the stop
	stopped  bool
	drained  bool // time has ended in every task

	now     int64
	ticked  bool  // the time is known; before that, and before the log is, nothing is ordered
	started int64 // time of the last periodic or requested checkpoint's trigger
	ended   int64 // time of the last decision

	cut      *cut
	writing  Record   // on its way to the log
	deletes  []uint64 // cuts whose objects are to be deleted; the order for the first is out if deleting
	deleting bool
	failures int // checkpoints that failed in a row

	out     []Action
	history history

	// Faults are planted by tests only, to see that the exploration finds them.
	faults coordinatorFaults
}

// coordinatorFaults are rules that can be taken out.
type coordinatorFaults struct {
	reuseIDs      bool // the id of a declined cut is used again
	overlap       bool // the next cut is triggered while one is undecided
	keepForeign   bool // a cut of the predecessor is left undecided
	anyEpoch      bool // an upload is taken for that of the acknowledged epoch
	withoutUpload bool // a cut completes when all tasks have acknowledged it
	ignoreLoss    bool // a record that was lost with its epoch counts as written
	deafUntilSeen bool // acknowledgements that come before the trigger is seen are ignored
	changeOfMind  bool // a timeout declines a cut although its completion is on its way
	drainEarly    bool // the cut of a drain does not wait for the end of time
	deleteFirst   bool // objects are deleted before the log says that the cut is dropped
	forgetFirst   bool // a cut is forgotten before its objects are deleted
	dropOpen      bool // a cancel drops checkpoints while a cut is undecided
	leaveEarly    bool // a cancel does not wait for objects to be deleted
}

// NewCoordinator returns the machine for the tasks of a plan. The settings are valid.
func NewCoordinator(s Settings, tasks []offsets.Task) *Coordinator {
	if err := s.Validate(); err != nil {
		panic(err)
	}
	tasks = slices.Clone(tasks)
	slices.SortFunc(tasks, offsets.Task.Compare)
	return &Coordinator{settings: s, tasks: slices.Compact(tasks)}
}

// Log is what the machine has seen of the control log; to be read only.
func (c *Coordinator) Log() *Log { return &c.log }

// Condemned are the cuts that do not count, and whose objects may still be there, in the order in which they are deleted.
func (c *Coordinator) Condemned() []uint64 { return slices.Clone(c.deletes) }

// Ready returns the orders since the last call.
func (c *Coordinator) Ready() []Action {
	out := c.out
	c.out = nil
	return out
}

// Step takes one fact. All may come late, early or twice, but for records of the log, which come once each
// and in order, and for WriteLost, which speaks of the record that was ordered last. A record that the log
// cannot have there panics with the history: the driver has a Log of its own to refuse it with.
func (c *Coordinator) Step(e Event) {
	c.history.add(e)
	switch e := e.(type) {
	case Logged:
		c.logged(e.Record)
	case CaughtUp:
		c.caughtUp()
	case Tick:
		c.tick(e.Now)
	case Acked:
		c.acked(e)
	case Uploaded:
		c.uploaded(e.Task, e.ID, upload{epoch: e.Epoch, object: e.Object})
	case UploadLost:
		c.uploaded(e.Task, e.ID, upload{epoch: e.Epoch, lost: true, why: e.Why})
	case Drained:
		c.drained = true
	case TaskDown:
		if c.planned(e.Task) && c.collecting() && !c.cut.part(e.Task).done {
			c.decline(TaskFailed, "task "+e.Task.String())
		}
	case ManifestWritten:
		if c.finishing(e.ID) {
			c.cut.stage = completing
		}
	case ManifestLost:
		if c.finishing(e.ID) {
			c.decline(ManifestFailed, e.Why)
		}
	case WriteLost:
		c.writeLost()
	case Deleted:
		if c.deleting && c.deletes[0] == e.ID {
			c.deletes, c.deleting = c.deletes[1:], false
		}
	case Stop:
		c.stopping, c.discard = true, c.discard || e.Discard
		if c.collecting() {
			c.decline(Stopping, "")
		}
	default:
		panic(fmt.Sprintf("checkpoint: the coordinator does not know %T", e))
	}
	c.decide()
}

func (c *Coordinator) order(a Action) { c.out = append(c.out, a) }

// logged: the log says so. Before the machine is live this is history.
func (c *Coordinator) logged(r Record) {
	if err := c.log.Apply(r); err != nil {
		panic(fmt.Sprintf("checkpoint: %v; history:\n%s", err, &c.history))
	}
	ours := same(c.writing, r)
	if ours {
		c.writing = nil
	}
	switch r := r.(type) {
	case Requested:
		if id, again := c.log.Taken(r.Request); again {
			c.answer(r.Request, id)
		}
	case Triggered:
		if ours {
			c.cut.seen, c.cut.deadline = true, c.now+c.settings.Timeout
		}
		if r.Kind == Checkpoint {
			c.started = c.now
		}
		c.answer(r.Request, r.ID)
	case Declined:
		c.ended = c.now
		c.remove(r.ID)
		c.failed(r)
	case Completed:
		c.ended = c.now
		if r.Kind == Checkpoint {
			c.failures = 0
		}
	case Dropped:
		c.remove(r.ID)
	}
	if c.cut != nil && c.settled() {
		c.cut = nil
	}
}

// settled says whether the log goes on without the cut: it is decided, or somebody else has the control task, and that
// id. The record of its own that says so may be missing.
func (c *Coordinator) settled() bool {
	if !c.cut.seen {
		return c.cut.ID <= c.log.last
	}
	return c.cut.ID != c.log.undecided.ID
}

// same says whether a record of the log is the one that was ordered. Texts for people may come back changed.
func same(ordered, r Record) bool {
	switch o := ordered.(type) {
	case Triggered:
		return r == o
	case Declined:
		d, ok := r.(Declined)
		return ok && d.ID == o.ID
	case Completed:
		d, ok := r.(Completed)
		return ok && d.ID == o.ID
	case Dropped:
		d, ok := r.(Dropped)
		return ok && d.ID == o.ID
	case Forgotten:
		return r == o
	}
	return false
}

// acting says whether orders are given: the log and the time are known.
func (c *Coordinator) acting() bool { return c.live && c.ticked && !c.stopped }

func (c *Coordinator) answer(request string, id uint64) {
	if request != "" && c.acting() {
		c.order(Answer{request, id})
	}
}

// remove has the objects of a cut deleted, which does not count any more.
func (c *Coordinator) remove(id uint64) {
	if c.acting() && !slices.Contains(c.deletes, id) {
		c.deletes = append(c.deletes, id)
	}
}

// deleted says whether the objects of a cut that does not count are gone.
func (c *Coordinator) deleted(id uint64) bool {
	return !slices.Contains(c.deletes, id) || c.faults.forgetFirst
}

// failed counts the failures in a row of checkpoints that nobody asked for. Exceeding what is tolerable
// starts the count anew, so that a successor that reads the same log does not do it again.
func (c *Coordinator) failed(r Declined) {
	if r.Kind == Savepoint || r.Request != "" || !r.Reason.Counts() {
		return
	}
	c.failures++
	if c.settings.Tolerable == Unlimited || c.failures <= c.settings.Tolerable {
		return
	}
	if c.acting() {
		c.order(Fail{ID: r.ID, Failures: c.failures, Reason: r.Reason, Why: r.Why})
	}
	c.failures = 0
}

// caughtUp: from here on the log is ours to continue.
func (c *Coordinator) caughtUp() {
	if !c.live {
		c.live = true
		c.begin()
	}
}

// tick: time goes on. A cut that is not complete in time is declined, unless its completion is on its way.
func (c *Coordinator) tick(now int64) {
	c.now = max(c.now, now)
	if !c.ticked {
		c.ticked = true
		c.begin()
	}
	late := c.cut != nil && c.cut.seen && c.now >= c.cut.deadline
	switch {
	case late && (c.cut.stage == collecting || c.cut.stage == finishing):
		c.decline(TimedOut, c.cut.missing(c.tasks))
	case late && c.cut.stage == completing && c.faults.changeOfMind:
		c.decline(TimedOut, "")
		c.writing = nil
	}
}

// begin goes on from what the log says, when that and the time are known. Its times are another machine's: none of
// them counts as later than now. They count at all, so that a control task that moves often does not put
// checkpoints off for ever. What the predecessor may not have deleted is deleted again.
func (c *Coordinator) begin() {
	if !c.acting() {
		return
	}
	c.started, c.ended = min(c.log.started.wall, c.now), min(c.log.ended.wall, c.now)
	if c.log.started.wall == 0 {
		c.started = c.now
	}
	for _, g := range c.log.garbage {
		c.deletes = append(c.deletes, g.ID)
	}
}

// writeLost: what was ordered is not in the log. If it is still right, it is ordered again: a trigger is no
// promise, a decision about a cut that is in the log is.
func (c *Coordinator) writeLost() {
	if c.writing == nil || c.faults.ignoreLoss {
		return
	}
	c.writing = nil
	if c.cut != nil && !c.cut.seen {
		c.cut = nil
	}
}

// decide orders what follows from all that is known.
func (c *Coordinator) decide() {
	if c.acting() {
		c.proceed()
	}
	if c.stopping && !c.stopped && c.cut == nil && c.writing == nil && !(c.discard && c.left()) {
		c.stopped = true
		c.order(Stopped{})
	}
}

// left says whether there are checkpoints, or objects of such as do not count.
func (c *Coordinator) left() bool {
	_, found := c.log.surplus(0)
	return found || len(c.deletes) > 0 && !c.faults.leaveEarly || !c.acting()
}

func (c *Coordinator) proceed() {
	if c.collecting() && c.cut.seen && c.complete() {
		c.cut.stage = finishing
		c.order(WriteManifest{c.cut.Cut, c.cut.list(c.tasks)})
	}
	if c.writing == nil {
		if r := c.wish(); r != nil {
			c.order(Write{r})
			c.writing = r
		}
	}
	if len(c.deletes) > 0 && !c.deleting {
		c.deleting = true
		c.order(Delete{c.deletes[0]})
	}
}

// wish is the record that the log should have next, nil: none.
func (c *Coordinator) wish() Record {
	undecided, open := c.log.Undecided()
	switch {
	case open && (c.cut == nil || c.cut.ID != undecided.ID):
		if !c.faults.keepForeign {
			return Declined{Cut: undecided, Reason: CoordinatorChanged, Began: c.log.begun, Wall: c.now}
		}
	case open && c.cut.stage == declining:
		return Declined{Cut: undecided, Reason: c.cut.reason, Why: c.cut.why, Began: c.log.begun, Wall: c.now}
	case open && c.cut.stage == completing:
		return Completed{Cut: undecided, Began: c.log.begun, Wall: c.now}
	}
	if c.stopping && !c.discard {
		return nil
	}
	if c.stopping {
		if old, ok := c.log.surplus(0); ok && (!open || c.faults.dropOpen) {
			return Dropped{old.Cut, old.began, old.wall}
		}
		return nil
	}
	if !open || c.faults.overlap {
		if next, due := c.due(); due {
			c.cut = newCut(next)
			return Triggered{Cut: next, Wall: c.now}
		}
	}
	if old, ok := c.log.surplus(c.settings.Retained); ok && len(c.deletes) == 0 {
		if c.faults.deleteFirst {
			c.deletes = append(c.deletes, old.ID)
		}
		return Dropped{old.Cut, old.began, old.wall}
	}
	if id := c.log.forgettable(c.deleted); id != 0 {
		return Forgotten{id}
	}
	return nil
}

// due is the cut whose turn it is: what is asked for goes before what the interval wants.
func (c *Coordinator) due() (Cut, bool) {
	id := c.log.last + 1
	if c.faults.reuseIDs && slices.ContainsFunc(c.log.garbage, func(g Cut) bool { return g.ID == c.log.last }) {
		id = c.log.last
	}
	if q, ok := c.log.next(c.drained || c.faults.drainEarly); ok {
		return Cut{ID: id, Kind: q.Kind, Full: q.Full, Request: q.Request}, true
	}
	periodic := c.settings.Interval > 0 && c.now >= c.started+c.settings.Interval && c.now >= c.ended+c.settings.MinPause
	return Cut{ID: id}, periodic
}
