package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
)

// Status is what can be seen of an application from outside. It is a little behind: tasks
// say how they are with each commit.
type Status struct {
	Application string    `json:"application"`
	Timeline    uint32    `json:"timeline"`
	Born        time.Time `json:"born"`
	Group       string    `json:"group"`
	GroupState  string    `json:"group_state"` // Kafka's word: Stable, Empty, PreparingRebalance ...
	Lanes       []Lane    `json:"lanes"`
	Tasks       []Task    `json:"tasks"`
	Lag         int64     `json:"lag"`       // records before the end, of all tasks
	Watermark   *Time     `json:"watermark"` // of the task that is furthest behind; null: unknown
	HeldBy      string    `json:"held_by,omitempty"`
	Problems    []string  `json:"problems"`

	Checkpoints Checkpoints `json:"checkpoints"`
	Drain       *Drain      `json:"drain,omitempty"` // its time is to end, or has
}

// Lane is a member of the group.
type Lane struct {
	Worker string `json:"worker"`
	Lane   int    `json:"lane"`
	Host   string `json:"host"`
	Tasks  int    `json:"tasks"`
	Local  int    `json:"local"` // tasks whose state its worker had on disk when it joined
}

// Task is a task with its progress.
type Task struct {
	Task      string     `json:"task"`
	Owner     string     `json:"owner"` // worker/lane, "" if nobody's
	Epoch     string     `json:"epoch"`
	Committed *time.Time `json:"committed"` // wall clock of the last commit; null: none since birth
	Lag       int64      `json:"lag"`
	Watermark *Time      `json:"watermark"`
	HeldBy    string     `json:"held_by,omitempty"` // the source partition that its time waits for
	Inputs    []Input    `json:"inputs"`
	Stores    []Store    `json:"stores,omitempty"`
	LocalAt   []string   `json:"local_at,omitempty"` // workers with its state on disk when they joined
	Standbys  []string   `json:"standbys,omitempty"` // workers that follow its state
	MovesTo   string     `json:"moves_to,omitempty"` // the worker that gets a copy of its state first
	Restoring *Restoring `json:"restoring,omitempty"`
	Waiting   *Waiting   `json:"waiting,omitempty"` // it failed, and is tried again later
}

// Input is a partition that a task reads.
type Input struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Position  int64  `json:"position"`
	End       int64  `json:"end"`       // of what is committed
	Lag       int64  `json:"lag"`       // offsets in between; transaction markers count, so it need not reach 0
	Watermark *Time  `json:"watermark"` // null: unknown, or of a loop
}

// Store is a store of a task.
type Store struct {
	UID     string `json:"uid"`
	Topic   string `json:"topic"`
	End     int64  `json:"end"`     // of the committed state in its changelog
	Rebuild int64  `json:"rebuild"` // records that a rebuild without local state reads at most
}

// Time is a watermark. In JSON it is a string: a moment as RFC 3339 has it, or "end".
type Time struct{ time.Time }

// Ended says whether it is the end of time, that of what was drained. It is no moment.
func (t Time) Ended() bool { return t.UnixMilli() == offsets.EndOfTime }

const jsonEnd = `"end"`

// MarshalJSON makes it a json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.Ended() {
		return []byte(jsonEnd), nil
	}
	return t.Time.MarshalJSON()
}

// UnmarshalJSON makes it a json.Unmarshaler.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == jsonEnd {
		t.Time = time.UnixMilli(offsets.EndOfTime).UTC()
		return nil
	}
	return t.Time.UnmarshalJSON(b)
}

func watermark(ms int64) *Time {
	if ms == offsets.NoTime {
		return nil
	}
	return &Time{time.UnixMilli(ms).UTC()}
}

// look is one reading of an application.
type look struct {
	birth     Birth
	names     offsets.Names
	group     kadm.DescribedGroup
	positions kadm.OffsetResponses
	ends      kadm.ListedOffsets
	starts    kadm.ListedOffsets
	metadata  map[offsets.Task]offsets.Metadata
	owner     map[offsets.Task]string
	localAt   map[offsets.Task][]string
	standbys  map[offsets.Task][]string
	movesTo   map[offsets.Task]string
	inputTime map[offsets.Task][]int64
	notes     notes
}

// Status reads how the application is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	state, birth, err := c.stateAndBirth(ctx)
	if err != nil {
		return Status{}, err
	}
	l := look{
		birth: birth, names: offsets.Names{Application: c.application, Timeline: birth.Timeline},
		metadata: map[offsets.Task]offsets.Metadata{}, owner: map[offsets.Task]string{},
		localAt: map[offsets.Task][]string{}, standbys: map[offsets.Task][]string{}, movesTo: map[offsets.Task]string{}, inputTime: map[offsets.Task][]int64{},
	}
	if err := l.read(ctx, kadm.NewClient(c.client)); err != nil {
		return Status{}, fmt.Errorf("status of %s: %w", c.application, err)
	}
	var unknown error // what workers say beside their commits is the smaller part of a status
	l.notes, unknown = c.notes(ctx, l.names.Epochs())
	s := Status{
		Application: c.application, Timeline: birth.Timeline, Born: birth.Born,
		Group: l.names.Group(), GroupState: l.group.State, Lanes: []Lane{}, Tasks: []Task{}, Problems: []string{},
	}
	if unknown != nil {
		s.Problems = append(s.Problems, unknown.Error())
	}
	if s.Checkpoints, err = c.Checkpoints(ctx); err != nil {
		return Status{}, err
	}
	l.members(&s)
	l.tasks(&s)
	s.Drain = drain(&state, &s, l.hasLoops())
	l.judge(&s)
	return s, nil
}

func (l *look) read(ctx context.Context, adm *kadm.Client) error {
	groups, err := adm.DescribeGroups(ctx, l.names.Group())
	if err != nil {
		return fmt.Errorf("describe group: %w", err)
	}
	l.group = groups[l.names.Group()]
	if errors.Is(l.group.Err, kerr.GroupIDNotFound) {
		l.group = kadm.DescribedGroup{State: "Dead"} // Kafka 4 has no other word for a group without members and positions
	}
	if l.group.Err != nil {
		return fmt.Errorf("describe group: %w", l.group.Err)
	}
	if l.positions, err = adm.FetchOffsets(ctx, l.names.Group()); err != nil {
		return fmt.Errorf("fetch positions: %w", err)
	}
	var topics []string
	for topic := range l.birth.Partitions {
		topics = append(topics, topic)
	}
	if l.ends, err = adm.ListCommittedOffsets(ctx, topics...); err != nil {
		return fmt.Errorf("list ends: %w", err)
	}
	if l.starts, err = adm.ListStartOffsets(ctx, topics...); err != nil {
		return fmt.Errorf("list starts: %w", err)
	}
	return nil
}

const (
	stable = "Stable"
	clock  = "15:04:05 MST"
)

// members finds who has which task.
func (l *look) members(s *Status) {
	for _, m := range l.group.Members {
		lane := Lane{Worker: m.MemberID, Host: m.ClientHost}
		if m.InstanceID != nil {
			if worker, n, ok := offsets.ParseGroupInstance(*m.InstanceID); ok {
				lane.Worker, lane.Lane = worker, n
			}
		}
		if l.group.State != stable {
			s.Lanes = append(s.Lanes, lane) // what members say is told when all have joined
			continue
		}
		join, ok1 := m.Join.AsConsumer()
		assigned, ok2 := m.Assigned.AsConsumer()
		if !ok1 || !ok2 {
			s.Problems = append(s.Problems, fmt.Sprintf("member %s of group %s is not weir's", m.MemberID, s.Group))
			continue
		}
		member, err1 := processor.DecodeGroupMember(join.AppendTo(nil))
		assignment, err2 := processor.DecodeGroupAssignment(assigned.AppendTo(nil))
		switch {
		case err1 != nil:
			s.Problems = append(s.Problems, fmt.Sprintf("member %s: %v", lane.name(), err1))
		case err2 != nil:
			// Without an assignment: it joins just now.
		case assignment.Refused != "":
			s.Problems = append(s.Problems, fmt.Sprintf("worker %s is refused: %s", lane.name(), assignment.Refused))
		}
		lane.Tasks, lane.Local = len(assignment.Tasks), len(member.Local)
		for _, t := range assignment.Tasks {
			l.owner[t] = lane.name()
		}
		for _, t := range assignment.Standbys {
			l.standbys[t] = append(l.standbys[t], lane.Worker)
		}
		for _, t := range assignment.Warming {
			l.movesTo[t] = lane.Worker
		}
		for _, t := range member.Local {
			if !slices.Contains(l.localAt[t], lane.Worker) {
				l.localAt[t] = append(l.localAt[t], lane.Worker)
			}
		}
		s.Lanes = append(s.Lanes, lane)
	}
	slices.SortFunc(s.Lanes, func(a, b Lane) int { return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Lane, b.Lane)) })
}

func (l Lane) name() string { return fmt.Sprintf("%s/%d", l.Worker, l.Lane) }

func (l *look) topic(in topology.InputDescription) string {
	if in.Internal {
		return l.names.Repartition(in.Topic)
	}
	return in.Topic
}

func (l *look) tasks(s *Status) {
	for _, sub := range l.birth.Plan.Subs {
		for p := range l.birth.Partitions[l.topic(sub.Inputs[0])] {
			s.Tasks = append(s.Tasks, l.task(s, sub, offsets.Task{Sub: int32(sub.ID), Partition: p}))
		}
	}
	// What holds time back is known when all tasks are.
	for i := range s.Tasks {
		id, err := offsets.ParseTask(s.Tasks[i].Task)
		if err == nil {
			s.Tasks[i].HeldBy = l.heldBy(id, len(l.birth.Plan.Subs))
		}
		s.Lag += s.Tasks[i].Lag
	}
}

func (l *look) task(s *Status, sub topology.SubDescription, id offsets.Task) Task {
	t := Task{Task: id.String(), Owner: l.owner[id], LocalAt: l.localAt[id], Standbys: l.standbys[id], MovesTo: l.movesTo[id], Epoch: offsets.EpochID{}.String(), Inputs: []Input{}}
	for _, in := range sub.Inputs {
		input := Input{Topic: l.topic(in), Partition: id.Partition, Position: -1}
		inputTime := int64(offsets.NoTime)
		if end, ok := l.ends.Lookup(input.Topic, id.Partition); ok && end.Err == nil {
			input.End = end.Offset
		}
		o, ok := l.positions.Lookup(input.Topic, id.Partition)
		if !ok || o.Err != nil || o.At < 0 {
			s.Problems = append(s.Problems, fmt.Sprintf("task %s has no position in %s/%d", id, input.Topic, id.Partition))
		} else {
			input.Position, input.Lag = o.At, max(input.End-o.At, 0)
			m, err := offsets.DecodeMetadata(o.Metadata)
			if err != nil {
				s.Problems = append(s.Problems, fmt.Sprintf("task %s, metadata beside its position in %s/%d: %v", id, input.Topic, id.Partition, err))
			} else {
				inputTime = m.InputTime
				input.Watermark = watermark(m.InputTime)
				l.metadata[id] = m
				t.Epoch, t.Watermark = m.Epoch.String(), watermark(m.Time)
				if !m.Epoch.Birth() {
					wall := time.UnixMilli(m.Wall).UTC()
					t.Committed = &wall
				}
			}
		}
		t.Lag += input.Lag
		l.inputTime[id] = append(l.inputTime[id], inputTime)
		t.Inputs = append(t.Inputs, input)
	}
	// Notes are believed of the owner.
	if r := l.notes.restoring[id]; r != nil && (t.Owner == "" || t.Owner == r.Owner) && (t.Committed == nil || t.Committed.Before(r.Since)) {
		t.Restoring = r
	}
	if w := l.notes.waiting[id]; w != nil && (t.Owner == "" || t.Owner == w.Owner) {
		t.Waiting = w
	}
	for i, st := range sub.Stores {
		store := Store{UID: st.UID, Topic: l.names.Changelog(st.UID)}
		if ends := l.metadata[id].Ends; i < len(ends) {
			store.End = ends[i]
			if start, ok := l.starts.Lookup(store.Topic, id.Partition); ok {
				store.Rebuild = max(store.End-start.Offset, 0)
			}
		}
		t.Stores = append(t.Stores, store)
	}
	return t
}

// heldBy follows time upstream: to the input with the lowest watermark, through a
// repartition topic to the task that is furthest behind, up to a source partition. Loops
// have no time and hold nobody.
func (l *look) heldBy(id offsets.Task, depth int) string {
	times, inputs := l.inputTime[id], l.birth.Plan.Subs[id.Sub].Inputs
	lowest := -1
	for i, at := range times {
		if !inputs[i].Loop && (lowest < 0 || at < times[lowest]) {
			lowest = i
		}
	}
	if lowest < 0 || depth < 0 {
		return ""
	}
	in := inputs[lowest]
	if !in.Internal {
		return fmt.Sprintf("%s/%d", in.Topic, id.Partition)
	}
	last := offsets.Task{Sub: -1}
	for _, up := range in.Upstream {
		for p := range l.birth.Partitions[l.topic(l.birth.Plan.Subs[up].Inputs[0])] {
			t := offsets.Task{Sub: int32(up), Partition: p}
			if last.Sub < 0 || l.time(t) < l.time(last) {
				last = t
			}
		}
	}
	if last.Sub < 0 || last == id {
		return ""
	}
	return l.heldBy(last, depth-1)
}

func (l *look) time(t offsets.Task) int64 {
	m, ok := l.metadata[t]
	if !ok {
		return offsets.NoTime
	}
	return m.Time
}

// judge adds what is true of the whole, and what is wrong with it.
func (l *look) judge(s *Status) {
	lowest := -1
	var orphans []string
	for i, t := range s.Tasks {
		if t.Owner == "" {
			orphans = append(orphans, t.Task)
		}
		if w := t.Waiting; w != nil {
			s.Problems = append(s.Problems, fmt.Sprintf("task %s failed at %s (failure %d of %s) and is tried again at %s: %s",
				t.Task, w.Since.Format(clock), w.Attempt, w.Strategy, w.Next.Format(clock), w.Cause))
		}
		if lowest < 0 || before(t.Watermark, s.Tasks[lowest].Watermark) {
			lowest = i
		}
	}
	if lowest >= 0 {
		s.Watermark, s.HeldBy = s.Tasks[lowest].Watermark, s.Tasks[lowest].HeldBy
	}
	switch {
	case len(s.Lanes) == 0:
		s.Problems = append(s.Problems, "no worker runs")
	case l.group.State != stable:
		s.Problems = append(s.Problems, "the group is rebalancing: "+l.group.State)
	case len(orphans) > 0:
		s.Problems = append(s.Problems, fmt.Sprintf("nobody runs %v", orphans))
	}
	for _, e := range []error{l.ends.Error(), l.starts.Error()} {
		if e != nil {
			s.Problems = append(s.Problems, e.Error())
		}
	}
}

func (l *look) hasLoops() bool {
	return slices.ContainsFunc(l.birth.Plan.Subs, func(s topology.SubDescription) bool {
		return slices.ContainsFunc(s.Inputs, func(in topology.InputDescription) bool { return in.Loop })
	})
}

func before(a, b *Time) bool {
	if a == nil || b == nil {
		return a == nil && b != nil
	}
	return a.Time.Before(b.Time)
}
