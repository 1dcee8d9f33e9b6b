package processor

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// origin says where the parts of a plan come from in a manifest. Stores and repartitions are
// found by uid and sources by topic, so that a sub-topology may have another number, or be
// made up of several. Partitions have the numbers that they had.
type origin struct {
	m       *snapshot.Manifest
	a       *application
	plan    topology.Description // of the manifest
	subs    [][]int32            // by sub-topology of the plan: those of the manifest that read what it reads
	tasks   map[offsets.Task]*snapshot.TaskState
	reads   map[topicPartition]snapshot.Position // of the manifest, by the names that the plan has now
	jobs    []storeCopy
	added   []string
	left    []string
	renamed map[string]string // by uid of the manifest: what the plan calls it
	had     map[string]bool   // uids of the manifest

	at map[topicPartition]int64 // first positions of sources, known when they are verified
}

// storeCopy is rows of the manifest and the store that they are for.
type storeCopy struct {
	from     offsets.Task
	uid      string
	to       offsets.Task
	store    int  // index in the plan, -1: the store is gone
	timeFrom bool // the task's time is taken from there
	divided  bool // rows go to all tasks of the sub-topology of to, by key
}

func newOrigin(m *snapshot.Manifest, a *application, renamed map[string]string) (*origin, error) {
	o := &origin{m: m, a: a, renamed: renamed, tasks: map[offsets.Task]*snapshot.TaskState{}, reads: map[topicPartition]snapshot.Position{}, at: map[topicPartition]int64{}}
	if err := json.Unmarshal(m.Plan, &o.plan); err != nil {
		return nil, fmt.Errorf("the plan in manifest of cut %d: %w", m.Cut, err)
	}
	o.rename()
	for i := range m.Tasks {
		o.tasks[m.Tasks[i].Task] = &m.Tasks[i]
		for _, p := range m.Tasks[i].Positions {
			o.reads[topicPartition{p.Topic, p.Partition}] = p
		}
	}
	for s := range a.graph.Subs {
		var subs []int32
		for _, in := range a.graph.Subs[s].Inputs {
			sub, there := o.reader(in.Topic, in.Internal)
			if there && !slices.Contains(subs, sub) {
				subs = append(subs, sub)
			}
			if !there && !in.Internal {
				o.added = append(o.added, "source "+in.Topic)
			}
		}
		o.subs = append(o.subs, subs)
	}
	return o, nil
}

// manifestNames are those of what the manifest is of.
func (o *origin) manifestNames() offsets.Names {
	return offsets.Names{Application: o.m.Application, Timeline: o.m.Timeline}
}

// reader is the sub-topology of the manifest that read the input.
func (o *origin) reader(topic string, internal bool) (int32, bool) {
	for i, sub := range o.plan.Subs {
		for _, in := range sub.Inputs {
			if in.Topic == topic && in.Internal == internal {
				return int32(i), true
			}
		}
	}
	return 0, false
}

// store is one of the manifest.
func (o *origin) store(uid string) (sub int32, index int, s topology.StoreDescription, ok bool) {
	for i := range o.plan.Subs {
		for j, s := range o.plan.Subs[i].Stores {
			if s.UID == uid {
				return int32(i), j, s, true
			}
		}
	}
	return 0, 0, s, false
}

// writers are the sub-topologies of the manifest that wrote a repartition.
func (o *origin) writers(uid string) (subs []int32, records topology.OutputDescription) {
	for i := range o.plan.Subs {
		for _, out := range o.plan.Subs[i].Outputs {
			if out.Internal && out.Topic == uid {
				subs, records = append(subs, int32(i)), out
			}
		}
	}
	return subs, records
}

// match lays out what is copied where, and says what does not fit. allowed may be left
// behind.
func (o *origin) match(allowed []string) (wrong []string) {
	leave := func(name, what string) {
		if slices.Contains(allowed, name) {
			o.left = append(o.left, name)
			return
		}
		wrong = append(wrong, what+" is not in the plan")
	}
	is := o.a.plan.Describe()
	stores := map[string]topology.StoreDescription{}
	repartitions := map[string]topology.OutputDescription{}
	sources := map[string]bool{}
	for i := range is.Subs {
		for _, s := range is.Subs[i].Stores {
			stores[s.UID] = s
			if _, _, _, ok := o.store(s.UID); !ok {
				o.added = append(o.added, "store "+s.UID)
			}
		}
		for _, out := range is.Subs[i].Outputs {
			if out.Internal {
				repartitions[out.Topic] = out
			}
		}
		for _, in := range is.Subs[i].Inputs {
			sources[in.Topic] = sources[in.Topic] || !in.Internal
		}
	}
	for i := range o.plan.Subs {
		for _, was := range o.plan.Subs[i].Stores {
			s, ok := stores[was.UID]
			switch {
			case !ok:
				leave(was.UID, "store "+was.UID)
			case s.Kind != was.Kind || s.KeyCodec != was.KeyCodec || s.ValueCodec != was.ValueCodec || s.WindowMS != was.WindowMS:
				wrong = append(wrong, fmt.Sprintf("store %s has rows of %s, the plan wants %s: give it a new uid and let the old one be left behind", was.UID, rowsOf(was), rowsOf(s)))
			}
		}
		for _, in := range o.plan.Subs[i].Inputs {
			if !in.Internal && !sources[in.Topic] {
				leave(in.Topic, "source "+in.Topic)
			}
		}
	}
	for _, part := range o.m.InFlight {
		uid := o.is(part.UID)
		out, ok := repartitions[uid]
		_, was := o.writers(uid)
		name := fmt.Sprintf("repartition %s", uid)
		switch {
		case !ok && part.From < part.To && !slices.Contains(o.left, uid):
			leave(uid, fmt.Sprintf("%s, which has records in flight,", name))
		case ok && (out.KeyCodec != was.KeyCodec || out.ValueCodec != was.ValueCodec):
			if what := fmt.Sprintf("%s has records of key %s, value %s, the plan wants key %s, value %s: give it a new uid and let the old one be left behind",
				name, was.KeyCodec, was.ValueCodec, out.KeyCodec, out.ValueCodec); !slices.Contains(wrong, what) {
				wrong = append(wrong, what)
			}
		}
	}
	o.layOut()
	return wrong
}

func rowsOf(s topology.StoreDescription) string {
	text := fmt.Sprintf("kind %s, key %s, value %s", s.Kind, s.KeyCodec, s.ValueCodec)
	if s.WindowMS != 0 {
		text += fmt.Sprintf(", windows of %d ms", s.WindowMS)
	}
	return text
}

// layOut lists the copies, in the order of the plan.
func (o *origin) layOut() {
	o.jobs = nil
	for s := range o.a.graph.Subs {
		sub := &o.a.graph.Subs[s]
		first := ""
		if sub.HasTime && len(o.subs[s]) == 1 {
			if was := o.plan.Subs[o.subs[s][0]].Stores; len(was) > 0 {
				first = was[0].UID
			}
		}
		seen := false
		for i, spec := range sub.Stores {
			if was, _, _, ok := o.store(spec.UID); ok {
				o.copies(int32(s), was, spec.UID, i, spec.UID == first)
				seen = seen || spec.UID == first
			}
		}
		if first != "" && !seen {
			// Its first store is gone, or went to another sub-topology, and had its time.
			o.copies(int32(s), o.subs[s][0], first, -1, true)
		}
	}
}

// copies lists those of a store of sub-topology was.
func (o *origin) copies(sub, was int32, uid string, store int, timeFrom bool) {
	n, divided := o.a.partitionsOf(int(sub)), o.resized(sub, was)
	if divided {
		n = o.tasksOf(was)
	}
	for p := range n {
		from := offsets.Task{Sub: was, Partition: p}
		if o.m.Store(from, o.was(uid)) == nil {
			continue
		}
		job := storeCopy{from: from, uid: o.was(uid), to: offsets.Task{Sub: sub, Partition: p}, store: store, timeFrom: timeFrom, divided: divided}
		o.jobs = append(o.jobs, job)
	}
}

// upstream is the sub-topology of the plan that writes a repartition; false for loops, of which
// there may be several, and which have no time.
func (o *origin) upstream(uid string) (int32, bool) {
	for s := range o.a.graph.Subs {
		for _, in := range o.a.graph.Subs[s].Inputs {
			if in.Internal && !in.Loop && in.Topic == uid && len(in.Upstream) == 1 {
				return int32(in.Upstream[0]), true
			}
		}
	}
	return 0, false
}

// writer gives a task that wrote a repartition the number that it has in the plan.
func (o *origin) writer(uid string, was offsets.Task) offsets.Task {
	if sub, ok := o.upstream(uid); ok {
		return offsets.Task{Sub: sub, Partition: was.Partition}
	}
	return was
}

// time is the watermark of a task: the lowest of those that it is made up of.
func (o *origin) time(t offsets.Task) int64 {
	low, first := int64(offsets.NoTime), true
	for _, sub := range o.subs[t.Sub] {
		for _, from := range o.from(t, sub) {
			was := o.tasks[from]
			if was == nil {
				return offsets.NoTime
			}
			if at := task.Reborn(was.Time); first || at < low {
				low, first = at, false
			}
		}
	}
	return low
}

// inputTime is that of one input of a task.
func (o *origin) inputTime(t offsets.Task, tp topicPartition) int64 {
	low, first := int64(offsets.NoTime), true
	for i, in := range o.a.graph.Subs[t.Sub].Inputs {
		if o.a.topicOf(int(t.Sub), i) != tp.Topic {
			continue
		}
		topic, partitions := in.Topic, []int32{tp.Partition}
		if in.Internal {
			topic = o.manifestNames().Repartition(o.was(in.Topic))
			if was, ok := o.reader(in.Topic, true); ok {
				partitions = nil
				for _, from := range o.from(t, was) {
					partitions = append(partitions, from.Partition)
				}
			}
		}
		for _, p := range partitions {
			at, ok := o.reads[topicPartition{topic, p}]
			if !ok {
				return offsets.NoTime
			}
			if time := task.Reborn(at.Time); first || time < low {
				low, first = time, false
			}
		}
	}
	return low
}
