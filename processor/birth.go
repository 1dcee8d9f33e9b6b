package processor

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// retryPause is between two looks at something that the brokers are still busy with.
const retryPause = 50 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// giveBirth makes the first timeline: topics, then one transaction with the positions of
// all tasks and the record born. It is single-flight by its transactional id, and safe to
// repeat from any point where it died: topics that exist are checked, and before the
// transaction nothing counts. When another worker was faster, it does nothing.
func giveBirth(ctx context.Context, cfg *config, plan *topology.Plan, adm *kgo.Client) error {
	names := offsets.Names{Application: plan.Application()}
	if err := createTopics(ctx, adm, []internalTopic{{names.Control(), 1, settings.control}}); err != nil {
		return err
	}
	txn := &transaction{name: names.BirthTransactionalID(), timeout: 30 * time.Second, make: func() (*kgo.Client, error) {
		return cfg.client(kgo.TransactionalID(names.BirthTransactionalID()), kgo.TransactionTimeout(30*time.Second),
			kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}}
	defer txn.close()
	if err := txn.reinit(ctx); err != nil {
		return err
	}
	// Whoever holds the id now is alone: the control topic says whether another was faster.
	state, err := readControl(ctx, cfg, plan.Application(), false)
	if err != nil {
		return err
	}
	if _, born := state.Newest(); born {
		return nil
	}
	if err := mayBeBorn(state, names); err != nil {
		return err
	}
	a := newApplication(cfg, plan, state.Next())
	if err := a.measure(ctx, adm); err != nil {
		return err
	}
	topics := a.internalTopics()
	if err := createTopics(ctx, adm, topics); err != nil {
		return err
	}
	if err := a.identify(ctx, adm); err != nil {
		return err
	}
	a.layOut()
	at, err := a.initialPositions(ctx, adm)
	if err != nil {
		return err
	}
	// Without an answer the next look at the control topic tells.
	if err := a.commitBirth(ctx, txn, beginning{at: at}); err != nil && judge(err) != verdictUnknown {
		return err
	}
	return nil
}

// mayBeBorn says whether an application without a birth may have one. One that a rewind is to
// begin waits for it; what a rewind has made is born in the same transaction, as positions of
// ours would not be those that it meant.
func mayBeBorn(state control.State, names offsets.Names) error {
	if active := state.Active(); active != 0 {
		return &Error{What: fmt.Sprintf("timeline %d is active and was never born", active), Where: "control topic " + names.Control(), Err: ErrTopic,
			Fix: "find out what else writes to it, or start under a new application name"}
	}
	if err := state.Check(0); err != nil {
		return errors.Join(ErrTimelineOver, err)
	}
	return nil
}

// beginning is what a timeline begins with.
type beginning struct {
	at       map[topicPartition]int64 // first positions of all inputs
	metadata func(offsets.Task, topicPartition) offsets.Metadata
	active   *control.Active // of a rewind
}

// measure looks the user's topics up and decides how many partitions the internal ones get.
func (a *application) measure(ctx context.Context, cl *kgo.Client) error {
	found, err := kadm.NewClient(cl).ListTopics(ctx, slices.Concat(a.sources(), a.sinks())...)
	if err != nil {
		return fmt.Errorf("look up topics: %w", err)
	}
	var errs []error
	for role, topics := range map[string][]string{"source": a.sources(), "sink": a.sinks()} {
		for _, topic := range topics {
			d, ok := found[topic]
			if !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
				errs = append(errs, missingTopic(topic, role, a.names.Application))
			} else if d.Err != nil {
				errs = append(errs, fmt.Errorf("look up %s topic %s: %w", role, topic, d.Err))
			}
			a.partitions[topic] = int32(len(d.Partitions))
			if role == "source" && a.cfg.internal == 0 {
				a.internal = max(a.internal, int32(len(d.Partitions)))
			}
		}
	}
	if a.cfg.internal != 0 {
		a.internal = int32(a.cfg.internal)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	a.internalTopics() // fills in the repartition topics
	return errors.Join(a.checkCoPartitioned()...)
}

// checkCoPartitioned: the inputs of one sub-topology are read in step by partition number,
// so they need equally many.
func (a *application) checkCoPartitioned() (errs []error) {
	for s := range a.graph.Subs {
		for i := range a.graph.Subs[s].Inputs {
			first, other := a.topicOf(s, 0), a.topicOf(s, i)
			if a.partitions[first] != a.partitions[other] {
				errs = append(errs, &Error{
					What:  fmt.Sprintf("%s has %d partitions, %s has %d, and they are merged or joined", first, a.partitions[first], other, a.partitions[other]),
					Where: "application " + a.names.Application, Err: ErrTopic,
					Fix: "give both the same number of partitions, or put .Repartition or KeyBy between a source and the merge; a loop takes .Partitions",
				})
			}
		}
	}
	return errs
}

// identify learns the topic ids.
func (a *application) identify(ctx context.Context, cl *kgo.Client) error {
	names := slices.Sorted(maps.Keys(a.partitions))
	for s := range a.graph.Subs {
		for i := range a.graph.Subs[s].Stores {
			name := a.changelogTopic(s, i)
			a.partitions[name] = a.partitionsOf(s)
			names = append(names, name)
		}
	}
	found, err := awaitTopics(ctx, kadm.NewClient(cl), names)
	if err != nil {
		return err
	}
	for topic, d := range found {
		a.topicIDs[topic] = [16]byte(d.ID)
	}
	return nil
}

// initialPositions are where each source begins, as the plan says; internal topics begin
// at their start.
func (a *application) initialPositions(ctx context.Context, cl *kgo.Client) (map[topicPartition]int64, error) {
	adm := kadm.NewClient(cl)
	// The coordinator knows all that was decided before it decides anything.
	at := map[topicPartition]int64{{a.names.Control(), 0}: 0, {a.names.Acks(), 0}: 0}
	for s := range a.graph.Subs {
		for i, in := range a.graph.Subs[s].Inputs {
			if err := a.startOf(ctx, adm, a.topicOf(s, i), in, at); err != nil {
				return nil, err
			}
		}
	}
	return at, nil
}

// startOf notes where an input begins.
func (a *application) startOf(ctx context.Context, adm *kadm.Client, topic string, in task.Input, at map[topicPartition]int64) error {
	var got kadm.ListedOffsets
	var err error
	switch {
	case in.Internal, in.Start.Kind == task.Earliest:
		got, err = adm.ListStartOffsets(ctx, topic)
	case in.Start.Kind == task.Latest:
		got, err = adm.ListEndOffsets(ctx, topic)
	default:
		got, err = adm.ListOffsetsAfterMilli(ctx, in.Start.At.UnixMilli(), topic)
	}
	if err == nil {
		err = got.Error()
	}
	if err != nil {
		return fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	for p := range a.partitions[topic] {
		o, ok := got.Lookup(topic, p)
		if !ok || o.Offset < 0 {
			return fmt.Errorf("list offsets of %s/%d: no offset", topic, p)
		}
		at[topicPartition{topic, p}] = o.Offset
	}
	return nil
}

// commitBirth is the one commit without a member: the group is empty, because nobody joins
// it before the record born is there.
func (a *application) commitBirth(ctx context.Context, txn *transaction, b beginning) error {
	plan, err := json.Marshal(a.plan.Describe())
	if err != nil {
		return fmt.Errorf("describe the plan: %w", err)
	}
	born := control.Born{
		Timeline: a.names.Timeline, Fingerprint: a.plan.Fingerprint(), InternalPartitions: a.internal,
		Partitions: map[string]int32{}, TopicIDs: map[string]string{}, Wall: time.Now().UnixMilli(), Plan: plan,
	}
	sinks := a.sinks()
	for topic, n := range a.partitions {
		if !slices.Contains(sinks, topic) {
			id := a.topicIDs[topic]
			born.Partitions[topic], born.TopicIDs[topic] = n, hex.EncodeToString(id[:])
		}
	}
	records := []control.Record{born}
	if b.active != nil {
		records = []control.Record{*b.active, born}
	}
	if err := txn.begin(ctx); err != nil {
		return err
	}
	err = txn.decide(ctx, a.names.Control(), records...)
	if err == nil {
		err = a.sendBirthOffsets(ctx, txn, b)
	}
	if err != nil {
		return errors.Join(err, txn.abort(ctx))
	}
	failpoint("birth")
	return txn.commit(ctx)
}

// decide writes records to the control topic in the open transaction.
func (t *transaction) decide(ctx context.Context, topic string, records ...control.Record) error {
	for _, r := range records {
		key, value, err := control.Encode(r)
		if err != nil {
			return err
		}
		rec := t.arena.record()
		rec.Topic, rec.Key, rec.Value = topic, key, value
		t.produce(ctx, rec, t.promise(nil, nil))
	}
	return t.flush(ctx)
}

func (a *application) sendBirthOffsets(ctx context.Context, txn *transaction, b beginning) error {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = txn.name, a.names.Group()
	req.ProducerID, req.ProducerEpoch = txn.who.id, txn.who.epoch
	req.Generation = -1
	topics := map[string]*kmsg.TxnOffsetCommitRequestTopic{}
	for _, t := range a.tasks() {
		for _, tp := range a.inputs(t) {
			m := offsets.Metadata{Time: offsets.NoTime, InputTime: offsets.NoTime, Ends: make([]int64, len(a.stores(t)))}
			if b.metadata != nil {
				m = b.metadata(t, tp)
			}
			m.Timeline, m.Wall = a.names.Timeline, time.Now().UnixMilli()
			text, err := m.Encode()
			if err != nil {
				return fmt.Errorf("metadata of task %s: %w", t, err)
			}
			rt := topics[tp.Topic]
			if rt == nil {
				rt = new(kmsg.NewTxnOffsetCommitRequestTopic())
				rt.Topic, rt.TopicID = tp.Topic, a.topicIDs[tp.Topic]
				topics[tp.Topic] = rt
			}
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.Metadata = tp.Partition, b.at[tp], &text
			rt.Partitions = append(rt.Partitions, p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		req.Topics = append(req.Topics, *topics[name])
	}
	resp, err := req.RequestWith(ctx, txn.client)
	if err != nil {
		return fmt.Errorf("commit first positions of %s: %w", req.Group, err)
	}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("commit first position of partition %d in %s: %w", p.Partition, req.Group, err)
			}
		}
	}
	return nil
}
