package assign

import (
	"cmp"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// warm is the highest lag of a copy with which a task may move: reading the rest takes no
// time that anybody would notice.
const warm = 2

// heirs gives tasks that nobody holds to members with a warm copy, whatever that does to the
// balance: what is too much for them then moves as other tasks do. A task that was let go of
// for a member comes to it by this, too.
func (w *work) heirs(union []Part) {
	has := make(map[int]int)
	for _, i := range w.owner {
		has[i]++
	}
	for _, p := range union {
		for n := range p.Partitions {
			t, best := offsets.Task{Sub: p.Sub, Partition: n}, nobody
			if o, owned := w.owner[t]; !p.Stateful || w.firm[t] || owned && w.eligible(o, t) {
				continue
			}
			for i, m := range w.members {
				if m == nil || !w.eligible(i, t) || w.lag(i, t) > warm {
					continue
				}
				if best == nobody || cmp.Or(cmp.Compare(w.lag(i, t), w.lag(best, t)), cmp.Compare(has[i], has[best])) < 0 {
					best = i
				}
			}
			if best != nobody {
				w.owner[t], w.heir[t] = best, true
				has[best]++
			}
		}
	}
}

// warmUp lets stateful tasks stay where they are until the member that they are to move to has
// a copy that is nearly up to date. n of them at a time are copied, the nearest first; who has
// a copy in the making goes on with it. Tasks of an owner that is gone, or that may not have
// them any more, move at once.
//
// The balance counts them for their new owner already: once they are warm it comes out the
// same, and they move.
func (w *work) warmUp(n int, tasks []offsets.Task, given map[offsets.Task]int, shares []Share) {
	if n <= 0 {
		return
	}
	var cold []offsets.Task
	to := make(map[offsets.Task]int)
	for _, t := range tasks {
		i, ok := given[t]
		if o := w.owner[t]; ok && (w.firm[t] || w.heir[t]) && !w.torn[t] && o != i && w.eligible(o, t) && w.lag(i, t) > warm {
			to[t], given[t] = i, o
			cold = append(cold, t)
		}
	}
	slices.SortStableFunc(cold, func(t, u offsets.Task) int { return cmp.Compare(w.lag(to[t], t), w.lag(to[u], u)) })
	for _, t := range cold[:min(n, len(cold))] {
		s := &shares[to[t]]
		s.Warming = append(s.Warming, t)
	}
	for i := range shares {
		slices.SortFunc(shares[i].Warming, offsets.Task.Compare)
	}
}
