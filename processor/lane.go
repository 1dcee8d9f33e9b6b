package processor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/epoch"
)

const (
	pollRecords = 20_000                 // most records per poll
	taskTurn    = 512                    // records of one task before the next one has its turn
	clockEvery  = 16                     // records of one task between two looks at the clock
	tickEvery   = 250 * time.Millisecond // how often timers are looked at
)

// lane is one goroutine with a group consumer, a transactional producer and some tasks.
// It carries out what the epoch machine decides; all work happens in brackets:
//
//	poll (holds the rebalance) -> drain the inbox -> work -> end of epoch -> release
//
// No transaction is open outside a bracket.
type lane struct {
	index    int
	instance string
	cfg      *config
	app      *application
	db       *changelog.DB
	balancer *balancer
	stats    *laneStats
	failures *failures

	control  *controlTail
	uploads  *uploads
	standbys *standbys

	ctx     context.Context // of what must outlive a stop: the last commit
	inbox   *inbox
	group   *group
	txn     *transaction
	machine *epoch.Machine
	cuts    *checkpoint.Participant
	cutDue  bool // an open epoch is to end for a cut

	lease     lease
	owned     map[topicPartition]bool
	route     map[topicPartition]routed
	tasks     map[offsets.Task]*runningTask
	order     []offsets.Task // sorted keys of tasks
	turnOf    int            // whose turn it is, index into order
	restoring map[offsets.Task]*restoring
	retries   map[offsets.Task]retry
	rewinds   map[offsets.Task]bool    // closed while owned: the client stands further on than the position
	unread    map[topicPartition]error // owned, but the client may have given them up
	helpers   sync.WaitGroup           // background work and restores

	bracket bool          // the poll holds the rebalance
	facts   []epoch.Event // to be told to the machine
	telling bool
	waiting int       // answers of background work that the machine waits for
	since   time.Time // when the waiting began
	stalled bool

	started   time.Time // of the open epoch
	ending    time.Time // since when nothing is processed, because it ends
	cutWork   cutWork
	reason    string // why the epoch is being aborted or in doubt, for the listener
	work      workTime
	processed int64       // records taken from the queues in the open epoch
	held      int64       // epochBytes of all tasks, as of their last turn
	records   recordCount // of the epoch that is being settled
	pace      pace
	failed    bool // the open epoch was taken back, and pace knows
	slow      bool // records take so long that the clock is looked at after each
	wanted    bool // a rebalance waits
	spread    int32
	lastTick  time.Time
	trimmed   time.Time
	stopping  bool
	discard   discarding
	exited    bool
	clean     bool
	fatal     error
	again     error // why a new lane is to take the place of this one
	stampBuf  []byte
	now       func() time.Time
}

type routed struct {
	task  offsets.Task
	input int
}

func newLane(index int, instance string, w *Worker, app *application, db *changelog.DB, b *balancer) *lane {
	l := &lane{
		index: index, instance: instance, cfg: w.cfg, app: app, db: db, balancer: b, stats: &w.stats.lanes[index],
		discard:  discarding{wanted: func() bool { return w.stopped.Load() && w.cfg.checkpoints.OnCancel == discard }},
		failures: w.failures, control: w.control, uploads: w.uploads, standbys: w.standbys,
		inbox: new(inbox), machine: epoch.New(),
		owned: map[topicPartition]bool{}, route: map[topicPartition]routed{}, tasks: map[offsets.Task]*runningTask{},
		restoring: map[offsets.Task]*restoring{}, retries: map[offsets.Task]retry{}, rewinds: map[offsets.Task]bool{}, unread: map[topicPartition]error{}, now: time.Now,
	}
	for _, t := range app.tasks() {
		for i, tp := range app.inputs(t) {
			l.route[tp] = routed{t, i}
		}
	}
	name := app.names.TransactionalID(w.instance, index)
	l.txn = &transaction{name: name, timeout: w.cfg.transactionTimeout, make: func() (*kgo.Client, error) { return w.cfg.producer(name) }}
	return l
}

// run processes until ctx ends or the machine says exit. A nil error means that nothing is
// open or undecided.
func (l *lane) run(ctx context.Context) error {
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.ctx = live
	l.cuts = l.control.subscribe(l.inbox)
	defer l.control.unsubscribe(l.inbox)
	defer l.closeAll(cancel)
	if err := l.txn.reinit(ctx); err != nil {
		return err
	}
	if stop, err := l.timelineOver(ctx); err != nil || stop {
		return errors.Join(err, l.fatal)
	}
	if err := l.joinGroup(); err != nil {
		return err
	}
	defer l.group.client.CloseAllowingRebalance()
	defer l.balancer.stop()
	defer l.failures.join(l.inbox)()
	wake := context.AfterFunc(ctx, func() {
		l.inbox.push(stopWanted{})
		limit := time.AfterFunc(l.stopLimit(), cancel)
		context.AfterFunc(live, func() { limit.Stop() })
	})
	defer wake()
	for !l.exited {
		l.turn(ctx)
	}
	if l.fatal != nil {
		return l.fatal
	}
	if !l.clean {
		return fmt.Errorf("lane %d: %w", l.index, ErrTimelineOver)
	}
	return nil
}

type stopWanted struct{}

// stopLimit is how long a stop may take. The brokers have aborted by then what was open, and
// a question that went unanswered for a transaction's time has been asked again.
func (l *lane) stopLimit() time.Duration { return 3 * l.cfg.transactionTimeout }

// over is a context that has ended.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// turn is one bracket.
func (l *lane) turn(ctx context.Context) {
	var fetches kgo.Fetches
	if !l.bracket {
		l.holdSlow()
	}
	switch {
	case l.waiting > 0:
		l.await()
	case l.machine.Phase() == epoch.Idle && !l.bracket && l.rest() > 0:
		l.inbox.wait(l.ctx, l.rest())
		l.applyIdle()
		l.group.client.PollRecords(over, pollRecords)
		l.bracket = true
	case !l.backlog() || l.machine.Phase() == epoch.Idle && !l.leaseHolds():
		l.nap()
		failpoint("poll")
		pollCtx, done := l.inbox.polling(l.ctx, l.patience())
		fetches = l.group.client.PollRecords(pollCtx, pollRecords)
		done()
		if len(fetches) == 0 {
			l.group.client.PollRecords(over, pollRecords) // woken up for nothing: it holds nothing
		}
		l.bracket = true
	case !l.bracket:
		fetches = l.pollMore()
		l.bracket = true
	}
	for _, e := range l.inbox.drain() {
		l.handle(e)
	}
	if ctx.Err() != nil && !l.stopping && !l.discards() {
		l.stopping = true
		l.tell(epoch.Stop{})
	}
	if l.exited {
		return
	}
	l.accept(fetches)
	if l.waiting > 0 || !l.bracket {
		return
	}
	l.tick()
	l.checkLease()
	l.checkStops()
	if l.waiting > 0 || l.exited {
		return
	}
	if l.machine.Phase() == epoch.Idle && (l.backlog() || l.cutWanted()) && l.leaseHolds() && l.rest() <= 0 {
		l.tell(epoch.Wanted{})
	}
	if l.machine.Phase() == epoch.Open {
		began := l.now()
		l.process()
		l.work.add(l.now().Sub(began))
	}
	if l.machine.Phase() != epoch.Open || l.due() {
		open, began := l.machine.Phase() == epoch.Open, l.now()
		l.closeWithCut()
		l.tell(epoch.Due{})
		if open {
			l.work.ended(began, l.now())
		}
	}
}

// patience is how long a poll may take.
func (l *lane) patience() time.Duration {
	if l.machine.Phase() == epoch.Open {
		return max(l.started.Add(l.work.span(l.cfg.commitInterval)).Sub(l.now()), 0)
	}
	return tickEvery
}

// due says whether the open epoch is to end.
func (l *lane) due() bool {
	return l.wanted || l.stopping || l.cutDue || l.cutWanted() || l.late() || l.pace.spent(l.processed) || l.full()
}

func (l *lane) late() bool { return l.now().Sub(l.started) >= l.work.span(l.cfg.commitInterval) }

// full: the epoch's memory is at its limit. Asked after each turn of a task, so it does not
// look at all of them.
func (l *lane) full() bool {
	return l.held+l.txn.bytes+int64(l.txn.sent)*recordBytes >= l.cfg.commitBytes
}

func (l *lane) backlog() bool {
	for _, t := range l.tasks {
		if t.pending() {
			return true
		}
	}
	return false
}

// await sleeps until background work or the group has something to say. Past the
// rebalance budget the group goes on without us; our tasks stay frozen.
func (l *lane) await() {
	budget := l.cfg.rebalanceTimeout/2 - l.now().Sub(l.since)
	patience := tickEvery
	if budget > 0 {
		patience = min(budget, tickEvery)
	}
	l.inbox.wait(l.ctx, patience)
	if budget <= 0 && !l.stalled {
		l.stalled = true
		l.tell(epoch.Stalled{})
	}
}

// handle turns what others pushed into facts.
func (l *lane) handle(e any) {
	switch e := e.(type) {
	case groupAssigned:
		if l.lease.member != "" && !e.lease.validUnder(l.lease) {
			// The client joined anew by itself: others may have had our tasks meanwhile.
			l.reason = "the client joined the group again as another member"
			l.tell(epoch.LeaseLost{})
		}
		l.lease = e.lease
		for topic, ps := range e.partitions {
			for _, p := range ps {
				l.owned[topicPartition{topic, p}] = true
			}
		}
		l.cfg.listener.assigned(l.index, e.lease.generation, e.partitions)
		if ts := l.newlyWhole(); len(ts) > 0 {
			l.tell(epoch.Assigned{Tasks: ts})
		}
	case groupRevoked:
		l.disown(e.partitions)
		if ts := l.app.touching(e.partitions); len(ts) > 0 {
			l.tell(epoch.Revoked{Tasks: ts})
		}
	case groupLost:
		clear(l.owned)
		clear(l.unread)
		l.tell(epoch.MembershipLost{})
	case groupBlocked:
		l.wanted = true
	case groupRefused:
		l.fatal = e.err
		l.tell(epoch.Stop{})
	case *failedOver:
		l.failOver(e)
	case rebalanceAsked:
		l.group.client.ForceRebalance()
	case taskRestored:
		l.restored(e)
	case taskRestoreFailed:
		l.restoreFailed(e)
	case background:
		l.waiting--
		e.then()
	case controlSeen:
		l.seen(e)
	case coordinatorFact:
		l.coordinatorFact(e)
	case claimDeleted:
		l.claimDeleted(e)
	case loopsEmpty:
		l.loopsEmpty()
	case stopWanted:
	default:
		panic(fmt.Sprintf("lane inbox: unknown event %T", e))
	}
}

func (l *lane) disown(ps map[string][]int32) {
	for topic, parts := range ps {
		for _, p := range parts {
			delete(l.owned, topicPartition{topic, p})
			delete(l.unread, topicPartition{topic, p})
		}
	}
}

// newlyWhole are the tasks whose inputs are all owned and that do not run or restore yet.
func (l *lane) newlyWhole() []offsets.Task {
	var out []offsets.Task
	for _, t := range l.app.tasks() {
		if l.tasks[t] != nil || l.restoring[t] != nil {
			continue
		}
		if _, ok := l.retries[t]; ok {
			continue
		}
		if !slices.ContainsFunc(l.app.inputs(t), func(tp topicPartition) bool { return !l.owned[tp] }) {
			out = append(out, t)
		}
	}
	return out
}

// leaseHolds says whether the client is still the member under whose lease the records in
// memory were read. The lease is taken at assignments only: the client knows a new member
// id before the callbacks have said what became of the tasks, and a commit under that id
// would be accepted for tasks that are somebody else's by now.
func (l *lane) leaseHolds() bool { return l.group.current().validUnder(l.lease) }

// checkLease ends an epoch whose lease is gone. Between epochs nothing begins without it,
// and the next assignment says what to do.
func (l *lane) checkLease() {
	if l.machine.Phase() == epoch.Open && !l.leaseHolds() {
		l.reason = l.leaseText()
		l.tell(epoch.LeaseLost{})
	}
}

func (l *lane) leaseText() string {
	now := l.group.current()
	return fmt.Sprintf("membership changed from %s/%d to %s/%d", l.lease.member, l.lease.generation, now.member, now.generation)
}

// checkStops reports tasks whose replay has come to the record that failed.
func (l *lane) checkStops() {
	for _, id := range slices.Clone(l.order) {
		if t := l.tasks[id]; t != nil && t.stop != nil && !t.stop.reached && (t.stop.now || t.read < len(t.queue)) && t.atStop() {
			t.stop.reached = true
			l.tell(epoch.Reached{Task: id})
		}
	}
}

// process takes queued records until the queues are empty or the epoch is due.
func (l *lane) process() {
	for left := len(l.order); left > 0; left-- {
		if l.turnOf >= len(l.order) {
			l.turnOf = 0
		}
		t := l.tasks[l.order[l.turnOf]]
		l.turnOf++
		if !t.pending() || t.atStop() {
			continue
		}
		if !t.touched {
			t.touched = true
			l.tell(epoch.Touched{Task: t.id})
		}
		for n := 1; n <= taskTurn && t.read < len(t.queue) && !t.atStop(); n++ {
			failpoint("process")
			if err := t.step(); err == errCutFirst {
				break
			} else if err != nil {
				l.userFailed(t, err)
				return
			}
			l.processed++
			if (l.slow || n%clockEvery == 0) && l.late() || l.pace.spent(l.processed) {
				l.slow = n <= clockEvery
				break
			}
		}
		now := t.epochBytes()
		l.held, t.counted = l.held+now-t.counted, now
		if l.due() {
			return
		}
		if t.pending() {
			left = len(l.order) + 1
		}
	}
}

// stopNow ends a task at the next boundary for a reason that is not a record's.
func (l *lane) stopNow(t *runningTask, err error) {
	if t.stop == nil || !t.stop.now {
		t.stop = &stop{cause: err, now: true}
	}
}

// epochFailed ends a task whose failure came with the end of its epoch, at no record in
// particular: a replay up to the next one would end here again.
func (l *lane) epochFailed(t *runningTask, err error) {
	l.stopNow(t, err)
	l.reason = err.Error()
	l.tell(epoch.Failed{Task: t.id})
}

func (l *lane) userFailed(t *runningTask, err error) {
	t.failed(err)
	l.reason = err.Error()
	l.tell(epoch.Failed{Task: t.id})
}

// tell reports a fact to the machine and carries out its orders; facts that arise
// meanwhile are told afterwards, in order.
func (l *lane) tell(e epoch.Event) {
	l.facts = append(l.facts, e)
	if l.telling {
		return
	}
	l.telling = true
	defer func() { l.telling = false }()
	for len(l.facts) > 0 {
		e := l.facts[0]
		l.facts = l.facts[1:]
		l.machine.Step(e)
		for _, a := range l.machine.Ready() {
			l.do(a)
		}
	}
}

// background runs f outside the lane's goroutine; the machine waits for what then tells.
type background struct{ then func() }

func (l *lane) outside(f func(context.Context) func()) {
	if l.waiting == 0 {
		l.since, l.stalled = l.now(), false
	}
	l.waiting++
	l.helpers.Go(func() { l.inbox.push(background{f(l.ctx)}) })
}

func (l *lane) sortTasks() {
	l.order = slices.SortedFunc(maps.Keys(l.tasks), offsets.Task.Compare)
}
