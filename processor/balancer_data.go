package processor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/assign"
)

// What members of the group tell the leader, and what it answers. Both travel as user data of
// the consumer protocol's messages and live as long as a generation: they have a version, but
// no checksum. The broker stores them all in one record, so they are small: task sets are
// runs of partitions.

const (
	balancerVersion = 1
	// maxGroupTasks bounds what a damaged run length can make us allocate.
	maxGroupTasks = 1 << 20
)

var (
	errBalancerData    = errors.New("not in weir's format")
	errBalancerVersion = errors.New("written by a newer release of weir: give all workers of the group one release")
)

// GroupMember is what a lane says about itself when it joins the group.
type GroupMember struct {
	Fingerprint string // of its plan
	Rack        string
	Generation  int32          // in which it got what it owns
	Owned       []offsets.Task // at the time it joined
	Local       []offsets.Task // tasks of which its worker holds state
	parts       []assign.Part
	local       []assign.Local
}

// GroupAssignment is what the leader of the group gave to a lane.
type GroupAssignment struct {
	Fingerprint string // of the plan that the group runs
	Tasks       []offsets.Task
	Standbys    []offsets.Task // whose state its worker follows
	Warming     []offsets.Task // the same, to take them over when it is near enough
	Withheld    int            // tasks of the group that wait for their last owner to let go
	Refused     string         // why the lane gets nothing, "" if its plan fits
	seen        uint64         // planHash of the lane as the leader knew it
}

// planHash tells two plans of one lane apart: the static member before and after a deploy.
func planHash(fingerprint string, parts []assign.Part) uint64 {
	h := fnv.New64a()
	h.Write(appendPlan(nil, fingerprint, parts))
	return h.Sum64()
}

func appendPlan(b []byte, fingerprint string, parts []assign.Part) []byte {
	b = appendText(b, fingerprint)
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(p.Sub))
		b = binary.AppendUvarint(b, uint64(p.Partitions))
		stateful := byte(0)
		if p.Stateful {
			stateful = 1
		}
		b = append(b, stateful)
		b = binary.BigEndian.AppendUint64(b, p.Hash)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTasks writes ascending tasks as runs {sub, first partition, length - 1}.
func appendTasks(b []byte, tasks []offsets.Task) []byte {
	var runs [][2]int // [from, to) in tasks
	for i, t := range tasks {
		if n := len(runs); n > 0 && tasks[i-1].Sub == t.Sub && tasks[i-1].Partition+1 == t.Partition {
			runs[n-1][1] = i + 1
		} else {
			runs = append(runs, [2]int{i, i + 1})
		}
	}
	b = binary.AppendUvarint(b, uint64(len(runs)))
	for _, r := range runs {
		b = binary.AppendUvarint(b, uint64(tasks[r[0]].Sub))
		b = binary.AppendUvarint(b, uint64(tasks[r[0]].Partition))
		b = binary.AppendUvarint(b, uint64(r[1]-r[0]-1))
	}
	return b
}

func (m *GroupMember) append(b []byte) []byte {
	b = append(b, balancerVersion)
	b = appendPlan(b, m.Fingerprint, m.parts)
	b = appendText(b, m.Rack)
	b = appendTasks(b, m.Owned)
	// One set of tasks per lag bucket.
	buckets := make(map[uint8][]offsets.Task)
	var lags []uint8
	for _, l := range m.local {
		if buckets[l.Lag] == nil {
			lags = append(lags, l.Lag)
		}
		buckets[l.Lag] = append(buckets[l.Lag], l.Task)
	}
	slices.Sort(lags)
	b = binary.AppendUvarint(b, uint64(len(lags)))
	for _, lag := range lags {
		slices.SortFunc(buckets[lag], offsets.Task.Compare)
		b = append(b, lag)
		b = appendTasks(b, buckets[lag])
	}
	return b
}

// DecodeGroupMember reads the protocol metadata of a member, as DescribeGroups gives it; with
// kadm that is what AppendTo of Join.AsConsumer gives.
func DecodeGroupMember(metadata []byte) (GroupMember, error) {
	var meta kmsg.ConsumerMemberMetadata
	if err := meta.ReadFrom(metadata); err != nil {
		return GroupMember{}, fmt.Errorf("decode group member: %w", err)
	}
	m := GroupMember{Generation: meta.Generation}
	r, err := newBalancerReader(meta.UserData)
	if err != nil {
		return GroupMember{}, fmt.Errorf("decode group member: %w", err)
	}
	m.Fingerprint = r.text()
	for range r.count() {
		m.parts = append(m.parts, assign.Part{Sub: r.index(), Partitions: r.index(), Stateful: r.byte() == 1, Hash: r.hash()})
	}
	m.Rack = r.text()
	m.Owned = r.tasks()
	for range r.count() {
		lag := r.byte()
		for _, t := range r.tasks() {
			m.local = append(m.local, assign.Local{Task: t, Lag: lag})
			m.Local = append(m.Local, t)
		}
	}
	sum := 0
	for _, p := range m.parts {
		sum += int(p.Partitions)
	}
	if r.bad || len(r.b) != 0 || sum > maxGroupTasks {
		return GroupMember{}, fmt.Errorf("decode group member: %w", errBalancerData)
	}
	return m, nil
}

func (a *GroupAssignment) append(b []byte) []byte {
	b = append(b, balancerVersion)
	b = appendText(b, a.Fingerprint)
	b = binary.BigEndian.AppendUint64(b, a.seen)
	b = appendTasks(b, a.Tasks)
	b = appendTasks(b, a.Standbys)
	b = appendTasks(b, a.Warming)
	b = binary.AppendUvarint(b, uint64(a.Withheld))
	return appendText(b, a.Refused)
}

// DecodeGroupAssignment reads the assignment of a member, as DescribeGroups gives it; with kadm
// that is what AppendTo of Assigned.AsConsumer gives.
func DecodeGroupAssignment(assignment []byte) (GroupAssignment, error) {
	var data kmsg.ConsumerMemberAssignment
	if err := data.ReadFrom(assignment); err != nil {
		return GroupAssignment{}, fmt.Errorf("decode group assignment: %w", err)
	}
	r, err := newBalancerReader(data.UserData)
	if err != nil {
		return GroupAssignment{}, fmt.Errorf("decode group assignment: %w", err)
	}
	a := GroupAssignment{Fingerprint: r.text(), seen: r.hash(), Tasks: r.tasks(), Standbys: r.tasks(), Warming: r.tasks(), Withheld: int(r.index()), Refused: r.text()}
	if r.bad || len(r.b) != 0 {
		return GroupAssignment{}, fmt.Errorf("decode group assignment: %w", errBalancerData)
	}
	return a, nil
}

// balancerReader takes fields off b; after the first misfit bad stays set.
type balancerReader struct {
	b   []byte
	bad bool
}

func newBalancerReader(b []byte) (*balancerReader, error) {
	switch {
	case len(b) == 0 || b[0] == 0:
		return nil, errBalancerData
	case b[0] > balancerVersion:
		return nil, fmt.Errorf("version %d, known is %d: %w", b[0], balancerVersion, errBalancerVersion)
	}
	return &balancerReader{b: b[1:]}, nil
}

func (r *balancerReader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > limit {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *balancerReader) index() int32 { return int32(r.uvarint(math.MaxInt32)) }

// count is a number of things that take at least a byte each.
func (r *balancerReader) count() int { return int(r.uvarint(uint64(len(r.b)))) }

func (r *balancerReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, min(n, 8))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *balancerReader) byte() byte   { return r.take(1)[0] }
func (r *balancerReader) hash() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *balancerReader) text() string {
	s := string(r.take(r.count()))
	if r.bad {
		return ""
	}
	return s
}

func (r *balancerReader) tasks() (tasks []offsets.Task) {
	for range r.count() {
		sub, first, more := r.index(), r.index(), r.index()
		if r.bad || int(more) > maxGroupTasks-len(tasks) || first > math.MaxInt32-more {
			r.bad = true
			return nil
		}
		for i := range more + 1 {
			tasks = append(tasks, offsets.Task{Sub: sub, Partition: first + i})
		}
	}
	return tasks
}
