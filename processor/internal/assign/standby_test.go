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
