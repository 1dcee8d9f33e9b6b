package assign

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

func standbysOf(r Result, member string) []offsets.Task {
	for _, s := range r.Shares {
		if s.Member == member {
			return s.Standbys
		}
	}
	return nil
}

func TestStandbys(t *testing.T) {
	p := plan(2, 2)
	two := []Member{
		{ID: "a", Process: "a", Parts: p, Claims: tasks("0-0 1-0"), Generation: 1},
		{ID: "b", Process: "b", Parts: p, Claims: tasks("0-1 1-1"), Generation: 1},
	}
	local := func(m Member, task string, lag uint8) Member {
		m.Local = append(slices.Clone(m.Local), Local{tasks(task)[0], lag})
		return m
	}
	c, d := Member{ID: "c", Process: "c", Parts: p}, Member{ID: "d", Process: "d", Rack: "z", Parts: p}
	for _, c := range []struct {
		name    string
		n       int
		members []Member
		want    string
	}{
		{"none are asked for", 0, two, "a [] b []"},
		{"each has that of the other", 1, two, "a [1-1] b [1-0]"},
		{"there are no more processes", 3, two, "a [1-1] b [1-0]"},
		{"nobody to give them to", 1, two[:1], "a []"},
		{"a lane of the owner's process is no help", 1, []Member{two[0], {ID: "a2", Process: "a", Parts: p}}, "a [] a2 []"},
		{"where a copy is", 1, append(slices.Clone(two), local(c, "1-1", 3)), "a [] b [1-0] c [1-1]"},
		{"the nearer one", 1, append(slices.Clone(two), local(c, "1-0", 3), local(d, "1-0", 2)), "a [] b [] c [1-1] d [1-0]"},
		{"in another rack", 1, append(slices.Clone(two), d, c), "a [] b [] c [1-1] d [1-0]"},
	} {
		in := Input{Leader: "a", Members: c.members, Standbys: c.n}
		r := Assign(in)
		got := ""
		for _, s := range r.Shares {
			got += fmt.Sprintf(" %s %v", s.Member, s.Standbys)
		}
		if got[1:] != c.want {
			t.Errorf("%s: %s, want %s", c.name, got[1:], c.want)
		}
	}
}

func TestStandbysProperties(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		members, n := random(rng)
		want := rng.IntN(3)
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d: %s\n%+v", seed, fmt.Sprintf(format, args...), members)
		}
		in := Input{Leader: "m0", Members: members, Standbys: want}
		r := Assign(in)
		without := Assign(Input{Leader: "m0", Members: members})
		for i := range r.Shares {
			if !slices.Equal(r.Shares[i].Tasks, without.Shares[i].Tasks) {
				fail("standbys change who works: %s\n%s", text(r), text(without))
			}
		}
		for len(r.Withheld) > 0 {
			in.Members = apply(in.Members, r)
			r = Assign(in)
		}
		process := map[string]string{}
		processes := map[string]bool{}
		for _, m := range members {
			process[m.ID] = m.Process
			processes[m.Process] = true
		}
		copies := map[offsets.Task]map[string]bool{} // the owner's process, and those of standbys
		for _, s := range r.Shares {
			for _, task := range s.Tasks {
				copies[task] = map[string]bool{process[s.Member]: true}
			}
		}
		load := map[string]int{}
		for _, s := range r.Shares {
			if !slices.IsSortedFunc(s.Standbys, offsets.Task.Compare) {
				fail("not in order: %v", s.Standbys)
			}
			for _, task := range s.Standbys {
				if p := process[s.Member]; task.Sub != 1 || copies[task][p] {
					fail("%s has a second copy of %s, or one without state", p, task)
				} else {
					copies[task][p] = true
					load[p]++
				}
			}
		}
		for q := range n[1] {
			if task := (offsets.Task{Sub: 1, Partition: q}); len(copies[task]) != 1+min(want, len(processes)-1) {
				fail("%s has %d copies of %d, in %d processes", task, len(copies[task]), 1+want, len(processes))
			}
		}
		// They follow, and say so: nothing moves any more.
		next := apply(in.Members, r)
		for i := range next {
			next[i].Local = nil
			for _, task := range slices.Concat(next[i].Claims, standbysOf(r, next[i].ID)) {
				next[i].Local = append(next[i].Local, Local{task, 0})
			}
		}
		in.Members = next
		if again := Assign(in); !reflect.DeepEqual(r, again) {
			fail("not stable")
		}
	}
}

func warmingOf(r Result) (all []offsets.Task) {
	for _, s := range r.Shares {
		all = append(all, s.Warming...)
	}
	return all
}

// A task with state stays where it is until the member that it is to move to has a copy.
func TestWarmUp(t *testing.T) {
	p := plan(2, 4)
	old := Member{ID: "a", Process: "a", Parts: p, Claims: tasks("0-0 0-1 1-0 1-1 1-2 1-3"), Generation: 1}
	joined := func(local ...Local) Member { return Member{ID: "b", Process: "b", Parts: p, Local: local} }
	gone := old
	gone.Claims = nil
	stranger := old
	stranger.Parts = plan(2, 4)
	stranger.Parts[1].Hash++
	for _, c := range []struct {
		name    string
		n       int
		members []Member
		want    string // who has what, who warms what; withheld
	}{
		{"at once", 0, []Member{old, joined()}, "a [0-0 1-0 1-1] [] b [] [] withheld [0-1 1-2 1-3]"},
		{"one after the other", 1, []Member{old, joined()}, "a [0-0 1-0 1-1 1-2 1-3] [] b [] [1-2] withheld [0-1]"},
		{"both", 2, []Member{old, joined()}, "a [0-0 1-0 1-1 1-2 1-3] [] b [] [1-2 1-3] withheld [0-1]"},
		{"what is in the making goes on", 1, []Member{old, joined(Local{tasks("1-0")[0], 9})}, "a [0-0 1-0 1-1 1-2 1-3] [] b [] [1-0] withheld [0-1]"},
		{"what is warm moves, the next is made", 1, []Member{old, joined(Local{tasks("1-2")[0], warm})}, "a [0-0 1-0 1-1 1-3] [] b [] [1-3] withheld [0-1 1-2]"},
		{"all are warm", 1, []Member{old, joined(Local{tasks("1-2")[0], 0}, Local{tasks("1-3")[0], 1})}, "a [0-0 1-0 1-1] [] b [] [] withheld [0-1 1-2 1-3]"},
		{"the owner is gone", 2, []Member{gone, joined()}, "a [0-0 1-0 1-2] [] b [0-1 1-1 1-3] [] withheld []"},
		{"the owner may not keep it", 2, []Member{stranger, joined(), {ID: "c", Process: "c", Parts: p, Claims: tasks(""), Generation: 1}, {ID: "d", Process: "d", Parts: p}},
			"a [] [] b [] [] c [] [] d [] [] withheld [0-0 0-1 1-0 1-1 1-2 1-3]"},
	} {
		in := Input{Leader: "b", Members: c.members, Warmups: c.n}
		if c.name == "the owner may not keep it" { // more run the other plan
			for i := range in.Members[1:] {
				in.Members[i+1].Claims = tasks(fmt.Sprintf("0-%d", i%2))
				in.Members[i+1].Generation = 0
			}
		}
		r := Assign(in)
		got := ""
		for _, s := range r.Shares {
			got += fmt.Sprintf("%s %v %v ", s.Member, s.Tasks, s.Warming)
		}
		if got += fmt.Sprintf("withheld %v", r.Withheld); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
}

// Whoever joins or leaves: after some rebalances, one for each batch of copies and one for each letting go, all is as
// it is without warm-ups, balanced and still. On the way nothing with state moves from a member that could keep it to
// one without a copy.
func TestWarmUpProperties(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 4))
		members, n := random(rng)
		in := Input{Leader: "m0", Members: members, Standbys: rng.IntN(2), Warmups: 1 + rng.IntN(3)}
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d: %s\n%+v", seed, fmt.Sprintf(format, args...), members)
		}
		had := map[offsets.Task]string{} // who had it last, if that is certain
		claims := map[offsets.Task]int{}
		for _, m := range members {
			for _, task := range slices.Concat(m.Claims, m.Past) {
				claims[task]++
				had[task] = m.ID
			}
			for _, task := range m.Past {
				claims[task] = 2
			}
		}
		for task, n := range claims {
			if n > 1 {
				delete(had, task)
			}
		}
		rounds := 0
		for r := Assign(in); ; r = Assign(in) {
			warming := warmingOf(r)
			if len(warming) > in.Warmups {
				fail("%d are copied at a time, want %d", len(warming), in.Warmups)
			}
			near := map[string]map[offsets.Task]bool{} // copies, by member
			for _, m := range in.Members {
				near[m.ID] = map[offsets.Task]bool{}
				for _, l := range m.Local {
					near[m.ID][l.Task] = near[m.ID][l.Task] || l.Lag <= warm
				}
			}
			for _, s := range r.Shares {
				for _, task := range s.Warming {
					if had[task] == s.Member || task.Sub != 1 || near[s.Member][task] {
						fail("%s copies %s, which it has, or which has no state", s.Member, task)
					}
				}
				for _, task := range s.Tasks {
					if from, ok := had[task]; ok && from != s.Member && task.Sub == 1 && !near[s.Member][task] {
						fail("%s moves from %s to %s, which has no copy", task, from, s.Member)
					}
					had[task] = s.Member
				}
			}
			if len(r.Withheld) == 0 && len(warming) == 0 {
				stateless, stateful := map[int]int{}, map[int]int{}
				for i, s := range r.Shares {
					stateless[i], stateful[i] = count(s.Tasks)
				}
				low, high := int(n[1]), 0
				for _, c := range stateful {
					low, high = min(low, c), max(high, c)
				}
				if high-low > 1 {
					fail("not balanced in the end: %v", stateful)
				}
				break
			}
			if rounds++; rounds > 3*int(n[0]+n[1])+5 {
				fail("no end after %d rebalances: %s", rounds, text(r))
			}
			next := apply(in.Members, r)
			for i := range next {
				for _, s := range r.Shares {
					if s.Member == next[i].ID {
						for _, task := range slices.Concat(s.Warming, next[i].Claims) {
							next[i].Local = append(slices.Clone(next[i].Local), Local{task, 0})
						}
					}
				}
			}
			in.Members = next
		}
	}
}
