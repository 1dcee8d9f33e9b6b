package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology/task"
)

// verify compares the manifest with the plan and with what Kafka has, and gives all that is
// wrong. It leaves behind the application as it will be under the timeline, and where its
// parts come from.
func (r *rewinder) verify(ctx context.Context, state control.State, line uint32) error {
	var wrong []error
	no := func(fix, format string, args ...any) {
		wrong = append(wrong, r.refuse(fmt.Sprintf(format, args...), fix))
	}
	r.verifyName(state, no)
	r.verifyTime(no)
	r.verifyClaim(state, no)
	if err := r.verifyKept(ctx, state, no); err != nil {
		return err
	}
	// As many internal partitions as there were, unless the plan says something else.
	cfg := *r.cfg
	if r.o.InternalPartitions != 0 {
		cfg.internal = r.o.InternalPartitions
	}
	if cfg.internal == 0 {
		cfg.internal = int(r.m.InternalPartitions)
	}
	r.app = newApplication(&cfg, r.plan, line)
	if err := r.app.measure(ctx, r.client); err != nil {
		var mine *Error
		if !errors.As(err, &mine) {
			return err
		}
		return errors.Join(append(wrong, err)...) // without its topics nothing else can be said
	}
	r.app.layOut()
	var err error
	if r.origin, err = newOrigin(r.m, r.app, r.o.Rename); err != nil {
		return r.refuse(err.Error(), "take another savepoint")
	}
	r.origin.verifyRenames(no)
	for _, what := range r.origin.match(r.o.AllowNonRestored) {
		no("put it back under its uid, or name it as something that may be left behind", "%s", what)
	}
	for _, name := range r.o.AllowNonRestored {
		if !slices.Contains(r.origin.left, name) {
			no("check the spelling", "%s may be left behind, and there is nothing of that name to leave", name)
		}
	}
	r.rescaled = r.origin.rescale(no)
	for _, topic := range r.o.AllowAddedPartitions {
		if !slices.Contains(r.app.sources(), topic) {
			no("check the spelling", "%s may have more partitions, and is no source of the plan", topic)
		}
	}
	for topic := range r.o.Positions {
		if !slices.Contains(r.app.sources(), topic) {
			no("check the spelling", "%s has a position, and is no source of the plan", topic)
		}
	}
	if err := r.verifyPartitions(ctx, no); err != nil {
		return err
	}
	return errors.Join(wrong...)
}

// verifyTime refuses what was taken behind the beginning of a drain, if the plan has windows.
func (r *rewinder) verifyTime(no func(fix, format string, args ...any)) {
	if r.o.AllowDrained || !slices.ContainsFunc(r.plan.Graph().Subs, func(s task.Sub) bool { return s.HasTime }) {
		return
	}
	for _, t := range r.m.Tasks {
		ended := func(p snapshot.Position) bool { return p.Time == offsets.EndOfTime }
		if t.Time == offsets.EndOfTime || slices.ContainsFunc(t.Positions, ended) {
			no("take one from before the drain, or allow it (RewindOptions.AllowDrained, --allow-drained): windows that have fired fire again for records of theirs that come later",
				"it is drained: time has ended in task %s, and its windows have fired", t.Task)
			return
		}
	}
}

func (r *rewinder) verifyName(state control.State, no func(fix, format string, args ...any)) {
	mine := r.plan.Application()
	switch {
	case r.m.Application == mine && r.o.Fork:
		no("leave Fork out to rewind it, or give the plan another name", "it is of application %s itself", mine)
	case r.m.Application != mine && !r.o.Fork:
		no("check the path; a fork is asked for explicitly", "it is of application %s, not of %s", r.m.Application, mine)
	case r.o.Fork && state.Active() != 0:
		no("give the plan a name that was never used", "application %s is there already, on timeline %d: a fork begins a new one", mine, state.Active())
	case r.m.Application == mine && state.Active() == 0:
		no("check the brokers: a fork under another name takes what a lost cluster had", "application %s never ran on these brokers", mine)
	}
}

// verifyKept makes sure that a checkpoint counts. A savepoint stands for itself.
func (r *rewinder) verifyKept(ctx context.Context, state control.State, no func(fix, format string, args ...any)) error {
	if r.m.Kind == snapshot.Savepoint {
		return nil
	}
	if r.m.Application != r.plan.Application() {
		var err error
		if state, err = readControl(ctx, r.cfg, r.m.Application, true); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(state.Kept(), func(k control.Complete) bool {
		return k.ID == r.m.Cut && k.Manifest == r.name && k.Kind == checkpoint.Checkpoint
	}) {
		no("take one that is kept, or a savepoint", "checkpoint %d of %s was never complete, or is not kept any more", r.m.Cut, r.m.Application)
	}
	return nil
}

// verifyPartitions looks at partition counts and positions, and notes where sources begin.
func (r *rewinder) verifyPartitions(ctx context.Context, no func(fix, format string, args ...any)) error {
	var topics []string
	was := map[string]snapshot.Topic{}
	for _, t := range r.m.Topics {
		was[t.Name] = t
	}
	old := r.origin.manifestNames()
	read := map[string]bool{} // topics of the manifest that are read: sources, and pinned repartitions
	for s := range r.app.graph.Subs {
		for _, in := range r.app.graph.Subs[s].Inputs {
			if _, there := r.origin.reader(in.Topic, in.Internal); !there {
				continue
			}
			if !in.Internal {
				read[in.Topic] = true
				continue
			}
			if r.m.Kind == snapshot.Checkpoint {
				read[old.Repartition(r.origin.was(in.Topic))] = true
			}
		}
	}
	for topic := range read {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	if len(topics) == 0 {
		return nil
	}
	found, err := r.adm.ListTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("look up topics: %w", err)
	}
	starts, ends, err := r.logs(ctx, topics, found)
	if err != nil {
		return err
	}
	r.verifyInFlight(found, was, starts, no)
	for _, topic := range r.app.sources() {
		if read[topic] {
			r.verifySource(topic, was[topic], found[topic], starts, ends, no)
		}
	}
	return nil
}

// logs are the beginnings and ends of the topics that exist.
func (r *rewinder) logs(ctx context.Context, topics []string, found kadm.TopicDetails) (starts, ends kadm.ListedOffsets, err error) {
	topics = slices.DeleteFunc(slices.Clone(topics), func(t string) bool { return found[t].Err != nil || len(found[t].Partitions) == 0 })
	if len(topics) == 0 {
		return nil, nil, nil
	}
	if starts, err = r.adm.ListStartOffsets(ctx, topics...); err == nil {
		err = starts.Error()
	}
	if err == nil {
		if ends, err = r.adm.ListEndOffsets(ctx, topics...); err == nil {
			err = ends.Error()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list offsets: %w", err)
	}
	return starts, ends, nil
}

// verifySource says where the partitions of a source begin.
func (r *rewinder) verifySource(topic string, was snapshot.Topic, now kadm.TopicDetail, starts, ends kadm.ListedOffsets, no func(fix, format string, args ...any)) {
	instead, allowed := r.o.Positions[topic]
	const fix = "say where such partitions are to begin: earliest or latest (RewindOptions.Positions, --position topic=earliest)"
	added := allowed || slices.Contains(r.o.AllowAddedPartitions, topic)
	n := int32(len(now.Partitions))
	same := topicID(now) == was.ID
	if !same && !allowed {
		no("positions belong to the old topic; "+fix, "source %s was deleted and created again (topic id %s, was %s)", topic, topicID(now), was.ID)
	}
	if n < was.Partitions {
		no("restore from before, or start under a new application name", "source %s has %d partitions, had %d", topic, n, was.Partitions)
	}
	if n > was.Partitions && !added {
		no("keys have moved to other partitions than their state, which is for you to judge; the new partitions begin at the beginning with AllowAddedPartitions, --allow-added-partitions", "source %s has %d partitions, had %d", topic, n, was.Partitions)
	}
	for p := range n {
		tp := topicPartition{topic, p}
		lo, _ := starts.Lookup(topic, p)
		hi, _ := ends.Lookup(topic, p)
		at, ok := r.origin.reads[tp]
		switch {
		case ok && same && at.Offset >= lo.Offset && at.Offset <= hi.Offset:
			r.origin.at[tp] = at.Offset
		case p >= was.Partitions && added && instead != RewindToLatest:
			r.origin.at[tp] = lo.Offset
		case !allowed:
			if ok && same {
				no("records between the position and the log were lost (retention, truncation); "+fix, "position %d of %s is outside the log [%d, %d]", at.Offset, tp, lo.Offset, hi.Offset)
			}
		case instead == RewindToLatest:
			r.origin.at[tp] = hi.Offset
		default:
			r.origin.at[tp] = lo.Offset
		}
	}
}

// verifyInFlight makes sure that the repartition topics still have what a checkpoint pins.
func (r *rewinder) verifyInFlight(found kadm.TopicDetails, was map[string]snapshot.Topic, starts kadm.ListedOffsets, no func(fix, format string, args ...any)) {
	if r.m.Kind != snapshot.Checkpoint {
		return
	}
	const fix = "take a later checkpoint, or a savepoint"
	missing := map[string]bool{}
	for _, part := range r.m.InFlight {
		topic := r.origin.manifestNames().Repartition(part.UID)
		d, read := found[topic]
		if !read || part.From == part.To || missing[topic] {
			continue
		}
		if d.Err != nil || topicID(d) != was[topic].ID {
			missing[topic] = true
			no(fix, "topic %s, which has records in flight, is gone, or was made anew", topic)
			continue
		}
		if lo, ok := starts.Lookup(topic, part.Partition); !ok || lo.Offset > part.From {
			no(fix, "%s/%d begins at %d: records in flight from %d on are gone", topic, part.Partition, lo.Offset, part.From)
		}
	}
}

// verifyObjects reads every object of the manifest.
func (r *rewinder) verifyObjects(ctx context.Context) error {
	if err := r.bucket.Verify(ctx, r.m, nil); err != nil {
		return errors.Join(r.refuse("its objects are not all whole", "take another one; it says which"), err)
	}
	return nil
}

// verifyStopped waits until the workers of the active timeline are gone: those that have
// stopped are members until their session ends.
func (r *rewinder) verifyStopped(ctx context.Context, state control.State) error {
	born, ok := state.Newest()
	if !ok || r.o.StopWorkers {
		return nil
	}
	group := offsets.Names{Application: r.plan.Application(), Timeline: born.Timeline}.Group()
	for until := time.Now().Add(r.cfg.sessionTimeout + 5*time.Second); ; {
		gs, err := r.adm.DescribeGroups(ctx, group)
		if err == nil {
			err = gs.Error()
		}
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		if err != nil && judge(err) == verdictFatal {
			return fmt.Errorf("describe group %s: %w", group, err)
		}
		if err == nil && len(gs[group].Members) == 0 {
			return nil
		}
		if time.Now().After(until) {
			var who []string
			for _, m := range gs[group].Members {
				name := m.MemberID
				if m.InstanceID != nil {
					name = *m.InstanceID
				}
				who = append(who, name)
			}
			return r.refuse(fmt.Sprintf("application %s is alive: group %s has the members %v", r.plan.Application(), group, who),
				"stop its workers, or let the rewind stop them (RewindOptions.StopWorkers, --stop-workers)")
		}
		if err := pause(ctx, 10*retryPause); err != nil {
			return err
		}
	}
}

// topicID is written as in a manifest.
func topicID(d kadm.TopicDetail) string { return fmt.Sprintf("%x", [16]byte(d.ID)) }
