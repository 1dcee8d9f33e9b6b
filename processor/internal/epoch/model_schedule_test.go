package epoch

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	nSlots  = 3 // transactional ids, each with an instance id
	nRecs   = 5 // records per source partition
	chaos   = 1000
	healing = 30_000 // steps until everything must be done
)

// rules are what processor does around the machine; tests take one out at a time.
type rules struct {
	faults
	loose              bool // work goes on outside of brackets when there is enough to do
	leaseByAssigned    bool // an assignment overwrites the lease without a comparison
	leaseOnSight       bool // a new member id becomes the lease before its assignment is known
	noLease            bool // offsets are sent without member and generation
	offsetsBeforeFlush bool // offsets are sent while records are under way
	noWitness          bool // an epoch without records has nothing that ends its transaction
	foreignAcks        bool // acknowledgements under another producer epoch count
	unstable           bool // positions are read while a transaction over them is open
	restless           bool // no rule: sessions come and go, restores take long
	staleBase          bool // a local base is taken without the changelog's tail
}

type when uint8

const (
	before when = iota
	after
)

// schedule is one order of things: lanes, Kafka, and the order in which things happen.
type schedule struct {
	k       *kafka
	rng     *rand.Rand
	rules   rules
	cov     *coverage
	lanes   []*driver // of all processes there were
	live    []*driver // of those that may still live
	bySlot  [nSlots]*driver
	disks   [nSlots]*disk
	flight  []func()       // requests that are late
	fail    map[[2]int]int // how often a record still fails, by stage and id
	calm    bool           // no more faults
	arrived int            // source records
	trace   func(string)   // of a seed that is looked at

	moods   moods
	target  string // the action at which a lane crashes next
	at      when
	skip    int // occurrences of it to let pass
	crashed int

	steps    int
	slots    int // how many are in use
	rewindAt int // step at which a newer timeline is intended; 0: never
	intent   bool
	fencedTo int // slots that the rewinder has fenced
}

// moods differ between schedules: what happens rarely in all of them together happens often
// in some. Each number n means one in n, 0 never; weights belong to the cases of happen.
type moods struct {
	slowRestore, slowOrder, request int
	weights                         [nMisfortunes]int
}

func (w *schedule) newMoods() (m moods) {
	m.slowRestore = []int{0, 4, 1}[w.rng.IntN(3)]
	m.slowOrder = []int{0, 30, 8}[w.rng.IntN(3)]
	m.request = []int{0, 40, 12}[w.rng.IntN(3)]
	for i := range m.weights {
		m.weights[i] = []int{0, 2, 6}[w.rng.IntN(3)]
	}
	if w.rules.restless {
		m.slowRestore, m.slowOrder, m.weights[sessionEnds], m.weights[cutOff], m.weights[thaw], m.weights[stopAsked] = 3, 0, 6, 6, 6, 0
	}
	m.weights[start], m.weights[thaw] = max(m.weights[start], 2), max(m.weights[thaw], 2)
	return m
}

// Misfortunes, and what ends them.
const (
	start = iota
	freeze
	thaw
	sessionEnds
	transactionExpires
	rebalanceWanted
	stopAsked
	cutOff
	nothing
	nMisfortunes
)

// misfortune picks one by its weight.
func (w *schedule) misfortune() int {
	sum := 0
	for _, n := range w.moods.weights {
		sum += n
	}
	n := w.rng.IntN(sum)
	for i, weight := range w.moods.weights {
		if n -= weight; n < 0 {
			return i
		}
	}
	return nothing
}

func newSchedule(seed uint64, r rules, cov *coverage) *schedule {
	w := &schedule{rng: rand.New(rand.NewPCG(seed, 0x77656972)), rules: r, cov: cov, fail: map[[2]int]int{}}
	g := &group{}
	w.k = &kafka{group: g, producers: make([]producer, nSlots), positions: make([]position, nInputs)}
	for i := range nParts {
		w.k.parts = append(w.k.parts, &partition{name: fmt.Sprintf("partition %d", i)})
	}
	for id := range 4 * nRecs {
		for stage := range 2 {
			if w.rng.IntN(12) == 0 {
				w.fail[[2]int{stage, id}] = 1 + w.rng.IntN(2)
			}
		}
	}
	for range 4 {
		w.arrive()
	}
	if w.rng.IntN(8) == 0 {
		w.rewindAt = 1 + w.rng.IntN(chaos)
	}
	w.moods = w.newMoods()
	w.aim()
	w.slots = nSlots - w.rng.IntN(2)
	for s := range w.slots {
		w.start(s)
	}
	return w
}

// aim chooses where the next crash is.
func (w *schedule) aim() {
	kinds := actionKinds
	if w.chance(70) {
		kinds = rareKinds
	}
	if w.rewindAt > 0 && w.chance(50) {
		kinds = actionKinds[len(actionKinds)-1:]
	}
	w.target, w.at, w.skip = kinds[w.rng.IntN(len(kinds))], when(w.rng.IntN(2)), w.rng.IntN(2)
}

// chance is true in percent of all cases; trouble in one of n, but never in the end.
func (w *schedule) chance(percent int) bool { return w.rng.IntN(100) < percent }
func (w *schedule) trouble(n int) bool      { return !w.calm && n > 0 && w.rng.IntN(n) == 0 }

func (w *schedule) either(a, b Verdict) Verdict {
	if w.rng.IntN(2) == 0 {
		return a
	}
	return b
}

// fails says whether user code fails at a record this time.
func (w *schedule) fails(task, id int) bool {
	k := [2]int{task / 2, id}
	if w.fail[k] == 0 {
		return false
	}
	w.fail[k]--
	return true
}

// request sends one to Kafka. It may be lost, it may be late, and its answer may be lost.
func (w *schedule) request(f func() code) code {
	if !w.trouble(w.moods.request) {
		return f()
	}
	switch w.rng.IntN(3) {
	case 0:
		return noAnswer
	case 1:
		f()
		return noAnswer
	default:
		w.flight = append(w.flight, func() { f() })
		return noAnswer
	}
}

// start runs a process for a slot. If the one before still lives, it becomes a zombie, and
// the new one has a directory of its own.
func (w *schedule) start(slot int) {
	old := w.bySlot[slot]
	if w.disks[slot] == nil || old != nil && old.alive {
		w.disks[slot] = &disk{}
	}
	l := &driver{w: w, slot: slot, name: fmt.Sprintf("lane %d of slot %d", len(w.lanes), slot), m: New(), disk: w.disks[slot], alive: true}
	l.m.faults = w.rules.faults
	w.tell("%s starts", l.name)
	w.lanes = append(w.lanes, l)
	w.live = append(w.live, l)
	w.bySlot[slot] = l
}

// crash is SIGKILL: what is in memory is gone, requests under way are not.
func (w *schedule) crash(l *driver) {
	w.tell("%s crashes", l.name)
	l.alive, l.client.away = false, true
	w.crashed++
}

// crashes decides about a crash at an action.
func (w *schedule) crashes(l *driver, a Action, at when) bool {
	if w.calm || w.crashed >= 6 {
		return false
	}
	if at != w.at || kindOf(a) != w.target {
		return false
	}
	if w.skip > 0 {
		w.skip--
		return false
	}
	c := w.cov.crashes[w.target]
	if c == nil {
		c = &[2]int{}
		w.cov.crashes[w.target] = c
	}
	c[at]++
	w.crash(l)
	w.aim()
	return true
}

// tell traces what happens outside of the machines.
func (w *schedule) tell(format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf(format, args...))
	}
}

// note traces one step of a lane beside the state of Kafka.
func (w *schedule) note(l *driver, e Event, as []Action) {
	if w.trace == nil {
		return
	}
	if _, idle := e.(Due); idle && len(as) == 1 && as[0] == Action(Release{}) {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d: %s m%d g%d: %s", w.steps, l.name, l.client.member, l.client.gen, Text(e))
	for _, a := range as {
		b.WriteString(" | " + Text(a))
	}
	w.trace(b.String())
}

// count notes that an event came in a phase.
func (w *schedule) count(m *Machine, e Event) { w.cov.events[kindOfEvent(e)][m.Phase()]++ }

// exited: a lane that stopped cleanly leaves the group, or its process just ends.
func (w *schedule) exited(l *driver, clean bool) {
	if m := w.k.group.member(l.client.member); m != nil && m.client == &l.client && clean && w.chance(50) {
		w.k.group.expire(m)
	}
}

// takeover: somebody waits for positions that an open transaction holds. A producer whose
// instance is no longer in the group gets fenced.
func (w *schedule) takeover() {
	if w.chance(50) {
		for s := range nSlots {
			if w.k.group.ofSlot(s) == nil && w.k.producers[s].cur != nil {
				w.k.initialise(s)
			}
		}
	}
}

// step lets one thing happen.
func (w *schedule) step() {
	switch n := w.rng.IntN(100); {
	case n < 58:
		if l := w.find(func(l *driver) bool { return !l.frozen && l.joined && (l.useful() || w.chance(20)) }); l != nil {
			l.turn()
		}
	case n < 74:
		if l := w.find(func(l *driver) bool { return !l.frozen && l.busy() }); l != nil {
			l.background()
		}
	case n < 84:
		first := w.rng.IntN(nSlots)
		for i := range nSlots {
			if s := (first + i) % nSlots; w.k.producers[s].cur != nil && w.k.producers[s].cur.prepared {
				w.k.mark(s, w.rng.IntN)
				break
			}
		}
	case n < 93:
		w.membership()
	case n < 95:
		w.arrive()
	case n < 97:
		if len(w.flight) > 0 {
			i := w.rng.IntN(len(w.flight))
			f := w.flight[i]
			w.flight = append(w.flight[:i], w.flight[i+1:]...)
			f()
		}
	default:
		w.happen()
	}
	if w.steps++; w.steps == w.rewindAt {
		w.intent = true
	}
	if w.intent && !w.k.closed && w.chance(10) {
		w.fence()
	}
	if w.steps%200 == 0 {
		w.aim()
	}
}

// arrive appends a source record.
func (w *schedule) arrive() {
	if w.arrived < 4*nRecs {
		w.k.parts[w.arrived%4].add(nil, entry{key: w.rng.IntN(nKeys), id: w.arrived})
		w.arrived++
	}
}

// find tries a few times to choose a lane that f likes.
func (w *schedule) find(f func(*driver) bool) *driver {
	for range 4 {
		if l := w.pick(); l.alive && f(l) {
			return l
		}
	}
	return nil
}

// pick chooses a lane, a living one if there is any.
func (w *schedule) pick() *driver {
	if len(w.live) == 0 {
		return w.lanes[0]
	}
	i := w.rng.IntN(len(w.live))
	if l := w.live[i]; l.alive {
		return l
	}
	w.live = append(w.live[:i], w.live[i+1:]...)
	return w.pick()
}

// membership moves the group on.
func (w *schedule) membership() {
	g := w.k.group
	switch w.rng.IntN(3) {
	case 0:
		if g.wants() && (!g.waits() || w.chance(5)) {
			g.rebalance(w.rng.IntN)
			w.tell("rebalance: %s", g)
		}
	case 1:
		if l := w.find(func(l *driver) bool { return !l.frozen && l.joined }); l != nil {
			w.heartbeat(l)
		}
	default:
		if l := w.find(func(l *driver) bool { return !l.frozen && !l.cut && l.client.pending() }); l != nil {
			w.callback(l)
		}
	}
}

// heartbeat lets a lane's client learn what the group thinks of it.
func (w *schedule) heartbeat(l *driver) {
	if l.cut || l.client.pending() {
		return // a session ends when its callbacks are through
	}
	switch w.k.group.valid(l.client.member, l.client.gen) {
	case illegalGeneration:
		w.k.group.need = true
	case fencedInstance:
		l.inbox = append(l.inbox, stopWanted{})
	case unknownMember:
		if l.client.lost = w.chance(40); !l.client.lost {
			w.rejoin(l) // the client rejoins under a new id and says nothing
		}
	}
}

func (w *schedule) rejoin(l *driver) {
	c := &l.client
	w.tell("%s rejoins under a new member id, it has %v", l.name, c.owned)
	if w.k.group.ofSlot(l.slot) == nil {
		w.k.group.join(l.slot, c)
	} else {
		l.inbox = append(l.inbox, stopWanted{}) // another process has the instance by now
	}
}

// callback runs one of the client's callbacks. All wait for the end of the bracket, but
// for the news that the membership is lost, which may come through.
func (w *schedule) callback(l *driver) {
	c := &l.client
	switch {
	case c.lost && (!l.held || w.chance(30)):
		l.inbox = append(l.inbox, groupLost{})
		c.lost, c.owned = false, [nTasks]bool{}
		w.rejoin(l)
	case l.held || c.lost:
	case c.revoking:
		l.inbox = append(l.inbox, groupRevoked{c.revoked})
		c.revoking, c.revoked = false, [nTasks]bool{}
		w.k.group.need = true
	case c.assigning:
		l.inbox = append(l.inbox, groupAssigned{c.assigned, l.current()})
		c.assigning, c.assigned = false, [nTasks]bool{}
	}
}

// happen is what nobody wants.
func (w *schedule) happen() {
	l, slot := w.pick(), w.rng.IntN(w.slots)
	g := w.k.group
	if w.calm {
		w.heal(slot)
		return
	}
	switch w.misfortune() {
	case start:
		if old := w.bySlot[slot]; old == nil || !old.alive || old.frozen && w.chance(20) {
			w.start(slot)
		}
	case freeze:
		if l.alive {
			w.tell("%s freezes", l.name)
			l.frozen = true
			l.client.away = true
		}
	case thaw:
		if l := w.find(func(l *driver) bool { return l.frozen || l.cut }); l != nil {
			l.frozen, l.cut, l.client.away = false, false, false
		}
	case cutOff:
		if m := g.member(l.client.member); m != nil && l.alive {
			w.tell("%s is cut off from the group", l.name)
			l.cut, l.client.away = true, true
			if w.chance(70) {
				g.expire(m)
			}
		}
	case sessionEnds: // a session ends, mostly of those who are away
		if m := g.ofSlot(slot); m != nil && (m.client.away || w.chance(15)) {
			w.tell("member %d of slot %d expires", m.id, m.slot)
			g.expire(m)
		}
	case transactionExpires:
		w.k.expire(slot)
	case rebalanceWanted:
		g.need = true
	case stopAsked:
		if l.alive && w.chance(40) {
			l.inbox = append(l.inbox, stopWanted{})
		}
	}
}

// heal brings back what is needed for the work to end.
func (w *schedule) heal(slot int) {
	for _, l := range w.lanes {
		l.frozen, l.cut, l.client.away = false, false, !l.alive
	}
	if w.chance(3) {
		w.k.expire(slot)
	}
	if m := w.k.group.ofSlot(slot); m != nil && m.client.away {
		w.k.group.expire(m)
	}
	for _, l := range w.lanes {
		if l.slot == slot && l.alive {
			return
		}
	}
	if !w.intent {
		w.start(slot)
	}
}

// fence is the rewinder: after its intent it initialises every transactional id; then the
// timeline is over.
func (w *schedule) fence() {
	if w.fencedTo < nSlots {
		if _, c := w.k.initialise(w.fencedTo); c == ok {
			w.fencedTo++
		}
		return
	}
	w.k.closed = true
}
