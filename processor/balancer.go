package processor

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/assign"
)

// balancerProtocol is the name under which lanes agree on how to share tasks.
const balancerProtocol = "weir"

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// localState is state of a task that this worker holds on disk.
type localState struct {
	Task offsets.Task
	Lag  int64 // changelog records behind, as far as known
}

// balancerConfig is what the balancer of a lane knows of its plan and its worker. The
// functions are called from the client's group goroutine.
type balancerConfig struct {
	Fingerprint string
	Tasks       []offsets.Task                      // all of the plan
	Inputs      func(offsets.Task) []TopicPartition // no partition is the input of two tasks
	Stateful    func(offsets.Task) bool
	Local       func() []localState // nil: none
	Rack        string

	// Part identifies what a sub-topology is, so that plans which differ elsewhere can share
	// the group during a rolling deploy. nil: only equal fingerprints are compatible.
	Part func(sub int32) string

	// Refused is told that the group runs a plan that this one does not fit: the lane gets no
	// task and stops with the error, a *PlanRefusedError or one that names the release.
	Refused func(error)

	// Rebalance asks the lane to call ForceRebalance on its client. It comes from any
	// goroutine and must not block. nil: never asked.
	Rebalance func(why string)

	// Standbys are copies of each stateful task that other workers keep, and Warmups how many
	// tasks are copied before they move. Follow is told which ones this lane's worker gets, and
	// what the lane has, after each rebalance. It must not block.
	Standbys, Warmups int
	Follow            func(following)

	// FollowUp is how long withheld tasks wait before a rebalance is asked for, should their
	// last owner not bring it about by letting go. 0: 10 s.
	FollowUp time.Duration
}

// PlanRefusedError is returned when the workers of a group run plans that do not fit.
type PlanRefusedError struct {
	Ours, Group string // fingerprints
	Reason      string
}

func (e *PlanRefusedError) Error() string { return "the group refuses this worker: " + e.Reason }

// balancer makes a lane's client share whole tasks: it adapts the pure function of package
// assign to the client's group protocol.
//
// What a member says stays equal byte by byte between two assignments, because the broker
// takes a changed JoinGroup for the wish to rebalance.
type balancer struct {
	cfg    balancerConfig
	parts  []assign.Part
	hash   uint64
	byPart map[TopicPartition]offsets.Task

	// The client calls from one goroutine at a time; the timer from its own.
	mu struct {
		sync.Mutex
		local    []assign.Local // as told since the last assignment
		told     bool
		followUp *time.Timer
		// given is what this lane gave out when it was the leader, by instance. A static
		// member that missed the rebalance is only known by what it said before it.
		given map[string]givenShare
	}
}

type givenShare struct {
	generation int32
	tasks      []offsets.Task
}

func newBalancer(cfg balancerConfig) *balancer {
	if cfg.FollowUp == 0 {
		cfg.FollowUp = 10 * time.Second
	}
	b := &balancer{cfg: cfg, byPart: make(map[TopicPartition]offsets.Task)}
	b.mu.given = make(map[string]givenShare)
	tasks := slices.Clone(cfg.Tasks)
	slices.SortFunc(tasks, offsets.Task.Compare)
	for _, t := range tasks {
		n := len(b.parts)
		if n == 0 || b.parts[n-1].Sub != t.Sub {
			b.parts = append(b.parts, assign.Part{Sub: t.Sub, Stateful: cfg.Stateful(t), Hash: cfg.partHash(t.Sub)})
			n++
		}
		p := &b.parts[n-1]
		if t.Partition != p.Partitions {
			panic(fmt.Sprintf("processor: tasks of sub-topology %d: want partition %d, got %d", t.Sub, p.Partitions, t.Partition))
		}
		p.Partitions++
		for _, in := range cfg.Inputs(t) {
			if other, twice := b.byPart[in]; twice {
				panic(fmt.Sprintf("processor: partition %d of %s is an input of task %s and of task %s", in.Partition, in.Topic, other, t))
			}
			b.byPart[in] = t
		}
	}
	b.hash = planHash(cfg.Fingerprint, b.parts)
	return b
}

func (c *balancerConfig) partHash(sub int32) uint64 {
	h := fnv.New64a()
	if c.Part != nil {
		h.Write([]byte(c.Part(sub)))
	} else {
		h.Write([]byte(c.Fingerprint))
	}
	return h.Sum64()
}

// ProtocolName implements kgo.GroupBalancer.
func (*balancer) ProtocolName() string { return balancerProtocol }

// IsCooperative implements kgo.GroupBalancer.
func (*balancer) IsCooperative() bool { return true }

// JoinGroupMetadata implements kgo.GroupBalancer.
func (b *balancer) JoinGroupMetadata(topics []string, current map[string][]int32, generation int32) []byte {
	m := GroupMember{Fingerprint: b.cfg.Fingerprint, Rack: b.cfg.Rack, parts: b.parts}
	owned := make(map[offsets.Task]bool)
	for topic, partitions := range current {
		for _, p := range partitions {
			if t, ok := b.byPart[TopicPartition{topic, p}]; ok {
				owned[t] = true // of one partition is enough: the task is not free
			}
		}
	}
	m.Owned = slices.SortedFunc(maps.Keys(owned), offsets.Task.Compare)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disarmLocked()
	if !b.mu.told && b.cfg.Local != nil {
		b.mu.local = nil
		for _, l := range b.cfg.Local() {
			b.mu.local = append(b.mu.local, assign.Local{Task: l.Task, Lag: lagBucket(l.Lag)})
		}
	}
	b.mu.told = true
	m.local = b.mu.local

	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 2 // has Generation
	meta.Topics = topics
	meta.Generation = generation
	meta.UserData = m.append(nil)
	return meta.AppendTo(nil)
}

// lagBucket is coarse, so that it differs only where a restore would take noticeably longer:
// 0 is nothing to read, then each bucket is four times the last, from 4,096 records on.
func lagBucket(records int64) uint8 {
	if records <= 0 {
		return 0
	}
	return uint8(1 + (bits.Len64(uint64(records)>>12)+1)/2)
}

// ParseSyncAssignment implements kgo.GroupBalancer. The leader says tasks; which partitions
// those are is for each member's own plan to say.
func (b *balancer) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	b.mu.Lock()
	b.mu.told = false
	b.mu.Unlock()
	got := make(map[string][]int32)
	if len(assignment) == 0 { // the leader gave us nothing
		return got, nil
	}
	a, err := DecodeGroupAssignment(assignment)
	if err != nil {
		if errors.Is(err, errBalancerVersion) {
			b.refused(err)
			return got, nil
		}
		return nil, err
	}
	const unread = 0 // a leader of an older release could not read our plan
	if a.Refused != "" && (a.seen == b.hash || a.seen == unread) {
		b.refused(&PlanRefusedError{Ours: b.cfg.Fingerprint, Group: a.Fingerprint, Reason: a.Refused})
		return got, nil
	}
	if a.seen != b.hash {
		// The group hands a restarted static member what its predecessor had, without asking
		// the leader. Task numbers of another plan mean nothing here: own nothing, ask again.
		b.rebalance(fmt.Sprintf("the assignment was made for another plan than %s", b.cfg.Fingerprint))
		return got, nil
	}
	for _, t := range a.Tasks {
		if !b.knows(t) {
			return nil, fmt.Errorf("the leader of the group gave task %s, which plan %s does not have", t, b.cfg.Fingerprint)
		}
		for _, in := range b.cfg.Inputs(t) {
			got[in.Topic] = append(got[in.Topic], in.Partition)
		}
	}
	if a.Withheld > 0 {
		b.arm(a.Withheld)
	}
	if b.cfg.Follow != nil {
		unknown := func(t offsets.Task) bool { return !b.knows(t) }
		b.cfg.Follow(following{a.Tasks, slices.DeleteFunc(a.Standbys, unknown), slices.DeleteFunc(a.Warming, unknown)})
	}
	return got, nil
}

// knows says whether our plan has the task.
func (b *balancer) knows(t offsets.Task) bool {
	return slices.ContainsFunc(b.parts, func(p assign.Part) bool { return p.Sub == t.Sub && t.Partition < p.Partitions })
}

func (b *balancer) refused(err error) {
	if b.cfg.Refused != nil {
		b.cfg.Refused(err)
	}
}

func (b *balancer) rebalance(why string) {
	if b.cfg.Rebalance != nil {
		b.cfg.Rebalance(why)
	}
}

// arm makes sure that withheld tasks are not forgotten. The old owner joins again when it has
// let go; if it was restarted in between it has nothing to let go of, and nobody else would
// ask for the rebalance. Joining disarms.
func (b *balancer) arm(withheld int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disarmLocked()
	b.mu.followUp = time.AfterFunc(b.cfg.FollowUp, func() {
		b.rebalance(fmt.Sprintf("%d tasks are withheld and their owner did not let go", withheld))
	})
}

func (b *balancer) disarmLocked() {
	if b.mu.followUp != nil {
		b.mu.followUp.Stop()
		b.mu.followUp = nil
	}
}

// stop disarms for good: the lane has left.
func (b *balancer) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disarmLocked()
}

// MemberBalancer implements kgo.GroupBalancer. It asks for no topics: tasks come from plans,
// not from metadata.
func (b *balancer) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	return &balance{b: b, members: members}, nil, nil
}

// balance is one rebalance that this lane leads.
type balance struct {
	b       *balancer
	members []kmsg.JoinGroupResponseMember
	info    kgo.BalanceInfo
}

// SetBalanceInfo implements kgo.GroupMemberBalancerInfo.
func (l *balance) SetBalanceInfo(info kgo.BalanceInfo) { l.info = info }

// Balance implements kgo.GroupMemberBalancer.
func (l *balance) Balance(map[string]int32) kgo.IntoSyncAssignment {
	b := l.b
	b.mu.Lock()
	defer b.mu.Unlock()
	in := assign.Input{Leader: l.info.LeaderID, Standbys: b.cfg.Standbys, Warmups: b.cfg.Warmups}
	unreadable := make(map[string]string)
	seen := make(map[string]uint64)
	instance := make(map[string]string)
	for _, m := range l.members {
		if m.InstanceID != nil {
			instance[m.MemberID] = *m.InstanceID
		}
		data, err := DecodeGroupMember(m.ProtocolMetadata)
		if err != nil {
			unreadable[m.MemberID] = fmt.Sprintf("the leader of the group cannot read what this worker says: %v", err)
			continue
		}
		seen[m.MemberID] = planHash(data.Fingerprint, data.parts)
		in.Members = append(in.Members, b.memberLocked(m.MemberID, instance[m.MemberID], data))
	}
	r := assign.Assign(in)
	shares := r.Shares
	for id, reason := range unreadable {
		shares = append(shares, assign.Share{Member: id, Refused: reason})
	}
	given := make(map[string]givenShare) // forgets members that are gone
	var sync syncAssignments
	for _, s := range shares {
		if id := instance[s.Member]; id != "" {
			given[id] = givenShare{l.info.Generation, s.Tasks}
		}
		a := GroupAssignment{Fingerprint: r.Fingerprint, Tasks: s.Tasks, Standbys: s.Standbys, Warming: s.Warming, Withheld: len(r.Withheld), Refused: s.Refused, seen: seen[s.Member]}
		out := kmsg.NewSyncGroupRequestGroupAssignment()
		out.MemberID = s.Member
		out.MemberAssignment = b.assignment(&a)
		sync = append(sync, out)
	}
	b.mu.given = given
	return sync
}

// memberLocked is a member as the decision sees it.
func (b *balancer) memberLocked(id, instance string, data GroupMember) assign.Member {
	m := assign.Member{
		ID: id, Instance: instance, Process: id, Rack: data.Rack,
		Fingerprint: data.Fingerprint, Parts: data.parts,
		Generation: data.Generation, Claims: data.Owned, Local: data.local,
	}
	if process, _, ok := offsets.ParseGroupInstance(instance); ok {
		m.Process = process
	}
	// What we gave it after it spoke last counts as its past: it is still away, or it is a new
	// process in an old place.
	if g, ok := b.mu.given[instance]; ok && instance != "" && data.Generation < g.generation {
		for _, t := range g.tasks {
			if !slices.Contains(data.Owned, t) {
				m.Past = append(m.Past, t)
			}
		}
	}
	return m
}

// assignment also lists the partitions, as far as this lane's plan knows them: for the eyes
// of Kafka's own tools.
func (b *balancer) assignment(a *GroupAssignment) []byte {
	partitions := make(map[string][]int32)
	for _, t := range a.Tasks {
		if !b.knows(t) {
			continue
		}
		for _, in := range b.cfg.Inputs(t) {
			partitions[in.Topic] = append(partitions[in.Topic], in.Partition)
		}
	}
	out := kmsg.NewConsumerMemberAssignment()
	for _, topic := range slices.Sorted(maps.Keys(partitions)) {
		slices.Sort(partitions[topic])
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic, t.Partitions = topic, partitions[topic]
		out.Topics = append(out.Topics, t)
	}
	out.UserData = a.append(nil)
	return out.AppendTo(nil)
}

// syncAssignments implements kgo.IntoSyncAssignment.
type syncAssignments []kmsg.SyncGroupRequestGroupAssignment

func (s syncAssignments) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	slices.SortFunc(s, func(a, b kmsg.SyncGroupRequestGroupAssignment) int {
		switch {
		case a.MemberID < b.MemberID:
			return -1
		case a.MemberID > b.MemberID:
			return 1
		}
		return 0
	})
	return s
}
