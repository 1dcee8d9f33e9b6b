package checkpoint

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

const (
	chaos   = 1300
	healing = 20_000 // steps until everything must be done
)

// rules are what a driver must do; tests take one out at a time.
type rules struct {
	coordinatorFaults
	participantFaults
	noLaiYang        bool // a record with a higher stamp is processed at once
	looseAcks        bool // acknowledgements are written outside of the transaction
	looseControl     bool // control records are written outside of the transaction
	readUncommitted  bool // lanes read the control log uncommitted
	lateState        bool // uploads show the state of the time at which they are made
	stampUncommitted bool // records carry a cut that their task has not committed
	stableIsEnd      bool // the coordinator reads the control log to its last stable offset
	forgetCut        bool // the cut is not kept in the metadata
	trimUndecided    bool // input is trimmed up to the committed position whatever is undecided
	trimOwn          bool // an owner keeps what it knows a cut to need: from the position where it took the cut itself
	forgetInFlight   bool // a rewind restores states and positions, not what was in flight
	keepNothing      bool // what is deleted takes along what others need
	keepCounted      bool // what others need is kept only for those that count
	buildOnAnything  bool // uploads build on what was written last
	earlyEnd         bool // the ends of what is in flight are measured when the cut is triggered
}

// drainID is the request of a drain, among those that are made at random.
const drainID = 7

type when uint8

const (
	before when = iota
	after
)

// moods differ between schedules: what happens rarely in all of them together happens often in some. Each
// number n means one in n, 0 never.
type moods struct {
	slow, doubt, abort, uploadGone, uploadLost, manifest, request, move, freeze, down, expire, stop, lag, busy, rewind, compact, torn, late int
	hasty                                                                                                                                   bool // uploads begin before the commit
}

// manifest is that of a cut.
type manifest struct {
	inputs [6]*topic[message] // of its timeline
	pos    [nTasks][2]int
	state  [nTasks]effects
	layers [nTasks][]int // objects of each state
	ends   [6]int
}

// inFlight are the records that were on their way to a task at cut n, as a reader finds them who waits for
// whatever is open.
func (m *manifest) inFlight(id uint64, t, c int) (out []message) {
	log := m.inputs[taskInputs[t][c]]
	for i := m.pos[t][c]; i < m.ends[taskInputs[t][c]]; i++ {
		if v := log.log[i].v; log.committed(i) && v.stamp < id {
			out = append(out, v)
		}
	}
	return out
}

// world is one order of things.
type world struct {
	seed     uint64
	k        *kafka
	rng      *rand.Rand
	rules    rules
	cov      *coverage
	settings Settings
	moods    moods
	lanes    []*lane // of all there were
	bySlot   [nSlots]*lane
	tapes    []*tape
	now      int64
	calm     bool
	arrived  int
	asked    int // requests
	final    int // requests that must be fulfilled

	draining, drained bool // a drain was asked for; time has ended in every task

	store     *store
	manifests map[uint64]manifest // that were ever written
	complete  []Cut
	gone      map[uint64]bool // declined or dropped
	cancels   [2]int          // cancelled with its checkpoints: begun; done, and there were some

	target   string // the action at which a lane crashes next
	at       when
	skip     int
	crashed  int
	restarts int
	rewinds  int
	steps    int
}

func newWorld(seed uint64, r rules, cov *coverage) *world {
	w := &world{
		seed: seed, k: newKafka(), rng: rand.New(rand.NewPCG(seed, 0x637574)), rules: r, cov: cov,
		manifests: map[uint64]manifest{}, gone: map[uint64]bool{},
	}
	w.store = &store{w: w, lies: map[uint64]bool{}, deleted: map[uint64]bool{}}
	w.k.onRecord = w.recorded
	w.settings = Settings{
		Interval: []int64{0, 10, 50}[w.rng.IntN(3)], Timeout: []int64{200, 1000, 100_000}[w.rng.IntN(3)],
		Tolerable: Unlimited, Retained: 1 + w.rng.IntN(2),
	}
	if w.settings.Interval > 0 {
		w.settings.MinPause, w.settings.Tolerable = []int64{0, 50}[w.rng.IntN(2)], w.rng.IntN(3)-1
	}
	often := func(n ...int) int { return n[w.rng.IntN(len(n))] }
	w.moods = moods{
		slow: often(0, 4, 2), doubt: often(0, 20, 4), abort: often(0, 100, 10), uploadGone: often(0, 0, 10), uploadLost: often(0, 0, 10),
		manifest: often(0, 0, 3), request: often(0, 3, 2), move: often(0, 6, 2), freeze: often(0, 6, 2), down: often(0, 0, 3),
		expire: often(0, 6), lag: often(0, 4, 20), busy: often(20, 80), rewind: often(0, 0, 4), stop: often(0, 0, 4), compact: often(0, 2), torn: often(0, 4), late: often(0, 0, 20), hasty: w.chance(25),
	}
	w.history()
	w.aim()
	w.favour()
	for s := range nSlots {
		w.newLane(s)
	}
	for t := range w.k.owners {
		w.k.owners[t] = lease{lane: w.rng.IntN(nSlots)}
	}
	return w
}

// history is what the control log holds from timelines before this one: ids, and perhaps a cut that nobody
// decided.
func (w *world) history() {
	if w.chance(50) {
		return
	}
	const used = 5
	records := []Record{Activated{used}}
	if w.chance(50) {
		records = []Record{Triggered{Cut: Cut{ID: used}, Wall: 1}, Activated{used}}
	}
	for _, r := range records {
		w.k.control.add(nil, r)
		w.k.record(r)
	}
	for t := range w.k.progress {
		w.k.progress[t].cut = used
	}
}

// recorded: a record of the control log is committed.
func (w *world) recorded(r Record) {
	switch r := r.(type) {
	case Triggered:
		if r.Request == fmt.Sprintf("r%d", drainID) && !w.drained {
			w.k.violated("cut %d is that of a drain, and time has not ended", r.ID)
		}
	case Completed:
		w.complete = append(w.complete, r.Cut)
		if _, ok := w.manifests[r.ID]; !ok {
			w.k.violated("cut %d is complete without a manifest", r.ID)
		}
		w.checkTrimmed(r.ID)
	case Declined:
		w.gone[r.ID] = true
	case Dropped:
		w.checkTrimmed(r.ID) // until here it counted
		w.gone[r.ID] = true
	case Forgotten:
		if !w.store.deleted[r.ID] {
			w.k.violated("cut %d is forgotten, and its objects are there", r.ID)
		}
	}
}

// chance is true in percent of all cases; trouble in one of n, but never in the end.
func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }
func (w *world) trouble(n int) bool      { return !w.calm && n > 0 && w.rng.IntN(n) == 0 }

// ends are the high watermarks of the inputs.
func (w *world) ends() (ends [6]int) {
	for i, in := range w.k.inputs {
		ends[i] = len(in.log)
	}
	return ends
}

// aim chooses where the next crash is. The first one is aimed at each action in turn, because some need luck to
// be met, and waits for it.
func (w *world) aim() {
	w.target, w.at, w.skip = actionKinds[w.rng.IntN(len(actionKinds))], when(w.rng.IntN(2)), w.rng.IntN(2)
	if w.crashed == 0 {
		w.target, w.at, w.skip = actionKinds[w.seed/2%uint64(len(actionKinds))], when(w.seed%2), 0
	}
}

// favour makes likelier what leads to a rare action that the schedule aims at.
func (w *world) favour() {
	switch w.target {
	case "write dropped", "write forgotten":
		w.settings.Retained, w.settings.Timeout = 1, 100_000
	case "fail":
		w.settings.Interval, w.settings.Timeout, w.settings.Tolerable = 10, 200, 0
	case "delete", "write-manifest":
		w.moods.stop, w.settings.Retained, w.settings.Timeout, w.settings.Interval = 2, 2, 100_000, 50
	case "take":
		w.moods.lag, w.moods.busy = 20, 80
	}
}

// crashes decides about a crash at an action.
func (w *world) crashes(l *lane, a Action, at when) bool {
	if !l.alive {
		return true
	}
	if w.calm || w.crashed >= 5 || at != w.at || kindOf(a) != w.target {
		return false
	}
	if w.skip > 0 {
		w.skip--
		return false
	}
	w.cov.crash(w.target, at)
	w.crashed++
	w.crash(l)
	w.aim()
	return true
}

// crash is SIGKILL: what is in memory is gone; what Kafka has of it is not.
func (w *world) crash(l *lane) { l.alive = false }

// step lets one thing happen.
func (w *world) step() {
	w.steps++
	switch n := w.rng.IntN(100); {
	case n < 70:
		if l := w.pick(); l != nil {
			w.laneStep(l)
		}
	case n < 86:
		w.mark()
	case n < 91:
		w.time()
	case w.calm:
		w.heal()
	default:
		w.happen()
	}
	if w.steps%400 == 0 {
		w.aim()
	}
}

// pick chooses a lane that lives.
func (w *world) pick() *lane {
	for range 4 {
		l := w.bySlot[w.rng.IntN(nSlots)]
		if w.rng.IntN(8) == 0 {
			l = w.lanes[w.rng.IntN(len(w.lanes))] // perhaps a zombie
		}
		if l.alive && !l.frozen {
			return l
		}
	}
	return nil
}

func (w *world) laneStep(l *lane) {
	switch n := w.rng.IntN(16); {
	case n < 5 && l.host != nil:
		l.host.turn()
	case n < 7 && l.seen < w.k.control.stable() && (w.calm || w.moods.lag == 0 || w.rng.IntN(w.moods.lag) == 0):
		l.read()
	case n < 9 && len(l.uploads) > 0:
		l.upload()
	case n == 15:
		l.trim(2 + w.rng.IntN(2))
	default:
		l.turn()
	}
}

// mark lets some decided transaction learn more of its end; false: there is none.
func (w *world) mark() bool {
	first := w.rng.IntN(nSlots)
	for i := range nSlots {
		if w.k.mark((first+i)%nSlots, w.rng.IntN) {
			return true
		}
	}
	return false
}

// time goes on, and with it the sources. In the end it stands still while a cut is at work that must complete.
func (w *world) time() {
	cut, undecided := w.k.truth.Undecided()
	switch {
	case !w.calm:
		w.now += int64(w.rng.IntN(20))
	case !undecided || cut.Request != w.finalID():
		w.now += int64(w.rng.IntN(5000)) // what hangs times out
	}
	if w.draining && !w.drained {
		w.drained = w.chance(1)
	}
	if w.arrived < nRecs && w.chance(w.moods.busy) {
		id := w.arrived
		w.arrived++
		w.k.inputs[min(id%3, 1)].add(nil, message{id: id})
	}
}

// ask writes a record outside of the lanes: a request, a new timeline.
func (w *world) ask(r Record) {
	w.k.control.add(nil, r)
	w.k.record(r)
}

// happen is what nobody wants, and what users want.
func (w *world) happen() {
	slot, t := w.rng.IntN(nSlots), w.rng.IntN(nTasks+1)
	l := w.bySlot[slot]
	if w.chance(20) {
		l = w.lanes[w.rng.IntN(len(w.lanes))]
	}
	switch w.rng.IntN(14) {
	case 0:
		if w.trouble(w.moods.request) {
			if w.asked < 8 {
				w.asked++
			}
			id := w.rng.IntN(w.asked)
			w.ask(Requested{Request: fmt.Sprintf("r%d", id), Kind: Kind(id % 2), Full: id > 2, Drain: id == drainID})
			w.draining = w.draining || id == drainID
		}
	case 1:
		if w.trouble(w.moods.move) {
			w.move(t)
		}
	case 2:
		l.frozen = l.frozen || w.trouble(w.moods.freeze)
	case 3:
		if w.trouble(w.moods.down) {
			w.down(t)
		}
	case 4:
		if w.trouble(w.moods.expire) {
			w.k.expire(slot)
		}
	case 5:
		if w.trouble(w.moods.stop) {
			w.stop()
		}
	case 6:
		l.frozen = false
	case 7:
		if w.trouble(w.moods.rewind) {
			w.rewind()
		}
	case 8:
		if w.trouble(w.moods.compact) {
			w.k.compacted.pass(w.k.control, w.rng)
		}
	default:
		w.revive(slot)
	}
}

// stop ends a coordinator, or the whole application, with its checkpoints or without.
func (w *world) stop() {
	at := slices.IndexFunc(w.lanes, func(l *lane) bool { return l.alive && !l.frozen && l.host != nil && !l.host.m.stopped })
	if at < 0 {
		return
	}
	l := w.lanes[at]
	_, some := l.host.m.log.surplus(0)
	discard := some && w.chance(80)
	if discard && w.chance(50) {
		for _, other := range w.lanes {
			if other != l {
				w.crash(other)
			}
		}
	}
	if discard && !l.host.discard {
		l.host.discard = true
		w.cancels[0]++
		if w.chance(50) { // deletions are slow, and it dies at one
			w.moods.late, w.target, w.at, w.skip = 20, "delete", before, 0
		}
	}
	l.host.tell(Stop{Discard: discard})
}

// down: a task fails. Its lane and the coordinator hear of it, each in its time.
func (w *world) down(t int) {
	for _, l := range w.lanes {
		if !l.alive {
			continue
		}
		if l.tasks[t] != nil && l.phase == idle && t != control {
			l.drop(t)
		}
		if l.host != nil && l.alive {
			l.host.facts = append(l.host.facts, TaskDown{taskIDs[t]})
		}
	}
}

// rewind begins the next timeline with a cut that may be restored: when all lanes are fenced, their topics are
// replaced, what was in flight is copied, and states and positions are put back. Ids go on.
func (w *world) rewind() {
	cuts := w.k.truth.Completed()
	if len(cuts) == 0 {
		return
	}
	for _, l := range w.lanes {
		w.crash(l)
	}
	for s := range nSlots {
		w.k.expire(s)
	}
	for w.mark() {
	}
	w.rewinds++
	cut := cuts[w.rng.IntN(len(cuts))]
	m, used := w.manifests[cut.ID], w.k.truth.Last()
	w.k.acks = &topic[report]{}
	for t, ins := range taskInputs {
		at := progress{cut: used, state: m.state[t]}
		for c, in := range ins {
			if t < 2 {
				at.pos[c] = m.pos[t][c]
				continue
			}
			w.k.inputs[in] = &topic[message]{}
			for _, v := range m.inFlight(cut.ID, t, c) {
				if !w.rules.forgetInFlight {
					v.stamp = used
					w.k.inputs[in].add(nil, v)
				}
			}
		}
		w.k.progress[t] = at
	}
	w.k.progress[control].cut = used
	w.ask(Activated{used})
}

// revive brings back what is needed: a lane for the slot, owners that live for all tasks.
func (w *world) revive(slot int) {
	if l := w.bySlot[slot]; !l.alive || l.frozen && w.chance(50) {
		w.newLane(slot)
	}
	for t, o := range w.k.owners {
		if l := w.lanes[o.lane]; !l.alive || l.frozen && w.chance(50) || w.bySlot[l.slot] != l {
			w.move(t)
		}
	}
}

// move gives a task to another lane.
func (w *world) move(t int) {
	if l := w.bySlot[w.rng.IntN(nSlots)]; l.alive && !l.frozen {
		w.k.owners[t] = lease{lane: l.n, gen: w.k.owners[t].gen + 1}
	}
}

// heal ends what was disturbed.
func (w *world) heal() {
	for _, l := range w.lanes {
		l.frozen = false
	}
	w.revive(w.rng.IntN(nSlots))
}
