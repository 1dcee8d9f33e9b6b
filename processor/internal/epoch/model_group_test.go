package epoch

import (
	"fmt"
	"strings"
)

// The model of the consumer group: static members, cooperative rebalances in which a task
// that moves is first let go of, members that expire while they are away, and clients that
// rejoin under a new member id, with or without telling their application.

// group is the coordinator. Tasks stand for all their partitions.
type group struct {
	gen     int
	nextID  int
	members []*member // sorted by id
	taken   []int     // member ids that another process of the same instance took over
	need    bool      // a rebalance is wanted
}

// member is one static member. Its claims are the tasks that nobody else may get.
type member struct {
	id     int
	slot   int
	gen    int
	client *client // of the process that joined last
	claims [nTasks]bool
}

// client is a process's side of the membership.
type client struct {
	member, gen int
	owned       [nTasks]bool // as of the last sync
	revoked     [nTasks]bool // callbacks that wait for the bracket to end
	assigned    [nTasks]bool
	revoking    bool
	assigning   bool
	lost        bool
	away        bool // crashed, frozen, or cut off: joins no rebalance
}

// pending says whether callbacks have not run yet.
func (c *client) pending() bool { return c.revoking || c.assigning || c.lost }

func (g *group) member(id int) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (g *group) ofSlot(slot int) *member {
	for _, m := range g.members {
		if m.slot == slot {
			return m
		}
	}
	return nil
}

// valid is the check of a TxnOffsetCommit. Without member and generation there is none:
// that is Kafka's rule.
func (g *group) valid(member, gen int) code {
	if member == 0 && gen == -1 {
		return ok
	}
	for _, id := range g.taken {
		if id == member {
			return fencedInstance
		}
	}
	switch m := g.member(member); {
	case m == nil:
		return unknownMember
	case gen != g.gen:
		return illegalGeneration
	}
	return ok
}

// join: a static member that comes back gets a new id and its old claims without a
// rebalance, and whoever had its id is fenced.
func (g *group) join(slot int, c *client) {
	g.nextID++
	if m := g.ofSlot(slot); m != nil {
		g.taken = append(g.taken, m.id)
		g.remove(m)
		n := &member{id: g.nextID, slot: slot, gen: m.gen, client: c, claims: m.claims}
		g.members = append(g.members, n)
		c.member, c.gen = n.id, g.gen
		if m.gen != g.gen {
			g.need = true
			return
		}
		g.sync(n)
		return
	}
	g.members = append(g.members, &member{id: g.nextID, slot: slot, gen: -1, client: c})
	c.member, c.gen = g.nextID, -1
	g.need = true
}

func (g *group) remove(m *member) {
	for i, other := range g.members {
		if other == m {
			g.members = append(g.members[:i], g.members[i+1:]...)
			return
		}
	}
}

// expire: the session of a member that is away ends, or it leaves.
func (g *group) expire(m *member) {
	g.remove(m)
	g.need = true
}

// wants says whether a rebalance is due: somebody came or went, or a task that was let go
// of has no owner yet.
func (g *group) wants() bool {
	for t := range nTasks {
		claimed := false
		for _, m := range g.members {
			claimed = claimed || m.claims[t]
		}
		if !claimed {
			return len(g.members) > 0
		}
	}
	return g.need
}

// waits says whether a member that is there has to end its bracket first.
func (g *group) waits() bool {
	for _, m := range g.members {
		if c := m.client; !c.away && c.pending() {
			return true
		}
	}
	return false
}

// rebalance makes the next generation of those who are there. Absent static members keep
// their claims. The balancer moves a task only when nobody claims it; pick chooses.
func (g *group) rebalance(pick func(int) int) {
	g.need = false
	g.gen++
	var here []*member
	for _, m := range g.members {
		if c := m.client; !c.away && !c.pending() {
			here = append(here, m)
			m.gen, m.client.gen = g.gen, g.gen
		}
	}
	if len(here) == 0 {
		return
	}
	for t := range nTasks {
		var owner *member
		blocked := false
		for _, m := range g.members {
			if m.claims[t] {
				owner = m
			}
			blocked = blocked || m.client.member == m.id && m.client.revoking && m.client.revoked[t]
		}
		switch to := here[pick(len(here))]; {
		case blocked:
		case owner == nil:
			// A client that rejoined under a new id still claims what it had.
			for _, m := range here {
				if m.client.owned[t] {
					to = m
				}
			}
			to.claims[t] = true
		case owner.gen != g.gen: // absent
		case to != owner && pick(3) == 0:
			owner.claims[t] = false
		}
	}
	for _, m := range here {
		g.sync(m)
	}
}

// sync gives a client its assignment: callbacks for the difference follow.
func (g *group) sync(m *member) {
	c := m.client
	for t := range nTasks {
		switch {
		case c.owned[t] && !m.claims[t]:
			c.revoked[t], c.revoking = true, true
		case !c.owned[t] && m.claims[t]:
			c.assigned[t] = true
		}
	}
	c.assigning = true // also when nothing was added
	c.owned = m.claims
}

func (g *group) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "generation %d", g.gen)
	for _, m := range g.members {
		fmt.Fprintf(&b, ", member %d of slot %d g%d claims %v", m.id, m.slot, m.gen, m.claims)
	}
	return b.String()
}
