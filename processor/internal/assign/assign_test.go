package assign

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

func tasks(text string) (list []offsets.Task) {
	for _, s := range strings.Fields(text) {
		t, err := offsets.ParseTask(s)
		if err != nil {
			panic(err)
		}
		list = append(list, t)
	}
	return list
}

// plan: sub 0 has no state, sub 1 has.
func plan(stateless, stateful int32) []Part {
	return []Part{{Sub: 0, Partitions: stateless, Hash: 1}, {Sub: 1, Partitions: stateful, Stateful: true, Hash: 2}}
}

func text(r Result) string {
	var b strings.Builder
	for _, s := range r.Shares {
		fmt.Fprintf(&b, "%s:", s.Member)
		for _, t := range s.Tasks {
			fmt.Fprintf(&b, " %s", t)
		}
		if s.Refused != "" {
			b.WriteString(" refused")
		}
		b.WriteString("; ")
	}
	for _, t := range r.Withheld {
		fmt.Fprintf(&b, "withheld %s ", t)
	}
	return strings.TrimSpace(b.String())
}

func TestAssign(t *testing.T) {
	p := plan(0, 4)
	tests := []struct {
		name    string
		members []Member
		want    string
	}{
		{"one member has all", []Member{{ID: "a", Parts: p}}, "a: 1-0 1-1 1-2 1-3;"},
		{"a new member: two tasks are withheld until their owner lets go",
			[]Member{{ID: "a", Parts: p, Generation: 1, Claims: tasks("1-0 1-1 1-2 1-3")}, {ID: "b", Parts: p}},
			"a: 1-0 1-1; b:; withheld 1-2 withheld 1-3"},
		{"and then given",
			[]Member{{ID: "a", Parts: p, Generation: 2, Claims: tasks("1-0 1-1")}, {ID: "b", Parts: p}},
			"a: 1-0 1-1; b: 1-2 1-3;"},
		{"the new member takes what it has state of",
			[]Member{{ID: "a", Parts: p, Generation: 1, Claims: tasks("1-0 1-1 1-2 1-3")}, {ID: "b", Parts: p, Local: []Local{{tasks("1-0")[0], 3}, {tasks("1-2")[0], 0}}}},
			"a: 1-1 1-3; b:; withheld 1-0 withheld 1-2"},
		{"free tasks go to the best copy of their state",
			[]Member{{ID: "a", Parts: p, Local: []Local{{tasks("1-3")[0], 5}, {tasks("1-1")[0], 0}}}, {ID: "b", Parts: p, Local: []Local{{tasks("1-3")[0], 1}, {tasks("1-0")[0], 9}}}},
			"a: 1-1 1-2; b: 1-0 1-3;"},
		{"local state does not break the balance",
			[]Member{{ID: "a", Parts: p, Local: []Local{{tasks("1-0")[0], 0}, {tasks("1-1")[0], 0}, {tasks("1-2")[0], 0}, {tasks("1-3")[0], 0}}}, {ID: "b", Parts: p}},
			"a: 1-0 1-1; b: 1-2 1-3;"},
		{"the claim of the higher generation wins",
			[]Member{{ID: "a", Parts: p, Generation: 3, Claims: tasks("1-0 1-1")}, {ID: "b", Parts: p, Generation: 5, Claims: tasks("1-1 1-2 1-3")}},
			"a: 1-0; b: 1-1 1-2; withheld 1-3"},
		{"a claim of an older generation holds when nobody has a newer one",
			[]Member{{ID: "a", Parts: p, Generation: 3, Claims: tasks("1-0 1-1")}, {ID: "b", Parts: p, Generation: 5, Claims: tasks("1-2 1-3")}},
			"a: 1-0 1-1; b: 1-2 1-3;"},
		{"two owners in one generation both let go",
			[]Member{{ID: "a", Parts: p, Generation: 5, Claims: tasks("1-0 1-1")}, {ID: "b", Parts: p, Generation: 5, Claims: tasks("1-1 1-2 1-3")}},
			"a: 1-0; b: 1-2 1-3; withheld 1-1"},
		{"a static member that missed the rebalance keeps its tasks",
			[]Member{{ID: "a", Instance: "x", Parts: p, Past: tasks("1-2 1-3")}, {ID: "b", Parts: p, Generation: 4, Claims: tasks("1-0 1-1")}},
			"a: 1-2 1-3; b: 1-0 1-1;"},
		{"what it does not need moves at once: it is fenced",
			[]Member{{ID: "a", Instance: "x", Parts: p, Past: tasks("1-0 1-1 1-2 1-3")}, {ID: "b", Parts: p}},
			"a: 1-0 1-1; b: 1-2 1-3;"},
		{"more members than tasks: processes share them",
			[]Member{{ID: "a0", Process: "a", Parts: p}, {ID: "a1", Process: "a", Parts: p}, {ID: "a2", Process: "a", Parts: p}, {ID: "a3", Process: "a", Parts: p},
				{ID: "b0", Process: "b", Parts: p}, {ID: "b1", Process: "b", Parts: p}},
			"a0: 1-0; a1: 1-2; a2:; a3:; b0: 1-1; b1: 1-3;"},
		{"no members", nil, ""},
	}
	for _, tt := range tests {
		if got := text(Assign(Input{Leader: "a", Members: tt.members})); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// Members of a rolling deploy run different plans in one group.
func TestAssignPlans(t *testing.T) {
	p := plan(2, 2)
	wider := append(plan(2, 2), Part{Sub: 2, Partitions: 3, Hash: 3})
	other := plan(2, 3)
	hash := plan(2, 2)
	hash[1].Hash = 9
	owns := tasks("0-0")
	tests := []struct {
		name        string
		members     []Member
		want, plan  string
		refusalSays string
	}{
		{"tasks go only to members whose plan has them",
			[]Member{{ID: "a", Fingerprint: "v1", Parts: p}, {ID: "b", Fingerprint: "v2", Parts: wider}, {ID: "c", Fingerprint: "v1", Parts: p}},
			"a: 0-1 1-0; b: 1-1 2-0 2-1 2-2; c: 0-0;", "v1", ""},
		{"an incompatible newcomer is refused",
			[]Member{{ID: "a", Fingerprint: "v1", Parts: p, Claims: owns}, {ID: "b", Fingerprint: "v2", Parts: other}},
			"a: 0-0 0-1 1-0 1-1; b: refused;", "v1", "sub-topology 1 has 3 tasks instead of 2"},
		{"also when it leads",
			[]Member{{ID: "b", Fingerprint: "v1", Parts: p, Claims: owns}, {ID: "a", Fingerprint: "v2", Parts: hash}},
			"a: refused; b: 0-0 0-1 1-0 1-1;", "v1", "plan v2 does not fit plan v1 that the group runs: sub-topology 1 is another one"},
		{"the leader decides between equals",
			[]Member{{ID: "b", Fingerprint: "v1", Parts: p}, {ID: "a", Fingerprint: "v2", Parts: other}},
			"a: 0-0 0-1 1-0 1-1 1-2; b: refused;", "v2", "has 2 tasks instead of 3"},
		{"what a refused member holds is withheld",
			[]Member{{ID: "a", Fingerprint: "v1", Parts: p, Claims: owns}, {ID: "c", Fingerprint: "v1", Parts: p}, {ID: "b", Fingerprint: "v2", Parts: other, Claims: tasks("1-0")}},
			"a: 0-0; b: refused; c: 0-1 1-1; withheld 1-0", "v1", ""},
	}
	for _, tt := range tests {
		r := Assign(Input{Leader: "a", Members: tt.members})
		if got := text(r); got != tt.want || r.Fingerprint != tt.plan {
			t.Errorf("%s:\ngot  %s %s\nwant %s %s", tt.name, r.Fingerprint, got, tt.plan, tt.want)
		}
		for _, s := range r.Shares {
			if s.Refused != "" && !strings.Contains(s.Refused, tt.refusalSays) {
				t.Errorf("%s: refused with %q", tt.name, s.Refused)
			}
		}
	}
}

// count gives how many tasks of each class the member has.
func count(list []offsets.Task) (stateless, stateful int) {
	for _, t := range list {
		if t.Sub == 0 {
			stateless++
		} else {
			stateful++
		}
	}
	return
}

// random builds members of one plan; claims are disjoint within a generation.
func random(rng *rand.Rand) (members []Member, n [2]int32) {
	n = [2]int32{rng.Int32N(30), rng.Int32N(30)}
	p := plan(n[0], n[1])
	for i := range 1 + rng.IntN(9) {
		m := Member{ID: fmt.Sprintf("m%d", i), Process: fmt.Sprintf("p%d", i%3), Rack: fmt.Sprint(i % 2), Parts: p, Generation: 7}
		if rng.IntN(2) == 0 {
			m.Instance = fmt.Sprintf("i%d", rng.IntN(1000)*10+i)
		}
		for range rng.IntN(10) {
			sub := rng.IntN(2)
			if n[sub] > 0 {
				m.Local = append(m.Local, Local{offsets.Task{Sub: int32(sub), Partition: rng.Int32N(n[sub])}, uint8(rng.IntN(4))})
			}
		}
		members = append(members, m)
	}
	for sub := range n {
		for q := range n[sub] {
			// Some members are preferred, so that loads are uneven.
			if i := min(rng.IntN(len(members)+1), rng.IntN(len(members)+2)); i < len(members) {
				members[i].Claims = append(members[i].Claims, offsets.Task{Sub: int32(sub), Partition: q})
			}
		}
	}
	return members, n
}

// apply lets every member take its share: the input of the rebalance that follows.
func apply(members []Member, r Result) []Member {
	next := slices.Clone(members)
	for i := range next {
		for _, s := range r.Shares {
			if s.Member == next[i].ID {
				next[i].Claims, next[i].Past = s.Tasks, nil
				next[i].Generation++
			}
		}
	}
	return next
}

func TestAssignProperties(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		members, n := random(rng)
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d: %s\n%+v", seed, fmt.Sprintf(format, args...), members)
		}
		r := Assign(Input{Leader: "m0", Members: members})
		shuffled := slices.Clone(members)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i := range shuffled {
			shuffled[i].Claims = slices.Clone(shuffled[i].Claims)
			rng.Shuffle(len(shuffled[i].Claims), func(a, b int) {
				c := shuffled[i].Claims
				c[a], c[b] = c[b], c[a]
			})
		}
		if other := Assign(Input{Leader: "m0", Members: shuffled}); !reflect.DeepEqual(r, other) {
			fail("the order of the input matters: %s\n%s", text(r), text(other))
		}
		// Nobody gets what somebody else holds; nothing is lost or given twice.
		holder := make(map[offsets.Task]string)
		for _, m := range members {
			for _, c := range m.Claims {
				holder[c] = m.ID
			}
		}
		seen := make(map[offsets.Task]bool)
		once := func(task offsets.Task) {
			if seen[task] {
				fail("%s is given twice: %s", task, text(r))
			}
			seen[task] = true
		}
		for _, s := range r.Shares {
			for _, task := range s.Tasks {
				once(task)
				if h, held := holder[task]; held && h != s.Member {
					fail("%s goes to %s while %s holds it", task, s.Member, h)
				}
			}
		}
		for _, task := range r.Withheld {
			once(task)
			if holder[task] == "" {
				fail("%s is withheld although nobody holds it", task)
			}
		}
		if len(seen) != int(n[0]+n[1]) {
			fail("%d of %d tasks are given: %s", len(seen), n[0]+n[1], text(r))
		}
		wantFewMoves(fail, members, r, n)
		// The rebalances that follow: at the end all is given and balanced, and nothing
		// changes any more.
		rounds := 0
		for len(r.Withheld) > 0 {
			if rounds++; rounds > 3 {
				fail("still withheld after %d rounds: %s", rounds, text(r))
			}
			members = apply(members, r)
			r = Assign(Input{Leader: "m0", Members: members})
		}
		wantBalance(fail, r)
		again := Assign(Input{Leader: "m0", Members: apply(members, r)})
		if !reflect.DeepEqual(r, again) {
			fail("not stable: %s\nthen %s", text(r), text(again))
		}
	}
}

func wantBalance(fail func(string, ...any), r Result) {
	var class [2][]int
	var total []int
	for _, s := range r.Shares {
		stateless, stateful := count(s.Tasks)
		class[0], class[1] = append(class[0], stateless), append(class[1], stateful)
		total = append(total, len(s.Tasks))
	}
	for _, list := range append(class[:], total) {
		if slices.Max(list)-slices.Min(list) > 1 {
			fail("not balanced: %s", text(r))
		}
	}
}

// wantFewMoves compares the tasks that stay with the most that a balanced result can let
// stay: a member keeps up to floor(tasks/members), and remainder-many keep one more.
func wantFewMoves(fail func(string, ...any), members []Member, r Result, n [2]int32) {
	claimed := make(map[string][2]int)
	kept := [2]int{}
	for _, m := range members {
		stateless, stateful := count(m.Claims)
		claimed[m.ID] = [2]int{stateless, stateful}
		for _, s := range r.Shares {
			if s.Member == m.ID {
				for _, task := range s.Tasks {
					if slices.Contains(m.Claims, task) {
						kept[task.Sub]++
					}
				}
			}
		}
	}
	best := func(sub, extra int, of []string) (sum int) {
		floor, above := int(n[sub])/len(members), 0
		for _, id := range of {
			sum += min(claimed[id][sub], floor)
			if claimed[id][sub] > floor {
				above++
			}
		}
		return sum + min(extra, above)
	}
	var all []string
	for _, m := range members {
		all = append(all, m.ID)
	}
	if want := best(1, int(n[1])%len(members), all); kept[1] != want {
		fail("%d stateful tasks stay where they are, %d could: %s", kept[1], want, text(r))
	}
	// Stateless tasks also even out the sums: the bound holds up to one task per member.
	if want := best(0, int(n[0])%len(members), all); kept[0] < want-len(members) {
		fail("%d stateless tasks stay where they are, %d could: %s", kept[0], want, text(r))
	}
}

// Tasks that only some members know are balanced among those, over chains where needed.
func TestAssignPropertiesOfMixedPlans(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var all []Part
		for sub := range int32(4) {
			all = append(all, Part{Sub: sub, Partitions: rng.Int32N(8), Stateful: sub%2 == 1, Hash: uint64(sub)})
		}
		var members []Member
		for i := range 2 + rng.IntN(6) {
			m := Member{ID: fmt.Sprintf("m%d", i), Generation: rng.Int32N(3)}
			for _, p := range all {
				if rng.IntN(3) > 0 {
					m.Parts = append(m.Parts, p)
				}
			}
			m.Fingerprint = fmt.Sprint(m.Parts)
			for range rng.IntN(6) {
				if p := all[rng.IntN(4)]; p.Partitions > 0 {
					task := offsets.Task{Sub: p.Sub, Partition: rng.Int32N(p.Partitions)}
					if rng.IntN(3) > 0 {
						m.Claims = append(m.Claims, task) // may be torn, of older generations, or of no own plan
					} else {
						m.Past = append(m.Past, task)
					}
				}
			}
			members = append(members, m)
		}
		knows := func(id string, sub int32) bool {
			i := slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
			return slices.ContainsFunc(members[i].Parts, func(p Part) bool { return p.Sub == sub })
		}
		want := 0
		for _, p := range all {
			if slices.ContainsFunc(members, func(m Member) bool { return slices.Contains(m.Parts, p) }) {
				want += int(p.Partitions)
			}
		}
		in := Input{Leader: "m0", Members: members}
		r := Assign(in)
		for round := 0; ; round++ {
			given := len(r.Withheld)
			for _, s := range r.Shares {
				given += len(s.Tasks)
				for _, task := range s.Tasks {
					if !knows(s.Member, task.Sub) {
						t.Fatalf("seed %d: %s does not know %s", seed, s.Member, task)
					}
				}
			}
			if given != want {
				t.Fatalf("seed %d: %d of %d tasks are given: %s", seed, given, want, text(r))
			}
			if len(r.Withheld) == 0 {
				break
			}
			if round > 3 {
				t.Fatalf("seed %d: still withheld: %s", seed, text(r))
			}
			in.Members = apply(in.Members, r)
			r = Assign(in)
		}
		in.Members = apply(in.Members, r)
		if again := Assign(in); text(r) != text(again) {
			t.Fatalf("seed %d: not stable: %s\nthen %s", seed, text(r), text(again))
		}
		// No task can go directly from a member to one that has two fewer of its class.
		for _, a := range r.Shares {
			for _, b := range r.Shares {
				for _, task := range a.Tasks {
					class := func(s Share) (n int) {
						for _, u := range s.Tasks {
							if u.Sub%2 == task.Sub%2 {
								n++
							}
						}
						return n
					}
					if knows(b.Member, task.Sub) && class(a)-class(b) >= 2 {
						t.Fatalf("seed %d: %s could go from %s to %s: %s", seed, task, a.Member, b.Member, text(r))
					}
				}
			}
		}
	}
}

func large() []Member {
	p := plan(500, 500)
	rng := rand.New(rand.NewPCG(1, 4))
	var members []Member
	for i := range 64 {
		m := Member{ID: fmt.Sprintf("member-%02d", i), Instance: fmt.Sprintf("pod-%d.%d", i/4, i%4), Process: fmt.Sprintf("pod-%d", i/4), Parts: p, Generation: 3}
		for range 40 {
			m.Local = append(m.Local, Local{offsets.Task{Sub: 1, Partition: rng.Int32N(500)}, uint8(rng.IntN(6))})
		}
		members = append(members, m)
	}
	return members
}

func BenchmarkAssign64x1000(b *testing.B) {
	fresh := large()
	settled := apply(fresh, Assign(Input{Members: fresh}))
	one := slices.Clone(settled)
	for i := range one[1:] { // one member has all
		one[0].Claims = append(one[0].Claims, one[i+1].Claims...)
		one[i+1].Claims = nil
	}
	for _, bb := range []struct {
		name    string
		members []Member
	}{{"fresh", fresh}, {"settled", settled}, {"grown", settled[:60]}, {"one-has-all", one}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				Assign(Input{Members: bb.members})
			}
		})
	}
}
