package epoch

import (
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// perform carries out the next order. The schedule may crash the lane before it, and after it
// before the machine hears of it.
func (l *driver) perform() {
	w, a := l.w, l.todo[0]
	if !l.trying && !l.slept && w.crashes(l, a, before) {
		return
	}
	if l.asleep > 0 {
		l.asleep--
		return
	}
	if !l.trying && !l.slept && w.trouble(w.moods.slowOrder) {
		l.asleep, l.slept = w.rng.IntN(80), true
		return
	}
	l.slept = false
	if l.trying = !l.do(a, !l.trying); l.trying {
		return // the brokers are busy: once more
	}
	l.todo = l.todo[1:]
	if !inBackground(a) {
		w.crashes(l, a, after)
	}
}

func inBackground(a Action) bool {
	switch a.(type) {
	case Reinit, ReadControl, FetchOffsets, Restore:
		return true
	}
	return false
}

// do returns false if the order has to be tried again.
func (l *driver) do(a Action, first bool) bool {
	w := l.w
	switch a := a.(type) {
	case Begin:
		if w.trouble(30) {
			l.tell(BeginFailed{[]Verdict{Unknown, Fenced}[w.rng.IntN(2)]})
			return true
		}
		l.who, l.out, l.sent, l.acked, l.foreign, l.failed, l.reached = l.id, nil, 0, 0, 0, ok, false
		l.tell(Began{firstProducerID + int64(l.slot), l.who})
	case Flush:
		return l.flush(a.Tasks, first)
	case SendOffsets:
		return l.sendOffsets(a.Attempts)
	case EndCommit:
		return l.endCommit()
	case EndAbort:
		return l.endAbort()
	case Reinit, ReadControl, FetchOffsets:
		l.work, l.waiting, l.stalled, l.got = a, true, false, nil
	case Settle:
		l.settle(a)
	case Restore:
		i := taskIndex(a.Task)
		l.restores[i] = &restoreWork{i: i, slow: w.trouble(w.moods.slowRestore)}
	case Close:
		l.close(taskIndex(a.Task), a.Reason)
	case Release:
		l.held = false
	case Exit:
		l.exited, l.clean, l.alive = true, a.Clean, false
		l.client.away = true
		w.exited(l, a.Clean)
	}
	return true
}

// flush sends the last value per touched key to the changelog and waits for all answers.
func (l *driver) flush(tasks []offsets.Task, first bool) bool {
	w := l.w
	if first {
		for _, id := range tasks {
			if t := l.tasks[taskIndex(id)]; !l.finish(t) {
				l.tell(Failed{id})
				return true
			}
		}
		if l.sent == 0 && !w.rules.noWitness {
			l.emit(outputs, entry{id: witness})
		}
		l.reiniting = w.trouble(15)
	}
	if w.rules.offsetsBeforeFlush {
		l.tell(Flushed{OK})
		return true
	}
	if l.reiniting {
		// The client takes a new id on its own (log start above its last record): what was
		// open is aborted, the rest goes on under the new id.
		if epoch, c := w.k.initialise(l.slot); c == ok {
			l.id, l.reiniting = epoch, false
		} else {
			return false
		}
	}
	if !l.produce() {
		return false
	}
	v := OK
	switch {
	case l.failed == staleEpoch:
		v = w.either(Fenced, Refused)
	case l.failed != ok, l.foreign > 0 && !w.rules.foreignAcks, l.acked != l.sent:
		v = Refused
	}
	l.tell(Flushed{v})
	return true
}

// finish gives the last value per touched key to the client, or fails at the last record.
func (l *driver) finish(t *runningTask) bool {
	if l.w.trouble(20) {
		q := t.queue[max(t.read-1, 0)]
		t.stopped, t.reached, t.stopIn, t.stopAt = true, false, q.input, q.offset
		return false
	}
	for k := range t.dirty {
		if t.dirty[k] {
			l.emit(changelogs+t.i, entry{key: k, count: t.overlay[k], task: t.i})
		}
	}
	return true
}

// witness stands in the output for an epoch without any record.
const witness = -1

func (l *driver) sendOffsets(attempts []Attempt) bool {
	w, now := l.w, l.current()
	if w.rules.noLease {
		now = lease{0, -1}
	} else if !now.validUnder(l.lease) {
		if w.rules.leaseOnSight {
			l.lease = now
		}
		l.tell(Sent{Lost})
		return true
	}
	if l.id != l.who && !w.rules.foreignAcks {
		l.tell(Sent{Refused})
		return true
	}
	var at []pending
	for _, a := range attempts {
		t := l.tasks[taskIndex(a.Task)]
		for n, in := range taskInputs[t.i] {
			at = append(at, pending{in, position{t.processed[n], a.Epoch, a.Prev, t.newEnd}})
		}
	}
	if w.trouble(20) {
		l.tell(Sent{Refused})
		return true
	}
	epoch := l.id
	c := w.request(func() code { return w.k.commitOffsets(l.slot, epoch, now.member, now.gen, at) })
	switch c {
	case concurrent:
		return false
	case ok:
		l.tell(Sent{OK})
	case staleEpoch:
		l.tell(Sent{w.either(Fenced, Refused)})
	case unknownMember, illegalGeneration:
		l.tell(Sent{Lost})
	case fencedInstance:
		l.tell(Sent{FencedForEver})
	default:
		l.tell(Sent{w.either(Unknown, Refused)})
	}
	return true
}

func (l *driver) endCommit() bool {
	w := l.w
	if w.rules.offsetsBeforeFlush && !l.produce() {
		return false
	}
	if !l.reached {
		// The client sends nothing when nothing was produced.
		l.tell(Ended{OK})
		return true
	}
	epoch := l.id
	c := w.request(func() code { return w.k.end(l.slot, epoch, true) })
	switch c {
	case concurrent:
		return false
	case ok:
		l.id++
		l.tell(Ended{OK})
	case staleEpoch:
		l.tell(Ended{w.either(Fenced, Unknown)})
	default:
		l.tell(Ended{Unknown})
	}
	return true
}

func (l *driver) endAbort() bool {
	w := l.w
	l.out = nil
	if !l.reached && l.id == l.who {
		l.tell(Aborted{OK}) // nothing to send
		return true
	}
	epoch := l.id
	c := w.request(func() code { return w.k.end(l.slot, epoch, false) })
	switch c {
	case concurrent:
		return false
	case ok:
		l.id++
		if epoch != l.who {
			l.tell(Aborted{Unknown}) // an initialisation that nobody asked for
			return true
		}
		l.tell(Aborted{OK})
	case staleEpoch:
		l.tell(Aborted{w.either(Fenced, Unknown)})
	default:
		l.tell(Aborted{Unknown})
	}
	return true
}

func (l *driver) settle(a Settle) {
	t := l.tasks[taskIndex(a.Attempt.Task)]
	if a.Outcome != Committed {
		t.rollback()
		return
	}
	t.adopt(a.Attempt.Epoch)
	if l.w.chance(40) {
		t.apply(&l.disk[t.i], l.w.rng.IntN)
	}
}

func (l *driver) close(i int, why Reason) {
	l.restores[i] = nil
	gone := why == ReasonRevoked || why == ReasonLost || why == ReasonStopped
	if gone {
		l.retries[i] = false
	}
	t := l.tasks[i]
	if t == nil {
		return
	}
	if t.touched {
		l.w.k.violated("%s: task %s closes with undecided effects", l.name, taskIDs[i])
	}
	l.tasks[i] = nil
	if why == ReasonStopped || l.w.chance(30) {
		t.apply(&l.disk[i], func(n int) int { return n - 1 })
	}
	if why == ReasonFailed {
		l.retries[i] = true
	}
}

// busy says whether something runs outside the lane's goroutine.
func (l *driver) busy() bool {
	return !l.joined || l.work != nil || slices.ContainsFunc(l.restores[:], func(r *restoreWork) bool { return r != nil && r.stage < 3 })
}

// background moves on what runs outside the lane's goroutine.
func (l *driver) background() {
	if !l.joined {
		l.boot()
		return
	}
	var works []*restoreWork
	for _, r := range l.restores {
		if r != nil && r.stage < 3 {
			works = append(works, r)
		}
	}
	if l.work != nil && (len(works) == 0 || l.w.chance(60)) {
		l.answer()
	} else if len(works) > 0 {
		l.restore(works[l.w.rng.IntN(len(works))])
	}
}

// boot is the start of a lane: no group before the producer is ours and control is read.
func (l *driver) boot() {
	w := l.w
	switch l.booting {
	case 0:
		if l.initialise() {
			l.booting++
		}
	case 1:
		if w.intent && !w.rules.skipControl {
			l.alive, l.exited = false, true
			w.exited(l, false)
			return
		}
		l.booting++
	default:
		l.joined = true
		w.k.group.join(l.slot, &l.client)
	}
}

func (l *driver) initialise() bool {
	var epoch int16
	c := l.w.request(func() code {
		e, c := l.w.k.initialise(l.slot)
		epoch = e
		return c
	})
	if c != ok {
		return false
	}
	l.id = epoch
	return true
}

// answer works on what the machine waits for.
func (l *driver) answer() {
	w := l.w
	var e Event
	switch a := l.work.(type) {
	case Reinit:
		if !l.initialise() {
			return
		}
		e = ProducerReady{}
	case ReadControl:
		e = ControlRead{w.intent}
	case FetchOffsets:
		if l.got == nil {
			l.got = map[offsets.Task]offsets.EpochID{}
		}
		for _, id := range a.Tasks {
			if _, there := l.got[id]; there {
				continue
			}
			ps, c := w.k.fetchOffsets(taskInputs[taskIndex(id)], !w.rules.unstable)
			if c != ok {
				w.takeover()
				return
			}
			for _, p := range ps {
				if p.id != ps[0].id && !w.rules.unstable {
					w.k.violated("inputs of task %s disagree: %s and %s", id, p.id, ps[0].id)
				}
			}
			l.got[id] = ps[0].id
			if len(l.got) < len(a.Tasks) {
				return
			}
		}
		e = Fetched{l.got}
	}
	a := l.work
	l.work = nil
	if !w.crashes(l, a, after) {
		l.inbox = append(l.inbox, answered{e})
	}
}

// restore brings a task to its committed state: stable positions, then the local base if
// it fits, then the changelog to the end that the positions name.
func (l *driver) restore(r *restoreWork) {
	w := l.w
	b := &l.disk[r.i]
	if r.slow && r.stage > 0 && !w.calm && w.chance(98) {
		return
	}
	switch r.stage {
	case 0:
		at, c := w.k.fetchOffsets(taskInputs[r.i], !w.rules.unstable)
		if c != ok {
			w.takeover()
			return
		}
		for _, p := range at {
			if (p.id != at[0].id || p.end != at[0].end) && !w.rules.unstable {
				w.k.violated("inputs of task %s disagree: %v", taskIDs[r.i], at)
			}
		}
		r.at, r.stage = at, 1
	case 1:
		if w.trouble(40) {
			r.stage = 3
			l.inbox = append(l.inbox, restoreFailed{r})
			return
		}
		if b.end > r.at[0].end {
			*b = base{}
		}
		r.rows, r.from, r.stage = b.rows, b.end, 2
	case 2:
		p := w.k.parts[changelogs+r.i]
		if p.stable() < r.at[0].end {
			return
		}
		for i := r.from; i < r.at[0].end && (!w.rules.staleBase || !b.found); i++ {
			if p.visible(i) {
				r.rows[p.log[i].key] = p.log[i].count
			}
		}
		*b = base{true, r.rows, r.at[0].end}
		r.stage = 3
		if !w.crashes(l, Restore{taskIDs[r.i]}, after) {
			l.inbox = append(l.inbox, restored{r})
		}
	}
}

// text writes what the lane was told as a script, without the brackets in which nothing
// was to be done.
func (l *driver) text() string {
	var b []byte
	for _, s := range l.script {
		if _, idle := s.e.(Due); idle && len(s.as) == 1 && s.as[0] == Action(Release{}) {
			continue
		}
		b = append(b, Text(s.e)+"\n"...)
		b = append(b, "----\n"...)
		for _, a := range s.as {
			b = append(b, Text(a)+"\n"...)
		}
		if len(s.as) == 0 {
			b = append(b, "(nothing)\n"...)
		}
		b = append(b, '\n')
	}
	return string(slices.Clip(b))
}
