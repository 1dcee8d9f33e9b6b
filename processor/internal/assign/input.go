package assign

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// Part is what a member's plan says about one sub-topology. Two parts with the same number
// are compatible only if they are equal.
type Part struct {
	Sub        int32
	Partitions int32 // tasks are Sub-0 ... Sub-(Partitions-1)
	Stateful   bool
	Hash       uint64 // of what the sub-topology is
}

// Local is state that a member holds of a task it need not own. Lag is a coarse bucket:
// lower is nearer to the end of the changelog.
type Local struct {
	Task offsets.Task
	Lag  uint8
}

// Member is a lane, as it describes itself when it joins.
type Member struct {
	ID          string // given by the group, unique
	Instance    string // static id, survives a restart; "" for none
	Process     string // lanes of one process share it: ties are spread over processes
	Rack        string
	Fingerprint string // of the plan
	Parts       []Part // ascending by Sub
	// Generation is that of the assignment in which the member got its claims.
	Generation int32
	Claims     []offsets.Task // tasks of which the member owns a partition now
	// Past are tasks that were given to the member and that it did not confirm: a static
	// member that missed the rebalance. They are kept for it while nobody else claims them,
	// and they move without being withheld: who missed a rebalance is fenced.
	Past  []offsets.Task
	Local []Local
}

func (m *Member) key() string {
	if m.Instance != "" {
		return "0" + m.Instance
	}
	return "1" + m.ID
}

// Input of Assign. The order of members and tasks does not matter.
type Input struct {
	Leader   string // member id: its plan decides between equals
	Members  []Member
	Standbys int // copies of each stateful task beside its owner's
	Warmups  int // stateful tasks that are copied at a time before they move; 0: they move at once
}

// Share is what one member gets.
type Share struct {
	Member   string
	Tasks    []offsets.Task // ascending
	Standbys []offsets.Task // ascending; whose state it keeps a copy of, without working on them
	Warming  []offsets.Task // ascending; the same, until the copy is near enough for the task to move here
	Refused  string         // the reason why the member gets nothing, "" for a compatible plan
}

// Result of Assign.
type Result struct {
	Fingerprint string  // of the plan that decided
	Shares      []Share // one per member, static ones first, then by id
	// Withheld are given to nobody until their owner has let go of them: another rebalance
	// must follow.
	Withheld []offsets.Task
}

// group is one plan and the members that run it.
type group struct {
	fingerprint string
	parts       []Part
	owners      int
	members     []int
	leads       bool
}

// plans merges the plans of the members, strongest first, and refuses members whose plan
// contradicts what is merged already. It gives the union of the parts.
func plans(leader string, members []*Member, shares []Share) (fingerprint string, union []Part) {
	var groups []*group
	for i, m := range members {
		at := slices.IndexFunc(groups, func(g *group) bool {
			return g.fingerprint == m.Fingerprint && slices.Equal(g.parts, m.Parts)
		})
		if at < 0 {
			at = len(groups)
			groups = append(groups, &group{fingerprint: m.Fingerprint, parts: m.Parts})
		}
		g := groups[at]
		g.members = append(g.members, i)
		g.leads = g.leads || m.ID == leader
		if len(m.Claims) > 0 || len(m.Past) > 0 {
			g.owners++
		}
	}
	slices.SortStableFunc(groups, func(a, b *group) int {
		return cmp.Or(
			-cmp.Compare(a.owners, b.owners),
			-cmp.Compare(len(a.members), len(b.members)),
			-compareBool(a.leads, b.leads),
			cmp.Compare(a.fingerprint, b.fingerprint),
		)
	})
	bySub := make(map[int32]Part)
	for i, g := range groups {
		if i == 0 {
			fingerprint = g.fingerprint
		}
		if p, q, clash := contradicts(g.parts, bySub); clash {
			for _, m := range g.members {
				shares[m].Refused = fmt.Sprintf("plan %s does not fit plan %s that the group runs: sub-topology %d %s: stop the workers of one of the two plans, or give the new plan another application name",
					g.fingerprint, fingerprint, p.Sub, difference(p, q))
			}
			continue
		}
		for _, p := range g.parts {
			bySub[p.Sub] = p
		}
	}
	for _, p := range bySub {
		union = append(union, p)
	}
	slices.SortFunc(union, func(a, b Part) int { return cmp.Compare(a.Sub, b.Sub) })
	return fingerprint, union
}

func contradicts(parts []Part, bySub map[int32]Part) (p, q Part, clash bool) {
	for _, p := range parts {
		if q, known := bySub[p.Sub]; known && p != q {
			return p, q, true
		}
	}
	return Part{}, Part{}, false
}

func difference(p, q Part) string {
	switch {
	case p.Partitions != q.Partitions:
		return fmt.Sprintf("has %d tasks instead of %d", p.Partitions, q.Partitions)
	case p.Stateful != q.Stateful:
		return "has state in only one of them"
	default:
		return "is another one"
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
