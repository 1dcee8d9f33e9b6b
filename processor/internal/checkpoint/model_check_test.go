package checkpoint

import (
	"fmt"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

// explore runs the schedule of a seed. An error tells what does not hold, and the scripts of all machines.
func explore(seed uint64, r rules, cov *coverage) error {
	w := newWorld(seed, r, cov)
	err := w.run()
	cov.count(w)
	if err != nil {
		return fmt.Errorf("seed %d: %w\n%s", seed, err, w.scripts())
	}
	return nil
}

// run: disturbed first, then healed until a cut that is asked for has to complete.
func (w *world) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	for range chaos {
		if w.step(); w.k.broken != nil {
			return w.k.broken
		}
	}
	w.calm = true
	for range healing {
		if w.step(); w.k.broken != nil {
			return w.k.broken
		}
		if w.steps%8 == 0 && w.done() && w.store.clean() {
			return w.check()
		}
	}
	return fmt.Errorf("not done %d steps after the last fault: %s", healing, w.state())
}

// finalID is the request that has to be fulfilled now.
func (w *world) finalID() string { return fmt.Sprintf("final%d", w.final) }

// done: the last request is fulfilled. It is made when all has settled, and again when it met the end of a
// disturbance; a third failure is a fault.
func (w *world) done() bool {
	if w.final == 0 {
		if w.settled() {
			w.final++
			w.ask(Requested{Request: w.finalID()})
		}
		return false
	}
	id, taken := w.k.truth.Taken(w.finalID())
	if !taken || id == w.k.truth.undecided.ID {
		return false
	}
	if w.gone[id] {
		if w.final++; w.final > 3 {
			w.k.violated("cut %d was declined although nothing disturbed it", id)
		}
		w.ask(Requested{Request: w.finalID()})
		return false
	}
	return true
}

// settled: every task runs where it belongs.
func (w *world) settled() bool {
	for t, o := range w.k.owners {
		l := w.lanes[o.lane]
		if !l.alive || l.frozen || w.bySlot[l.slot] != l || l.tasks[t] == nil || l.tasks[t].lease != o {
			return false
		}
	}
	return true
}

func (w *world) state() string {
	var b strings.Builder
	cut, undecided := w.k.truth.Undecided()
	fmt.Fprintf(&b, "settled %t, asked for %s, undecided %t %s, control log %d of %d stable, acks log %d of %d", w.settled(), w.finalID(), undecided, cutText(cut), w.k.control.stable(), len(w.k.control.log), w.k.acks.stable(), len(w.k.acks.log))
	for _, l := range w.lanes {
		if l.alive {
			fmt.Fprintf(&b, "\nlane %d of slot %d: phase %d, end %t, cut wanted %t, control read to %d, host %t", l.n, l.slot, l.phase, l.end, l.p.CutWanted(), l.seen, l.host != nil)
		}
	}
	return b.String()
}

// checkTrimmed: what a cut needs of the inputs is there.
func (w *world) checkTrimmed(id uint64) {
	m := w.manifests[id]
	for t, ins := range taskInputs {
		for c, in := range ins {
			if start := m.inputs[in].start; start > m.pos[t][c] {
				w.k.violated("cut %d needs input %d from %d, it was trimmed to %d", id, in, m.pos[t][c], start)
			}
		}
	}
}

// check: every cut that was ever complete is consistent, and the right ones are still kept.
func (w *world) check() error {
	for _, c := range w.complete {
		if err := w.checkCut(c.ID); err != nil {
			return fmt.Errorf("cut %d is not consistent: %w", c.ID, err)
		}
		if !w.gone[c.ID] && c.Kind == Checkpoint {
			w.checkTrimmed(c.ID)
		}
	}
	w.k.checkCompacted()
	if err := w.store.check(); err != nil {
		return err
	}
	last := w.complete[len(w.complete)-1]
	if w.gone[last.ID] {
		return fmt.Errorf("the last completed cut %d was dropped", last.ID)
	}
	for _, c := range w.complete {
		if c.Kind == Savepoint && w.gone[c.ID] {
			return fmt.Errorf("savepoint %d was dropped", c.ID)
		}
	}
	return w.k.broken
}

// checkCut: the states of a cut and what was in flight at it give, when it is worked off, exactly what one
// sequential run over the sources up to its positions gives. An effect that is there without its cause (an
// orphan), twice, or not at all, shows.
func (w *world) checkCut(id uint64) error {
	m := w.manifests[id]
	var have, want effects
	for t := range nTasks {
		if twice := have.join(m.state[t]); twice != (effects{}) {
			return fmt.Errorf("effects %x of task %s are there twice", twice, taskIDs[t])
		}
		for c, in := range taskInputs[t] {
			if t < 2 {
				for _, e := range m.inputs[in].log[:m.pos[t][c]] {
					want.join(rest(e.v.id, 0))
				}
				continue
			}
			for _, v := range m.inFlight(id, t, c) {
				if twice := have.join(rest(v.id, v.stage)); twice != (effects{}) {
					return fmt.Errorf("effects %x of record %d, in flight at input %d, are there twice", twice, v.id, in)
				}
			}
		}
	}
	if have != want {
		return fmt.Errorf("effects %x are lost, %x have no cause", want.without(have), have.without(want))
	}
	return nil
}

// checkCoordinator says which invariant of Coordinator does not hold between two steps.
func checkCoordinator(c *Coordinator) error {
	undecided, open := c.log.Undecided()
	switch {
	case !c.acting() && (c.cut != nil || c.writing != nil):
		return fmt.Errorf("live %t, ticked %t, stopped %t, with a cut %v or a record %v under way", c.live, c.ticked, c.stopped, c.cut, c.writing)
	case c.cut == nil:
		return nil
	case c.cut.seen && (!open || undecided.ID != c.cut.ID):
		return fmt.Errorf("cut %d is at work, the log has %d undecided", c.cut.ID, undecided.ID)
	case !c.cut.seen && c.writing != nil:
		if r, ok := c.writing.(Triggered); !ok || r.Cut != c.cut.Cut {
			return fmt.Errorf("cut %d waits for its trigger, on its way is %q", c.cut.ID, recordText(c.writing))
		}
	case !c.cut.seen && !c.faults.ignoreLoss:
		return fmt.Errorf("cut %d waits for a trigger that nobody writes", c.cut.ID)
	}
	acks, done := 0, 0
	for _, p := range c.cut.parts {
		if p.acked {
			acks++
		}
		if p.done {
			done++
		}
		if p.done && !p.acked {
			return fmt.Errorf("a part is done and not acknowledged")
		}
	}
	if acks != c.cut.acks || done != c.cut.done {
		return fmt.Errorf("%d acknowledged and %d done, counted are %d and %d", acks, done, c.cut.acks, c.cut.done)
	}
	if (c.cut.stage == finishing || c.cut.stage == completing) && !c.complete() {
		return fmt.Errorf("cut %d is at stage %d with %d of %d parts", c.cut.ID, c.cut.stage, done, len(c.tasks))
	}
	return nil
}

// checkParticipant says which invariant of Participant does not hold between two steps.
func checkParticipant(p *Participant) error {
	takes := 0
	for t, m := range p.members {
		if m.take != 0 {
			takes++
		}
		switch {
		case m.take != 0 && m.take <= m.cut:
			return fmt.Errorf("%s takes cut %d at %d", t, m.take, m.cut)
		case m.met != 0 && m.met <= m.cut:
			return fmt.Errorf("%s waits for cut %d at %d", t, m.met, m.cut)
		case m.touched:
			return fmt.Errorf("%s stays touched", t)
		case p.wants(m) && p.takes == 0 && !p.asked:
			return fmt.Errorf("%s wants a cut that nobody asks for", t)
		}
	}
	if takes != p.takes || p.asked && takes > 0 {
		return fmt.Errorf("%d takes, counted %d, asked %t", takes, p.takes, p.asked)
	}
	return nil
}

// tape is what a machine was told and what it ordered.
type tape struct {
	head string
	said []any
}

func (t *tape) add(x any) { t.said = append(t.said, x) }

func (w *world) record(head string) *tape {
	t := &tape{head: head}
	w.tapes = append(w.tapes, t)
	return t
}

// text gives a script.
func (t *tape) text() string {
	var b strings.Builder
	b.WriteString(t.head + "\n")
	answering := false
	for _, x := range t.said {
		if _, isAction := x.(Action); isAction != answering {
			if answering = isAction; answering {
				b.WriteString("----\n")
			} else {
				b.WriteString("\n")
			}
		}
		b.WriteString(Text(x) + "\n")
	}
	if !answering {
		b.WriteString("----\n(nothing)\n")
	}
	return b.String()
}

func (w *world) scripts() string {
	var all []string
	for _, t := range w.tapes {
		all = append(all, t.text())
	}
	return strings.Join(all, "\n")
}

// coordinatorHead is the first line of a coordinator's script.
func coordinatorHead(s Settings, tasks []offsets.Task) string {
	return fmt.Sprintf("new coordinator interval=%d timeout=%d min-pause=%d tolerable=%d retained=%d tasks%s", s.Interval, s.Timeout, s.MinPause, s.Tolerable, s.Retained, tasksText(tasks))
}
