package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/cli"
)

// openTransaction is a transaction that a worker has begun and not ended.
type openTransaction struct {
	producer int64
	epoch    int16
}

// openOf are the transactions that a worker has open, by transactional id.
func openOf(ctx context.Context, cl *kgo.Client, app, worker string) (map[string]openTransaction, error) {
	adm := kadm.NewClient(cl)
	all, err := adm.ListTransactions(ctx, nil, []string{ongoing})
	if err != nil {
		return nil, fmt.Errorf("list transactions: %w", err)
	}
	var ids []string
	for _, id := range all.TransactionalIDs() {
		if _, instance, _, ok := (offsets.Names{Application: app}).ParseTransactionalID(id); ok && instance == worker {
			ids = append(ids, id)
		}
	}
	open := map[string]openTransaction{}
	if len(ids) == 0 {
		return open, nil
	}
	described, err := adm.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, fmt.Errorf("describe transactions %v: %w", ids, err)
	}
	for id, t := range described {
		if t.Err == nil && t.State == ongoing {
			open[id] = openTransaction{t.ProducerID, t.ProducerEpoch}
		}
	}
	return open, nil
}

const ongoing = "Ongoing"

// stillOpen says whether one of the transactions is what it was. A successor that takes a
// transactional id over aborts what is open under it and raises the producer's epoch.
func stillOpen(ctx context.Context, cl *kgo.Client, was map[string]openTransaction) (open bool, now int16, err error) {
	described, err := kadm.NewClient(cl).DescribeTransactions(ctx, slices.Sorted(maps.Keys(was))...)
	if err != nil {
		return false, 0, fmt.Errorf("describe transactions: %w", err)
	}
	for id, t := range described {
		if t.Err != nil {
			return false, 0, fmt.Errorf("describe transaction %s: %w", id, t.Err)
		}
		if t.State == ongoing && (openTransaction{t.ProducerID, t.ProducerEpoch}) == was[id] {
			return true, 0, nil
		}
		now = t.ProducerEpoch
	}
	return false, now, nil
}

// span is what lies in a partition between what is committed and what is written.
type span struct{ from, to int64 }

// uncommitted are the parts of an application's topics that no read_committed reader sees yet.
func uncommitted(ctx context.Context, cl *kgo.Client, app string) (map[string]map[int32]span, error) {
	adm := kadm.NewClient(cl)
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var topics []string
	for _, t := range all.Names() {
		if strings.HasPrefix(t, app+".") || t == (demoTopics{app}).revenue() || t == (demoTopics{app}).hourly() {
			topics = append(topics, t)
		}
	}
	stable, err := ends(ctx, cl, topics...)
	if err != nil {
		return nil, err
	}
	high, err := adm.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = high.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list ends of %v: %w", topics, err)
	}
	spans := map[string]map[int32]span{}
	high.Each(func(o kadm.ListedOffset) {
		if from := stable[o.Topic][o.Partition]; from < o.Offset {
			if spans[o.Topic] == nil {
				spans[o.Topic] = map[int32]span{}
			}
			spans[o.Topic][o.Partition] = span{from, o.Offset}
		}
	})
	return spans, nil
}

// tornEpoch is what a worker has written in the middle of its work, and not committed.
type tornEpoch struct {
	open                      map[string]openTransaction
	results, rekeyed, changes int64
}

// look finds out what a worker has written and not committed.
func (d *demo) look(ctx context.Context, worker string) (t tornEpoch, err error) {
	open, err := openOf(ctx, d.cl, d.app, worker)
	if err != nil || len(open) == 0 {
		return t, err
	}
	spans, err := uncommitted(ctx, d.cl, d.app)
	if err != nil {
		return t, err
	}
	producers := map[int64]bool{}
	for _, o := range open {
		producers[o.producer] = true
	}
	t, err = countUncommitted(ctx, &d.conn, spans, producers)
	t.open = open
	return t, err
}

func (t tornEpoch) total() int64 { return t.results + t.rekeyed + t.changes }

// countUncommitted counts the records of some producers in these spans, as a reader that
// does not ask for commits would see them.
func countUncommitted(ctx context.Context, conn *cli.Connection, spans map[string]map[int32]span, producers map[int64]bool) (n tornEpoch, err error) {
	from, left := map[string]map[int32]kgo.Offset{}, 0
	for topic, ps := range spans {
		from[topic] = map[int32]kgo.Offset{}
		for p, s := range ps {
			from[topic][p] = kgo.NewOffset().At(s.from)
			left++
		}
	}
	if left == 0 {
		return n, nil
	}
	cl, err := connect(ctx, conn, kgo.ConsumePartitions(from), kgo.KeepControlRecords(), kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
	if err != nil {
		return n, err
	}
	defer cl.Close()
	for left > 0 {
		fs := cl.PollFetches(ctx)
		for _, e := range fs.Errors() {
			return n, fmt.Errorf("read uncommitted records of %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			to := spans[p.Topic][p.Partition].to
			for _, r := range p.Records {
				if r.Offset >= to {
					return
				}
				if producers[r.ProducerID] && !r.Attrs.IsControl() {
					n.add(p.Topic)
				}
				if r.Offset == to-1 {
					left--
				}
			}
		})
	}
	return n, nil
}

func (t *tornEpoch) add(topic string) {
	switch {
	case strings.HasSuffix(topic, ".changelog"):
		t.changes++
	case strings.HasSuffix(topic, ".repartition"):
		t.rekeyed++
	case strings.HasSuffix(topic, "-revenue"), strings.HasSuffix(topic, "-hourly"):
		t.results++
	}
}
