package assign

import (
	"cmp"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// nobody is the index of no member.
const nobody = -1

// member is a compatible Member while tasks are handed out.
type member struct {
	knows map[int32]bool // sub-topologies of its plan
	local map[offsets.Task]uint8
	class int // tasks of the class in work
	total int // tasks of all classes
	tasks []offsets.Task
}

// work is the state of one call.
type work struct {
	in      []*Member
	members []*member // nil for a refused one
	process map[string]int
	rack    map[string]int
	owner   map[offsets.Task]int  // who may keep the task
	firm    map[offsets.Task]bool // the owner holds it now: it must let go before it moves
	torn    map[offsets.Task]bool // several hold it in one generation: all must let go
	heir    map[offsets.Task]bool // nobody holds it, the owner is who has a warm copy
}

// Assign gives each task to a member. See the package for what holds.
func Assign(in Input) Result {
	w := &work{
		process: make(map[string]int), rack: make(map[string]int),
		owner: make(map[offsets.Task]int), firm: make(map[offsets.Task]bool), torn: make(map[offsets.Task]bool), heir: make(map[offsets.Task]bool),
	}
	for i := range in.Members {
		w.in = append(w.in, &in.Members[i])
	}
	slices.SortFunc(w.in, func(a, b *Member) int { return cmp.Or(cmp.Compare(a.key(), b.key()), cmp.Compare(a.ID, b.ID)) })
	r := Result{Shares: make([]Share, len(w.in))}
	for i, m := range w.in {
		r.Shares[i].Member = m.ID
	}
	var union []Part
	r.Fingerprint, union = plans(in.Leader, w.in, r.Shares)
	w.members = make([]*member, len(w.in))
	for i, m := range w.in {
		if r.Shares[i].Refused == "" {
			w.members[i] = newMember(m)
		}
	}
	w.claims()
	if in.Warmups > 0 {
		w.heirs(union)
	}
	// Stateful first: they are the ones that cost to move, so the stateless ones even out
	// what is left.
	given := make(map[offsets.Task]int)
	for _, stateful := range []bool{true, false} {
		var tasks []offsets.Task
		for _, p := range union {
			for n := range p.Partitions {
				if p.Stateful == stateful {
					tasks = append(tasks, offsets.Task{Sub: p.Sub, Partition: n})
				}
			}
		}
		w.class(tasks, stateful)
		for i, m := range w.members {
			if m != nil {
				for _, t := range m.tasks {
					given[t] = i
				}
				m.tasks, m.class = nil, 0
			}
		}
		if stateful {
			w.warmUp(in.Warmups, tasks, given, r.Shares)
			w.standbys(in.Standbys, tasks, given, r.Shares)
		}
	}
	for t, i := range given {
		if w.torn[t] || w.firm[t] && w.owner[t] != i {
			r.Withheld = append(r.Withheld, t)
		} else {
			r.Shares[i].Tasks = append(r.Shares[i].Tasks, t)
		}
	}
	for i := range r.Shares {
		slices.SortFunc(r.Shares[i].Tasks, offsets.Task.Compare)
	}
	slices.SortFunc(r.Withheld, offsets.Task.Compare)
	return r
}

func newMember(in *Member) *member {
	m := &member{knows: make(map[int32]bool, len(in.Parts)), local: make(map[offsets.Task]uint8, len(in.Local))}
	for _, p := range in.Parts {
		m.knows[p.Sub] = true
	}
	for _, l := range in.Local {
		if lag, twice := m.local[l.Task]; !twice || l.Lag < lag {
			m.local[l.Task] = l.Lag
		}
	}
	return m
}

// claims settles who owns each task now. The claim of the highest generation wins: the loser
// missed the rebalance in which the task was taken from it. Refused members claim too: what
// they hold must not be given away before they let go.
func (w *work) claims() {
	generation := make(map[offsets.Task]int32)
	for i, m := range w.in {
		for _, t := range m.Claims {
			switch g, claimed := generation[t]; {
			case !claimed || m.Generation > g:
				w.owner[t], w.firm[t], w.torn[t] = i, true, false
				generation[t] = m.Generation
			case m.Generation == g && w.owner[t] != i:
				w.torn[t] = true
			}
		}
	}
	for i, m := range w.in {
		for _, t := range m.Past {
			if _, claimed := w.owner[t]; !claimed {
				w.owner[t] = i
			}
		}
	}
}

// eligible says whether member i may run the task.
func (w *work) eligible(i int, t offsets.Task) bool {
	return w.members[i] != nil && w.members[i].knows[t.Sub]
}

func (w *work) give(i int, t offsets.Task) {
	m := w.members[i]
	m.tasks = append(m.tasks, t)
	w.count(i, 1)
}

func (w *work) count(i, by int) {
	w.members[i].class += by
	w.members[i].total += by
	w.process[w.in[i].Process] += by
	w.rack[w.in[i].Rack] += by
}

// lighter orders members by what they have: the class in work first, then everything, then
// what their process and rack have.
func (w *work) lighter(i, j int) int {
	a, b := w.members[i], w.members[j]
	return cmp.Or(
		cmp.Compare(a.class, b.class),
		cmp.Compare(a.total, b.total),
		cmp.Compare(w.process[w.in[i].Process], w.process[w.in[j].Process]),
		cmp.Compare(w.rack[w.in[i].Rack], w.rack[w.in[j].Rack]),
		cmp.Compare(i, j),
	)
}

// class hands out the tasks of one weight class: owners keep theirs, free tasks go to local
// state or to the lightest member, then the balance takes what it needs.
func (w *work) class(tasks []offsets.Task, stateful bool) {
	var free []offsets.Task
	for _, t := range tasks {
		if i, owned := w.owner[t]; owned && w.eligible(i, t) {
			w.give(i, t)
		} else {
			free = append(free, t)
		}
	}
	if stateful {
		free = w.giveLocal(free, len(tasks))
	}
	for _, t := range free {
		lightest := nobody
		for i := range w.members {
			if w.eligible(i, t) && (lightest == nobody || w.lighter(i, lightest) < 0) {
				lightest = i
			}
		}
		if lightest != nobody {
			w.give(lightest, t)
		}
	}
	w.balance()
}

// giveLocal gives free tasks to members that hold their state, best copy first, as long as
// that pushes nobody else's task away: a member takes floor(tasks/members), and one more only
// while fewer than the remainder have more.
func (w *work) giveLocal(free []offsets.Task, tasks int) (left []offsets.Task) {
	type offer struct {
		lag    uint8
		task   offsets.Task
		member int
	}
	var offers []offer
	members, above := 0, 0
	for i, m := range w.members {
		if m == nil {
			continue
		}
		members++
		for _, t := range free {
			if lag, holds := m.local[t]; holds && w.eligible(i, t) {
				offers = append(offers, offer{lag, t, i})
			}
		}
	}
	if len(offers) == 0 {
		return free
	}
	floor, rest := tasks/members, tasks%members
	for _, m := range w.members {
		if m != nil && m.class > floor {
			above++
		}
	}
	slices.SortFunc(offers, func(a, b offer) int {
		return cmp.Or(cmp.Compare(a.lag, b.lag), a.task.Compare(b.task), cmp.Compare(a.member, b.member))
	})
	placed := make(map[offsets.Task]bool)
	for len(offers) > 0 {
		// All offers of one task and lag stand together: the lightest of them takes it.
		n := 1
		for n < len(offers) && offers[n].lag == offers[0].lag && offers[n].task == offers[0].task {
			n++
		}
		best := nobody
		for _, o := range offers[:n] {
			if has := w.members[o.member].class; has < floor || has == floor && above < rest {
				if best == nobody || w.lighter(o.member, best) < 0 {
					best = o.member
				}
			}
		}
		if t := offers[0].task; best != nobody && !placed[t] {
			if w.members[best].class == floor {
				above++
			}
			w.give(best, t)
			placed[t] = true
		}
		offers = offers[n:]
	}
	return slices.DeleteFunc(free, func(t offsets.Task) bool { return placed[t] })
}
