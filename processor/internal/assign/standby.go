package assign

import (
	"cmp"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// standbys gives copies of the stateful tasks to follow to members of other processes than
// the owner's, n of each task where there are as many. Copies that are at the end of the
// changelog stay where they are, but for what is two above the process's share. Others go to
// a process below its share, to one that has a copy on disk, the nearest first, then to
// another rack, then to where there are fewest.
func (w *work) standbys(n int, tasks []offsets.Task, given map[offsets.Task]int, shares []Share) {
	s := standbys{work: w, given: given, shares: shares, has: map[string]int{}, at: map[offsets.Task][]string{}}
	free := map[string]int{} // tasks that the process does not own
	for i, m := range w.members {
		if m != nil {
			free[w.in[i].Process] = len(given)
		}
	}
	if s.n = min(n, len(free)-1); s.n <= 0 {
		return
	}
	nearest := make(map[offsets.Task]int)
	for _, t := range tasks {
		if _, ok := given[t]; !ok {
			continue
		}
		s.tasks = append(s.tasks, t)
		free[w.in[given[t]].Process]--
		nearest[t] = noCopy
		for _, i := range s.candidates(t) {
			nearest[t] = min(nearest[t], w.lag(i, t))
		}
	}
	for sum := 0; sum < s.n*len(s.tasks) && s.share < len(s.tasks); s.share++ {
		for _, f := range free {
			if f > s.share {
				sum++
			}
		}
	}
	for _, t := range s.tasks {
		for _, i := range s.candidates(t) {
			if w.lag(i, t) == 0 && s.has[w.in[i].Process] <= s.share {
				s.give(i, t)
			}
		}
	}
	// Then tasks of which somebody has a copy, or others take the place.
	slices.SortStableFunc(s.tasks, func(t, u offsets.Task) int { return cmp.Compare(nearest[t], nearest[u]) })
	for _, t := range s.tasks {
		order := s.candidates(t)
		slices.SortFunc(order, func(i, j int) int { return s.better(t, i, j) })
		for _, i := range order {
			s.give(i, t)
		}
	}
	for i := range shares {
		slices.SortFunc(shares[i].Standbys, offsets.Task.Compare)
	}
}

// standbys is the state of one call.
type standbys struct {
	*work
	n, share int
	tasks    []offsets.Task
	given    map[offsets.Task]int
	shares   []Share
	has      map[string]int            // copies in a process
	at       map[offsets.Task][]string // processes that have one
}

// candidates are the members that may follow the task.
func (s *standbys) candidates(t offsets.Task) (list []int) {
	for i := range s.members {
		if s.eligible(i, t) && s.in[i].Process != s.in[s.given[t]].Process {
			list = append(list, i)
		}
	}
	return list
}

func (s *standbys) better(t offsets.Task, i, j int) int {
	a, b, home := s.in[i], s.in[j], s.in[s.given[t]]
	return cmp.Or(
		compareBool(s.has[a.Process] >= s.share, s.has[b.Process] >= s.share),
		cmp.Compare(s.lag(i, t), s.lag(j, t)),
		compareBool(a.Rack == home.Rack, b.Rack == home.Rack),
		cmp.Compare(s.has[a.Process], s.has[b.Process]),
		cmp.Compare(s.process[a.Process], s.process[b.Process]),
		cmp.Compare(len(s.shares[i].Standbys), len(s.shares[j].Standbys)),
		cmp.Compare(i, j),
	)
}

func (s *standbys) give(i int, t offsets.Task) {
	p := s.in[i].Process
	if len(s.at[t]) == s.n || slices.Contains(s.at[t], p) {
		return
	}
	s.at[t] = append(s.at[t], p)
	s.has[p]++
	s.shares[i].Standbys = append(s.shares[i].Standbys, t)
}

// noCopy is worse than any lag.
const noCopy = 1 << 8

// lag of the copy of a task that a member holds.
func (w *work) lag(i int, t offsets.Task) int {
	if l, holds := w.members[i].local[t]; holds {
		return int(l)
	}
	return noCopy
}
