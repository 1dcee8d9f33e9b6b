package processor

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
)

// balancerPlan: sub-topology 0 reads "in"; sub-topology 1 has state and reads "left" and
// "right", of which right has only half the partitions.
func balancerPlan(fingerprint string, partitions int32) balancerConfig {
	cfg := balancerConfig{
		Fingerprint: fingerprint,
		Stateful:    func(t offsets.Task) bool { return t.Sub == 1 },
		Inputs: func(t offsets.Task) []TopicPartition {
			if t.Sub == 0 {
				return []TopicPartition{{"in", t.Partition}}
			}
			in := []TopicPartition{{"left", t.Partition}}
			if t.Partition < partitions/2 {
				in = append(in, TopicPartition{"right", t.Partition})
			}
			return in
		},
	}
	for sub := range int32(2) {
		for p := range partitions {
			cfg.Tasks = append(cfg.Tasks, offsets.Task{Sub: sub, Partition: p})
		}
	}
	return cfg
}

var balancerTopics = []string{"in", "left", "right"}

// sharing is a group without clients: what JoinGroup and SyncGroup carry, by hand.
type sharing struct {
	t       *testing.T
	members []*sharer // the first one leads
	gen     int32
}

type sharer struct {
	id, instance string
	b            *balancer
	current      map[string][]int32
	gen          int32
	metadata     []byte // as last joined
	refused      error
	asked        int // rebalances asked for
	away         bool
}

func (g *sharing) add(id, instance string, cfg balancerConfig) *sharer {
	s := &sharer{id: id, instance: instance, gen: -1}
	cfg.Refused = func(err error) { s.refused = err }
	cfg.Rebalance = func(string) { s.asked++ }
	cfg.FollowUp = time.Hour
	s.b = newBalancer(cfg)
	g.t.Cleanup(s.b.stop)
	g.members = append(g.members, s)
	return s
}

// rebalance runs one and gives the bytes that the broker would have to store.
func (g *sharing) rebalance() (size int) {
	g.t.Helper()
	g.gen++
	var in []kmsg.JoinGroupResponseMember
	for _, s := range g.members {
		if !s.away {
			s.metadata = s.b.JoinGroupMetadata(slices.Clone(balancerTopics), s.current, s.gen)
			if again := s.b.JoinGroupMetadata(slices.Clone(balancerTopics), s.current, s.gen); !bytes.Equal(s.metadata, again) {
				g.t.Fatalf("%s joins with other bytes when it tries again", s.id)
			}
		}
		m := kmsg.NewJoinGroupResponseMember()
		m.MemberID, m.ProtocolMetadata = s.id, s.metadata
		if s.instance != "" {
			m.InstanceID = &s.instance
		}
		in = append(in, m)
		size += len(s.metadata)
	}
	mb, _, err := g.members[0].b.MemberBalancer(in)
	if err != nil {
		g.t.Fatal(err)
	}
	mb.(kgo.GroupMemberBalancerInfo).SetBalanceInfo(kgo.BalanceInfo{Generation: g.gen, LeaderID: g.members[0].id})
	out := mb.Balance(nil).IntoSyncAssignment()
	if len(out) != len(g.members) {
		g.t.Fatalf("%d assignments for %d members", len(out), len(g.members))
	}
	for _, a := range out {
		size += len(a.MemberAssignment)
		for _, s := range g.members {
			if s.id == a.MemberID && !s.away {
				s.sync(g.t, a.MemberAssignment, g.gen)
			}
		}
	}
	return size
}

func (s *sharer) sync(t *testing.T, assignment []byte, gen int32) {
	t.Helper()
	current, err := s.b.ParseSyncAssignment(assignment)
	if err != nil {
		t.Fatal(err)
	}
	s.current, s.gen = current, gen
}

// tasks checks that partitions come as whole tasks.
func (s *sharer) tasks(t *testing.T) []offsets.Task {
	t.Helper()
	owned := make(map[TopicPartition]bool)
	for topic, ps := range s.current {
		for _, p := range ps {
			owned[TopicPartition{topic, p}] = true
		}
	}
	var list []offsets.Task
	for _, task := range s.b.cfg.Tasks {
		in := s.b.cfg.Inputs(task)
		n := 0
		for _, p := range in {
			if owned[p] {
				n++
			}
		}
		if n != 0 && n != len(in) {
			t.Fatalf("%s owns %d of the %d inputs of %s", s.id, n, len(in), task)
		}
		if n != 0 {
			list = append(list, task)
		}
	}
	return list
}

func TestBalancerShares(t *testing.T) {
	g := &sharing{t: t}
	a := g.add("a", "pod-a.0", balancerPlan("v1", 4))
	g.rebalance()
	if got := a.tasks(t); len(got) != 8 {
		t.Fatalf("a alone has %v", got)
	}
	b := g.add("b", "pod-b.0", balancerPlan("v1", 4))
	before := a.tasks(t)
	g.rebalance()
	if len(a.tasks(t)) != 4 || len(b.tasks(t)) != 0 {
		t.Fatalf("a must let go first: a %v, b %v", a.tasks(t), b.tasks(t))
	}
	if a.b.mu.followUp == nil || b.b.mu.followUp == nil {
		t.Fatal("withheld tasks are not watched")
	}
	g.rebalance()
	if got := b.tasks(t); len(got) != 4 || !slices.Contains(before, got[0]) {
		t.Fatalf("b has %v", got)
	}
	if a.b.mu.followUp != nil || b.b.mu.followUp != nil {
		t.Fatal("nothing is withheld any more")
	}
	// A static member that misses a rebalance keeps what it has.
	had := b.tasks(t)
	b.away = true
	c := g.add("c", "pod-c.0", balancerPlan("v1", 4))
	g.rebalance()
	g.rebalance()
	if len(c.tasks(t)) == 0 || c.asked != 0 {
		t.Fatalf("c has %v", c.tasks(t))
	}
	kept := 0
	for _, task := range a.b.cfg.Tasks {
		if slices.Contains(a.tasks(t), task) || slices.Contains(c.tasks(t), task) {
			continue
		}
		if kept++; !slices.Contains(had, task) {
			t.Errorf("%s went to the absent member, which did not have it", task)
		}
	}
	if kept < 2 {
		t.Errorf("the absent member keeps %d tasks", kept)
	}
}

// Withheld tasks are not forgotten when their owner is restarted before it could let go.
func TestBalancerFollowsUpWithheldTasks(t *testing.T) {
	cfg := balancerPlan("v1", 4)
	asked := make(chan string, 1)
	cfg.Rebalance = func(why string) { asked <- why }
	cfg.FollowUp = time.Millisecond
	b := newBalancer(cfg)
	if _, err := b.ParseSyncAssignment(b.assignment(&GroupAssignment{Withheld: 2, seen: b.hash})); err != nil {
		t.Fatal(err)
	}
	select {
	case why := <-asked:
		if !strings.Contains(why, "2 tasks are withheld") {
			t.Error(why)
		}
	case <-t.Context().Done():
		t.Fatal("nobody asks for a rebalance")
	}
}

// Trap: the group hands a restarted static member the assignment of its predecessor, without
// a rebalance, also when the plan is another one.
func TestBalancerNoticesThatItsPlanChanged(t *testing.T) {
	g := &sharing{t: t}
	g.add("a", "pod-a.0", balancerPlan("v1", 4))
	g.add("b", "pod-b.0", balancerPlan("v1", 4))
	g.rebalance()
	old := g.members[1]
	assignment := old.b.assignment(&GroupAssignment{Fingerprint: "v1", Tasks: old.tasks(t), seen: old.b.hash})

	g.members = g.members[:1]
	same := g.add("b2", "pod-b.0", balancerPlan("v1", 4))
	same.sync(t, assignment, g.gen)
	if same.asked != 0 || !slices.Equal(same.tasks(t), old.tasks(t)) {
		t.Fatalf("the same plan takes over without a rebalance: asked %d, has %v", same.asked, same.tasks(t))
	}
	g.members = g.members[:1]
	other := g.add("b3", "pod-b.0", balancerPlan("v2", 4))
	other.sync(t, assignment, g.gen)
	if other.asked != 1 || len(other.current) != 0 || other.refused != nil {
		t.Fatalf("another plan owns nothing and asks for a rebalance: asked %d, has %v, %v", other.asked, other.current, other.refused)
	}
	g.rebalance()
	var refused *PlanRefusedError
	if !errors.As(other.refused, &refused) || refused.Ours != "v2" || refused.Group != "v1" || len(other.current) != 0 {
		t.Fatalf("got %v", other.refused)
	}
	if !strings.Contains(refused.Error(), "stop the workers of one of the two plans") {
		t.Fatalf("no hint in %v", refused)
	}
	if a := g.members[0]; len(a.tasks(t)) != 8 || a.refused != nil {
		t.Fatalf("the group goes on: a has %v, %v", a.tasks(t), a.refused)
	}
}

// Two plans share a group when they differ only in what one of them does not have. The leader
// gives out tasks of sub-topologies that it does not know itself.
func TestBalancerSharesWithACompatiblePlan(t *testing.T) {
	part := func(sub int32) string { return fmt.Sprint("part ", sub) }
	small := balancerPlan("v1", 4)
	small.Part = part
	wide := balancerPlan("v2", 4)
	wide.Part = part
	inputs := wide.Inputs
	for p := range int32(3) {
		wide.Tasks = append(wide.Tasks, offsets.Task{Sub: 2, Partition: p})
	}
	wide.Inputs = func(t offsets.Task) []TopicPartition {
		if t.Sub == 2 {
			return []TopicPartition{{"more", t.Partition}}
		}
		return inputs(t)
	}
	g := &sharing{t: t}
	a, b := g.add("a", "pod-a.0", small), g.add("b", "pod-b.0", wide)
	g.rebalance()
	if a.refused != nil || b.refused != nil || !slices.Equal(b.current["more"], []int32{0, 1, 2}) || len(a.tasks(t))+len(b.tasks(t)) != 11 {
		t.Fatalf("a has %v %v, b has %v %v", a.current, a.refused, b.current, b.refused)
	}
}

// A member of a newer release says what the leader cannot read: it gets nothing and the rest
// goes on.
func TestBalancerRefusesWhatItCannotRead(t *testing.T) {
	g := &sharing{t: t}
	a, b := g.add("a", "", balancerPlan("v1", 4)), g.add("b", "", balancerPlan("v1", 4))
	b.away = true
	meta := kmsg.NewConsumerMemberMetadata()
	meta.UserData = []byte{balancerVersion + 1, 1, 2, 3}
	b.metadata = meta.AppendTo(nil)
	b.away = true
	g.rebalance()
	if len(a.tasks(t)) != 8 {
		t.Fatalf("a has %v", a.tasks(t))
	}
	b.sync(t, a.b.assignment(&GroupAssignment{Refused: "unreadable"}), g.gen)
	if b.refused == nil || b.asked != 0 {
		t.Fatalf("b is not told: %v, asked %d", b.refused, b.asked)
	}
	newer := kmsg.NewConsumerMemberAssignment()
	newer.UserData = []byte{balancerVersion + 1}
	a.sync(t, newer.AppendTo(nil), g.gen)
	if !errors.Is(a.refused, errBalancerVersion) || len(a.current) != 0 {
		t.Fatalf("a is not told: %v", a.refused)
	}
	a.sync(t, nil, g.gen) // the leader gave nothing at all
	if len(a.current) != 0 {
		t.Fatal(a.current)
	}
}

// Trap: the broker stores all of a group in one record of at most 1 MB.
func TestBalancerDataIsSmall(t *testing.T) {
	g := &sharing{t: t}
	rng := rand.New(rand.NewPCG(1, 5))
	for i := range 64 {
		cfg := balancerPlan("sha256-0123456789abcdef0123456789abcdef", 500)
		var local []localState
		for p := range int32(500) {
			if rng.IntN(3) > 0 { // nearly all state is on every disk, in no order
				local = append(local, localState{offsets.Task{Sub: 1, Partition: p}, rng.Int64N(1 << 22)})
			}
		}
		cfg.Local = func() []localState { return local }
		g.add(fmt.Sprintf("pod-%d.%d-0123456789abcdef0123456789abcdef", i/4, i%4), fmt.Sprintf("pod-%d.%d", i/4, i%4), cfg)
	}
	for range 3 {
		if size := g.rebalance(); size > 200_000 {
			t.Fatalf("64 members and 1,000 tasks take %d bytes", size)
		}
	}
	for _, s := range g.members {
		if n := len(s.tasks(t)); n < 15 || n > 16 {
			t.Fatalf("%s has %d tasks", s.id, n)
		}
	}
}

// What a lane says stays the same until it has got an answer.
func TestBalancerMetadataIsStable(t *testing.T) {
	cfg := balancerPlan("v1", 2)
	lag := int64(0)
	cfg.Local = func() []localState {
		lag = lag*16 + 1<<12
		return []localState{{offsets.Task{Sub: 1}, lag}}
	}
	b := newBalancer(cfg)
	first := b.JoinGroupMetadata(balancerTopics, nil, 1)
	if again := b.JoinGroupMetadata(balancerTopics, nil, 1); !bytes.Equal(first, again) {
		t.Fatal("lag is told anew before the assignment")
	}
	if _, err := b.ParseSyncAssignment(nil); err != nil {
		t.Fatal(err)
	}
	if again := b.JoinGroupMetadata(balancerTopics, nil, 1); bytes.Equal(first, again) {
		t.Fatal("lag is not told anew after the assignment")
	}
}

func TestLagBucket(t *testing.T) {
	for _, tt := range []struct {
		lag  int64
		want uint8
	}{{-1, 0}, {0, 0}, {1, 1}, {4095, 1}, {4096, 2}, {1 << 13, 2}, {1 << 14, 3}, {1 << 62, 27}} {
		if got := lagBucket(tt.lag); got != tt.want {
			t.Errorf("lagBucket(%d) = %d, want %d", tt.lag, got, tt.want)
		}
	}
}

func TestDecodeGroupMember(t *testing.T) {
	cfg := balancerPlan("v1", 4)
	cfg.Rack = "zone-a"
	cfg.Local = func() []localState { return []localState{{offsets.Task{Sub: 1, Partition: 3}, 9}} }
	b := newBalancer(cfg)
	m, err := DecodeGroupMember(b.JoinGroupMetadata(balancerTopics, map[string][]int32{"in": {1, 2}, "right": {0}}, 7))
	want := []offsets.Task{{Sub: 0, Partition: 1}, {Sub: 0, Partition: 2}, {Sub: 1, Partition: 0}}
	if err != nil || m.Fingerprint != "v1" || m.Rack != "zone-a" || m.Generation != 7 || !slices.Equal(m.Owned, want) ||
		!slices.Equal(m.Local, []offsets.Task{{Sub: 1, Partition: 3}}) || !slices.Equal(m.parts, b.parts) {
		t.Fatalf("got %+v, %v", m, err)
	}
	in := GroupAssignment{Fingerprint: "v1", Tasks: want, Withheld: 3, Refused: "no", seen: 5}
	if a, err := DecodeGroupAssignment(b.assignment(&in)); err != nil || !reflect.DeepEqual(a, in) {
		t.Fatalf("got %+v, %v", a, err)
	}
}

func FuzzBalancerData(f *testing.F) {
	b := newBalancer(balancerPlan("v1", 4))
	f.Add(b.JoinGroupMetadata(balancerTopics, map[string][]int32{"in": {1, 2}}, 7))
	f.Add(b.assignment(&GroupAssignment{Fingerprint: "v1", Tasks: b.cfg.Tasks, Refused: "x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := DecodeGroupMember(data); err == nil {
			m.append(nil)
		}
		if a, err := DecodeGroupAssignment(data); err == nil && len(a.Tasks) > maxGroupTasks {
			t.Fatalf("%d tasks", len(a.Tasks))
		}
	})
}
