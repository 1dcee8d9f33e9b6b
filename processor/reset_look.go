package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
)

// ResetPosition is where a source begins. The zero value: where the plan says.
type ResetPosition struct {
	kind   resetKind
	at     time.Time
	offset int64
}

type resetKind uint8

const (
	asPlanned resetKind = iota
	toEarliest
	toLatest
	toTime
	toOffset
)

// The positions of ResetOptions.
var (
	ResetToEarliest = ResetPosition{kind: toEarliest}
	ResetToLatest   = ResetPosition{kind: toLatest}
)

// ResetToTime is the first record that is not older; behind the last one if all are.
func ResetToTime(at time.Time) ResetPosition { return ResetPosition{kind: toTime, at: at} }

// ResetToOffset is that record of each partition it is said for.
func ResetToOffset(offset int64) ResetPosition { return ResetPosition{kind: toOffset, offset: offset} }

// ParseResetPosition reads earliest, latest, an offset, or a time as in 2026-01-31T12:00:00Z.
func ParseResetPosition(s string) (ResetPosition, error) {
	switch s {
	case "earliest":
		return ResetToEarliest, nil
	case "latest":
		return ResetToLatest, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
		return ResetToOffset(n), nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return ResetToTime(at), nil
	}
	return ResetPosition{}, fmt.Errorf("%q is no position: known are earliest, latest, an offset, and a time such as 2026-01-31T12:00:00Z", s)
}

func (p ResetPosition) String() string {
	switch p.kind {
	case toEarliest:
		return "earliest"
	case toLatest:
		return "latest"
	case toTime:
		return p.at.Format(time.RFC3339)
	case toOffset:
		return strconv.FormatInt(p.offset, 10)
	}
	return "as the plan says"
}

// position is what the options say of a partition.
func (o ResetOptions) position(tp topicPartition) ResetPosition {
	if p, ok := o.Positions[fmt.Sprintf("%s/%d", tp.Topic, tp.Partition)]; ok {
		return p
	}
	if p, ok := o.Positions[tp.Topic]; ok {
		return p
	}
	return o.To
}

// sources are the partitions of all sources, with where they were and where they begin. All that is wrong is refused
// at once.
func (r *resetter) sources(ctx context.Context, active uint32) (all []ResetSource, err error) {
	topics := r.app.sources()
	slices.Sort(topics)
	if err := r.knownPositions(topics); err != nil {
		return nil, err
	}
	found, err := r.adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("look up topics: %w", err)
	}
	starts, ends, err := r.logs(ctx, topics, found)
	if err != nil {
		return nil, err
	}
	planned := map[topicPartition]int64{}
	for _, sub := range r.app.graph.Subs {
		for _, in := range sub.Inputs {
			if in.Internal {
				continue
			}
			if err := r.app.startOf(ctx, r.adm, in.Topic, in, planned); err != nil {
				return nil, err
			}
		}
	}
	group := offsets.Names{Application: r.plan.Application(), Timeline: active}.Group()
	were, err := r.adm.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("positions of group %s: %w", group, err)
	}
	times := map[time.Time]kadm.ListedOffsets{}
	var wrong []error
	for _, topic := range topics {
		for p := range r.app.partitions[topic] {
			tp := topicPartition{topic, p}
			lo, _ := starts.Lookup(topic, p)
			hi, _ := ends.Lookup(topic, p)
			s := ResetSource{Topic: topic, Partition: p, From: -1, Start: lo.Offset, End: hi.Offset}
			if o, ok := were.Lookup(topic, p); ok && o.Err == nil {
				s.From = o.At
			}
			switch to := r.o.position(tp); to.kind {
			case toEarliest:
				s.To = s.Start
			case toLatest:
				s.To = s.End
			case toOffset:
				if s.To = to.offset; s.To < s.Start || s.To > s.End {
					wrong = append(wrong, r.refuse(fmt.Sprintf("offset %d of %s is outside the log [%d, %d]", s.To, tp, s.Start, s.End), "name one that is inside, earliest or latest"))
				}
			case toTime:
				listed, ok := times[to.at]
				if !ok {
					if listed, err = r.adm.ListOffsetsAfterMilli(ctx, to.at.UnixMilli(), topics...); err == nil {
						err = listed.Error()
					}
					if err != nil {
						return nil, fmt.Errorf("list offsets of %s: %w", to.at, err)
					}
					times[to.at] = listed
				}
				if o, ok := listed.Lookup(topic, p); ok && o.Offset >= 0 {
					s.To = o.Offset
				} else {
					s.To = s.End
				}
			default:
				s.To = planned[tp]
			}
			all = append(all, s)
		}
	}
	return all, errors.Join(wrong...)
}

// knownPositions refuses positions of what is no source.
func (r *resetter) knownPositions(topics []string) error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(r.o.Positions)) {
		topic, number, of := strings.Cut(name, "/")
		p, err := strconv.ParseInt(number, 10, 32)
		switch {
		case !slices.Contains(topics, topic):
			wrong = append(wrong, r.refuse(fmt.Sprintf("%s has a position, and is no source of the plan", topic), "name one of "+strings.Join(topics, ", ")))
		case of && (err != nil || p < 0 || p >= int64(r.app.partitions[topic])):
			wrong = append(wrong, r.refuse(fmt.Sprintf("%s has a position: %s has the partitions 0 to %d", name, topic, r.app.partitions[topic]-1), "check the number"))
		}
	}
	return errors.Join(wrong...)
}

// members are those of a timeline's group.
func (r *resetter) members(ctx context.Context, active uint32) (who []string, err error) {
	who = []string{}
	group := offsets.Names{Application: r.plan.Application(), Timeline: active}.Group()
	gs, err := r.adm.DescribeGroups(ctx, group)
	if err == nil {
		err = gs.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	for _, m := range gs[group].Members {
		if m.InstanceID != nil {
			who = append(who, *m.InstanceID)
		} else {
			who = append(who, m.MemberID)
		}
	}
	slices.Sort(who)
	return who, nil
}

// storesOf are those of a timeline.
func storesOf(born control.Born) (uids []string, err error) {
	if len(born.Plan) == 0 {
		return nil, nil
	}
	var plan topology.Description
	if err := json.Unmarshal(born.Plan, &plan); err != nil {
		return nil, fmt.Errorf("the plan of timeline %d: %w", born.Timeline, err)
	}
	for _, sub := range plan.Subs {
		for _, s := range sub.Stores {
			uids = append(uids, s.UID)
		}
	}
	slices.Sort(uids)
	return uids, nil
}

// timelineOf is the number in <application>.<timeline>.…
func timelineOf(application, name string) (uint32, bool) {
	rest, ok := strings.CutPrefix(name, application+".")
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), ok && err == nil && n > 0
}

// older are the topics of timelines before one.
func (r *resetter) older(ctx context.Context, line uint32) (old []string, err error) {
	found, err := r.adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	for topic := range found {
		if n, ok := timelineOf(r.plan.Application(), topic); ok && n < line {
			old = append(old, topic)
		}
	}
	slices.Sort(old)
	return old, nil
}

// deleteOld deletes topics and groups of timelines before one, if that is asked for. What is gone already is no mistake.
func (r *resetter) deleteOld(ctx context.Context, line uint32) error {
	if !r.o.DeleteOld {
		return nil
	}
	r.step("delete")
	topics, err := r.older(ctx, line)
	if err != nil {
		return err
	}
	r.out.Deleted = nil
	if len(topics) > 0 {
		gone, err := r.adm.DeleteTopics(ctx, topics...)
		if err != nil {
			return fmt.Errorf("delete topics of older timelines: %w", err)
		}
		for _, d := range gone.Sorted() {
			if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
				return fmt.Errorf("delete topic %s: %w", d.Topic, d.Err)
			}
			r.out.Deleted = append(r.out.Deleted, d.Topic)
		}
	}
	listed, err := r.adm.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	for _, group := range listed.Groups() {
		if n, ok := timelineOf(r.plan.Application(), group); !ok || n >= line {
			continue
		}
		gone, err := r.adm.DeleteGroup(ctx, group)
		if err == nil {
			err = gone.Err
		}
		if errors.Is(err, kerr.NonEmptyGroup) {
			continue // workers that were stopped are members until their session ends
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("delete group %s: %w", group, err)
		}
		r.out.Deleted = append(r.out.Deleted, "group "+group)
	}
	return nil
}
