package checkpoint

import (
	"math"

	"github.com/weir-stream/weir/offsets"
)

// host is what processor does around a Coordinator, in the lane that has the control task.
type host struct {
	w    *world
	l    *lane
	m    *Coordinator
	tape *tape

	seen   int // next record of the control log
	goal   int // its end when the task's positions were stable
	live   bool
	ack    int // next record of the acks log
	ticked int64
	todo   []Action
	facts  []Event // answers that have not been told

	writes  []Record // ordered, not in an epoch
	carried bool     // one is in the open epoch
	acked   map[acknowledged][2]int
	ends    [6]int   // rules.earlyEnd: of the inputs, when the cut was triggered
	keep    []uint64 // what is deleted next must leave these their objects
	discard bool     // it was told to leave no checkpoint behind
	drops   int      // checkpoints that it drops for that
}

type acknowledged struct {
	task  int
	cut   uint64
	epoch offsets.EpochID
}

func (w *world) newHost(l *lane) *host {
	h := &host{w: w, l: l, m: NewCoordinator(w.settings, taskIDs[:nTasks]), acked: map[acknowledged][2]int{}}
	h.m.faults = w.rules.coordinatorFaults
	h.tape = w.record(coordinatorHead(w.settings, taskIDs[:nTasks]))
	h.goal, h.ack = len(w.k.control.log), len(w.k.acks.log)
	if w.rules.stableIsEnd {
		h.goal = w.k.control.stable()
	}
	return h
}

func (h *host) tell(e Event) {
	h.tape.add(e)
	h.m.Step(e)
	if err := checkCoordinator(h.m); err != nil {
		h.w.k.violated("after %q: %v", Text(e), err)
	}
	for _, a := range h.m.Ready() {
		h.tape.add(a)
		h.todo = append(h.todo, a)
		if d, ok := a.(Delete); ok {
			h.keep = h.kept(d.ID)
		}
	}
}

// turn does one of the things that the coordinator could do next.
func (h *host) turn() {
	first := h.w.rng.IntN(5)
	for i := range 5 {
		if h.does((first + i) % 5) {
			return
		}
	}
}

func (h *host) does(what int) bool {
	switch {
	case what == 0:
		if h.w.calm {
			h.tick() // time leaps: what is read now is not from before
		}
		return h.readControl()
	case what == 1:
		return h.readAck()
	case what == 2:
		return h.tick()
	case what == 3 && len(h.facts) > 0:
		e := h.facts[0]
		h.facts = h.facts[1:]
		h.tell(e)
		return true
	case what == 4 && len(h.todo) > 0:
		a := h.todo[0]
		if h.late(a) { // others do not wait for it
			if len(h.todo) == 1 {
				return false
			}
			h.todo[0], h.todo[1] = h.todo[1], h.todo[0]
			a = h.todo[0]
		}
		h.todo = h.todo[1:]
		if !h.w.crashes(h.l, a, before) {
			h.carryOut(a)
			h.w.crashes(h.l, a, after)
		}
		return true
	}
	return false
}

// late says whether an action that is carried out in the background takes its time.
func (h *host) late(a Action) bool {
	switch a.(type) {
	case WriteManifest, Delete:
		return h.w.moods.late > 0 && !h.w.calm && h.w.rng.IntN(h.w.moods.late) > 0
	}
	return false
}

func (h *host) tick() bool {
	if h.ticked == h.w.now {
		return false
	}
	h.ticked = h.w.now
	if h.w.drained && h.m.Log().Draining() {
		h.tell(Drained{})
	}
	h.tell(Tick{h.w.now})
	return true
}

func (h *host) readControl() bool {
	log := h.w.k.control
	for {
		if h.seen >= h.goal && !h.live {
			h.live = true
			h.tell(CaughtUp{})
			return true
		}
		if h.seen == log.stable() {
			return false
		}
		h.seen++
		if log.committed(h.seen-1) && !h.w.k.compacted.gone[h.seen-1] {
			h.tell(Logged{log.log[h.seen-1].v})
			return true
		}
	}
}

func (h *host) readAck() bool {
	log := h.w.k.acks
	for h.ack < log.stable() {
		h.ack++
		if !log.committed(h.ack - 1) {
			continue
		}
		switch r := log.log[h.ack-1].v; {
		case r.ack:
			h.acked[acknowledged{r.task, r.cut, r.epoch}] = r.pos
			h.tell(Acked{taskIDs[r.task], r.cut, r.epoch})
		case r.lost:
			h.tell(UploadLost{taskIDs[r.task], r.cut, r.epoch, "out of luck"})
		default:
			h.tell(Uploaded{taskIDs[r.task], r.cut, r.epoch, r.object})
		}
		return true
	}
	return false
}

func (h *host) carryOut(a Action) {
	w := h.w
	switch a := a.(type) {
	case Write:
		if w.rules.looseControl {
			w.ask(a.Record)
			return
		}
		h.writes = append(h.writes, a.Record)
		if _, ok := a.Record.(Dropped); ok && h.discard {
			h.drops++
		}
		if _, ok := a.Record.(Triggered); ok {
			h.ends = w.ends()
		}
	case WriteManifest:
		if w.trouble(w.moods.manifest) {
			h.facts = append(h.facts, ManifestLost{a.Cut.ID, "out of luck"})
			return
		}
		m := manifest{inputs: w.k.inputs, ends: w.ends()}
		if w.rules.earlyEnd {
			m.ends = h.ends
		}
		for i, p := range a.Parts {
			m.pos[i] = h.acked[acknowledged{i, a.Cut.ID, p.Epoch}]
			m.layers[i], m.state[i] = w.store.layers(a.Cut.ID, i, p.Object)
		}
		if !w.gone[a.Cut.ID] {
			w.manifests[a.Cut.ID] = m
			w.store.lies[a.Cut.ID] = true
		} // else a successor has declined it: what is written too late is left to whoever audits the store
		h.facts = append(h.facts, ManifestWritten{a.Cut.ID})
	case Delete:
		if !w.gone[a.ID] {
			w.k.violated("cut %d is deleted while the log says that it counts", a.ID)
		}
		steps := math.MaxInt
		if w.crashed < 5 && w.trouble(w.moods.torn) {
			steps = w.rng.IntN(4)
		}
		if !w.store.delete(a.ID, h.keep, steps) {
			w.crashed++
			w.cov.torn++
			w.crash(h.l)
			return
		}
		h.facts = append(h.facts, Deleted(a))
	case Answer:
		if id, ok := w.k.truth.Taken(a.Request); !ok || id != a.ID {
			w.k.violated("request %s is answered with cut %d, it got %d", a.Request, a.ID, id)
		}
	case Fail:
		w.restarts++
		for _, l := range w.lanes {
			w.crash(l)
		}
	case Stopped:
		if h.discard {
			h.discarded()
		}
		w.crash(h.l) // it exits
	}
}

// kept are the checkpoints whose objects a deletion leaves alone: those that count, and those that are deleted later.
func (h *host) kept(but uint64) (ids []uint64) {
	if h.w.rules.keepNothing {
		return nil
	}
	for _, c := range h.m.Log().Completed() {
		if c.Kind == Checkpoint {
			ids = append(ids, c.ID)
		}
	}
	if h.w.rules.keepCounted {
		return ids
	}
	for _, id := range h.m.Condemned() {
		if id != but {
			ids = append(ids, id)
		}
	}
	return ids
}

// discarded: nothing is left of any checkpoint that it has ever heard of.
func (h *host) discarded() {
	for _, c := range h.m.log.completed {
		if c.Kind == Checkpoint {
			h.w.k.violated("the coordinator stops, and checkpoint %d outlives it", c.ID)
		}
	}
	for _, g := range h.m.log.garbage {
		if !h.w.store.deleted[g.ID] {
			h.w.k.violated("the coordinator stops, and what cut %d has left is there", g.ID)
		}
	}
	if h.drops > 0 {
		h.w.cancels[1]++
	}
}

// fate of the epoch for the control task.
func (h *host) fate(committed bool) {
	if !h.carried {
		return
	}
	h.carried = false
	if !committed {
		h.tell(WriteLost{})
	}
}
