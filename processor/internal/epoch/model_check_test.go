package epoch

import (
	"fmt"
	"slices"
	"strings"
)

// explore runs the schedule of a seed: disturbed first, then healed until all work is done.
// An error tells what does not hold, and the scripts of all lanes.
func explore(seed uint64, r rules, cov *coverage, trace func(string)) (err error) {
	w := newSchedule(seed, r, cov)
	w.trace = trace
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		cov.ran++
		cov.commits += w.k.commits
		if w.intent {
			cov.rewinds++
		}
		if err != nil {
			err = fmt.Errorf("seed %d: %w\n%s", seed, err, w.scripts())
		}
	}()
	for range chaos {
		w.step()
		if w.k.broken != nil {
			return w.k.broken
		}
	}
	w.calm = true
	for w.arrived < 4*nRecs {
		w.arrive()
	}
	for range healing {
		w.step()
		if w.k.broken != nil {
			return w.k.broken
		}
		if w.steps%8 == 0 && w.done() {
			return w.check()
		}
	}
	return fmt.Errorf("not done %d steps after the last fault: %s", healing, w.state())
}

// done: nothing is open, and every input is processed, or the timeline is over and no
// lane is left.
func (w *schedule) done() bool {
	if w.k.hanging() != nil || len(w.flight) > 0 {
		return false
	}
	if w.intent {
		return w.k.closed && !slices.ContainsFunc(w.lanes, func(l *driver) bool { return l.alive && (l.m.Phase() != Idle || len(l.facts)+len(l.todo) > 0) })
	}
	for in, p := range w.k.parts[:nInputs] {
		for i := w.k.positions[in].offset; i < len(p.log); i++ {
			if p.visible(i) {
				return false
			}
		}
	}
	// What is committed is also known where it came from.
	return !slices.ContainsFunc(w.lanes, func(l *driver) bool { return l.alive && l.m.Phase() != Idle })
}

func (w *schedule) state() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v, %d requests under way, group in %s", w.k.hanging(), len(w.flight), w.k.group)
	for in, p := range w.k.parts[:nInputs] {
		fmt.Fprintf(&b, "\ninput %d: position %d of %d, stable %d", in, w.k.positions[in].offset, len(p.log), p.stable())
	}
	for _, l := range w.lanes {
		if l.alive {
			fmt.Fprintf(&b, "\n%s: %s, client %+v, lease %v, held %t, waiting %t, %d facts, %d orders", l.name, l.m.Phase(), l.client, l.lease, l.held, l.waiting, len(l.facts), len(l.todo))
		}
	}
	return b.String()
}

// check is the checker: what a read-committed reader of everything sees must be the effect
// of the committed input prefix, each record once.
func (w *schedule) check() error {
	k := w.k
	for _, p := range k.parts {
		if p.stable() != len(p.log) {
			return fmt.Errorf("%s: a transaction hangs at %d of %d", p.name, p.stable(), len(p.log))
		}
	}
	var effects [2]map[int]int    // by stage: source id -> how often its effect is there
	var counts [nTasks][nKeys]int // of the outputs of a task
	for stage := range effects {
		effects[stage] = map[int]int{}
		for _, p := range k.parts[4+2*stage : 6+2*stage] {
			for i := range p.log {
				e := p.log[i]
				if !p.visible(i) || e.id == witness {
					continue
				}
				effects[stage][e.id]++
				counts[e.task][e.key]++
				if e.count != counts[e.task][e.key] {
					return fmt.Errorf("task %s, key %d: count %d is followed by %d", taskIDs[e.task], e.key, counts[e.task][e.key]-1, e.count)
				}
			}
		}
	}
	for t := range nTasks {
		if err := w.checkTask(t, effects[t/2]); err != nil {
			return fmt.Errorf("task %s: %w", taskIDs[t], err)
		}
	}
	return nil
}

func (w *schedule) checkTask(t int, effects map[int]int) error {
	k := w.k
	first := k.positions[taskInputs[t][0]]
	var fold rows // of the committed input prefix
	for _, in := range taskInputs[t] {
		at := k.positions[in]
		if at.id != first.id || at.end != first.end {
			return fmt.Errorf("positions disagree: %v and %v", first, at)
		}
		for i, e := range k.parts[in].log {
			if !k.parts[in].visible(i) || e.id == witness {
				continue
			}
			want := 1
			if i >= at.offset || filtered(e.id) {
				want = 0
			}
			if effects[e.id] != want {
				return fmt.Errorf("the effect of record %d at %d of input %d is there %d times, position is %d", e.id, i, in, effects[e.id], at.offset)
			}
			fold[e.key] += want
		}
	}
	var log rows // of the changelog
	p := k.parts[changelogs+t]
	for i := range p.log {
		if p.visible(i) {
			if i >= first.end {
				return fmt.Errorf("changelog has a committed record at %d, positions say it ends at %d", i, first.end)
			}
			log[p.log[i].key] = p.log[i].count
		}
	}
	if log != fold {
		return fmt.Errorf("changelog folds to %v, input to %v", log, fold)
	}
	for _, l := range w.lanes {
		// A lane that has not heard of the end of its membership may be behind.
		r := l.tasks[t]
		if r == nil || !l.alive || w.intent || w.k.group.valid(l.client.member, w.k.group.gen) != ok || !w.k.group.member(l.client.member).claims[t] || !l.owned[t] {
			continue
		}
		if r.ledger == first.id && r.rows != fold {
			return fmt.Errorf("%s has state %v, input folds to %v", l.name, r.rows, fold)
		}
	}
	return nil
}

// scripts is what each lane's machine was told, in the form of the scripts in testdata.
func (w *schedule) scripts() string {
	var b strings.Builder
	for _, l := range w.lanes {
		fmt.Fprintf(&b, "# %s (machine in %s)\n", l.name, l.m.Phase())
		b.WriteString(l.text())
	}
	return b.String()
}
