package assign

import (
	"cmp"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// balance moves tasks of the class in work from heavy to light members until none of these
// helps:
//
//	class(from) - class(to) >= 2
//	class(from) - class(to) == 1 and total(from) - total(to) >= 2
//
// Each move lowers the sum of class² or, at the same sum, that of total²: it ends. Where all
// members run one plan a move is one task; else it may be a chain, because the light member
// may know only tasks of somebody in between.
func (w *work) balance() {
	for {
		from, path := w.move()
		if path == nil {
			return
		}
		for _, to := range path {
			at := w.choose(from, to)
			m := w.members[from]
			t := m.tasks[at]
			m.tasks = slices.Delete(m.tasks, at, at+1)
			w.count(from, -1)
			w.give(to, t)
			from = to
		}
	}
}

// move finds the heaviest member that can be relieved, and the members to pass a task along.
func (w *work) move() (from int, path []int) {
	var order []int
	for i, m := range w.members {
		if m != nil {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int { return w.lighter(i, j) })
	for _, from := range slices.Backward(order) {
		if path := w.pathFrom(from, order); path != nil {
			return from, path
		}
	}
	return nobody, nil
}

// pathFrom searches in breadth the lightest member that tasks can be passed to. order is
// lightest first.
func (w *work) pathFrom(from int, order []int) []int {
	if !w.helps(from, order[0]) {
		return nil
	}
	before := map[int]int{from: nobody}
	queue := []int{from}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, j := range order {
			if _, seen := before[j]; seen || !w.passes(i, j) {
				continue
			}
			before[j] = i
			queue = append(queue, j)
		}
	}
	for _, to := range order {
		if _, reached := before[to]; !reached || !w.helps(from, to) {
			continue
		}
		var path []int
		for i := to; i != from; i = before[i] {
			path = append(path, i)
		}
		slices.Reverse(path)
		return path
	}
	return nil
}

func (w *work) helps(from, to int) bool {
	a, b := w.members[from], w.members[to]
	return a.class-b.class >= 2 || a.class-b.class == 1 && a.total-b.total >= 2
}

// passes says whether member i has a task that j may run.
func (w *work) passes(i, j int) bool {
	return slices.ContainsFunc(w.members[i].tasks, func(t offsets.Task) bool { return w.eligible(j, t) })
}

// choose gives the task that member i passes to j: the one that costs least. First what i
// does not hold now, then what j has state of, then what i has no state of.
func (w *work) choose(i, j int) int {
	best := nobody
	less := func(t, u offsets.Task) int {
		return cmp.Or(
			compareBool(w.owner[t] == i && w.owned(t), w.owner[u] == i && w.owned(u)),
			cmp.Compare(w.lag(j, t), w.lag(j, u)),
			-cmp.Compare(w.lag(i, t), w.lag(i, u)),
			-t.Compare(u),
		)
	}
	for at, t := range w.members[i].tasks {
		if w.eligible(j, t) && (best == nobody || less(t, w.members[i].tasks[best]) < 0) {
			best = at
		}
	}
	return best
}

func (w *work) owned(t offsets.Task) bool {
	_, ok := w.owner[t]
	return ok
}
