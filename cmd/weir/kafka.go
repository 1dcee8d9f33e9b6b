package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/cli"
)

// reachTimeout bounds the first talk with the brokers.
const reachTimeout = 15 * time.Second

func jsonFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "write JSON")
	cmd.Flags().SortFlags = false
}

// connect makes a client and asks a broker something, so that nobody waits for a wrong
// address.
func connect(ctx context.Context, c *cli.Connection, opts ...kgo.Opt) (*kgo.Client, error) {
	of, err := c.Kafka()
	if err != nil {
		return nil, err
	}
	// A topic that was just created is asked for again at once, not after 5 s.
	of = append(of, kgo.MetadataMinAge(100*time.Millisecond))
	cl, err := kgo.NewClient(append(of, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	try, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if err := cl.Ping(try); err != nil {
		cl.Close()
		return nil, cli.Hint(fmt.Errorf("brokers %v: no broker answered: %w", c.Brokers, err),
			"check --brokers, TLS and the login; weir broker starts a broker for trying out")
	}
	return cl, nil
}

// errNoTopic is returned when a topic does not exist.
var errNoTopic = errors.New("does not exist")

// findTopic looks a topic up.
func findTopic(ctx context.Context, cl *kgo.Client, topic string) (kadm.TopicDetail, error) {
	found, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("look up topic %s: %w", topic, err)
	}
	d, ok := found[topic]
	if !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
		return d, fmt.Errorf("topic %s %w", topic, errNoTopic)
	}
	if d.Err != nil {
		return d, fmt.Errorf("look up topic %s: %w", topic, d.Err)
	}
	return d, nil
}

// forever keeps records whatever their time is: events of benchmarks and demos are as old
// as they say.
var forever = map[string]*string{"retention.ms": kadm.StringPtr("-1"), "message.timestamp.after.max.ms": kadm.StringPtr("9223372036854775807")}

// createTopic makes a topic, with the brokers' number of replicas.
func createTopic(ctx context.Context, cl *kgo.Client, topic string, partitions int32, configs map[string]*string) error {
	adm := kadm.NewClient(cl)
	r, err := adm.CreateTopic(ctx, partitions, -1, configs, topic)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return fmt.Errorf("create topic %s with %d partitions: %w", topic, partitions, err)
	}
	// Brokers learn of it one by one.
	for {
		d, err := findTopic(ctx, cl, topic)
		if err == nil && len(d.Partitions) == int(partitions) {
			return nil
		}
		if err != nil && !errors.Is(err, errNoTopic) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create topic %s: %w", topic, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ends are where a topic ends for a read_committed reader.
func ends(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]map[int32]int64, error) {
	listed, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list ends of %v: %w", topics, err)
	}
	out := map[string]map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if out[o.Topic] == nil {
			out[o.Topic] = map[int32]int64{}
		}
		out[o.Topic][o.Partition] = o.Offset
	})
	return out, nil
}

// readAll gives every committed record of topics up to their present ends, in the order of
// each partition. The record is valid during f only.
func readAll(ctx context.Context, c *cli.Connection, topics []string, f func(*kgo.Record) error) error {
	cl, err := connect(ctx, c)
	if err != nil {
		return err
	}
	defer cl.Close()
	to, err := ends(ctx, cl, topics...)
	if err != nil {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	left := 0
	for topic, ps := range to {
		from[topic] = map[int32]kgo.Offset{}
		for p, end := range ps {
			if end > 0 {
				from[topic][p] = kgo.NewOffset().AtStart()
				left++
			}
		}
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("list starts of %v: %w", topics, err)
	}
	starts.Each(func(o kadm.ListedOffset) {
		if end := to[o.Topic][o.Partition]; end > 0 && o.Offset >= end {
			delete(from[o.Topic], o.Partition)
			left--
		}
	})
	if left == 0 {
		return nil
	}
	of, err := c.Kafka()
	if err != nil {
		return err
	}
	reader, err := kgo.NewClient(append(of, kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return fmt.Errorf("read %v: %w", topics, err)
	}
	defer reader.Close()
	finished := map[string]map[int32]bool{}
	for topic := range to {
		finished[topic] = map[int32]bool{}
	}
	for left > 0 {
		fs := reader.PollRecords(ctx, 50_000)
		if err := fs.Err0(); err != nil {
			return fmt.Errorf("read %v: %w", topics, err)
		}
		for _, fe := range fs.Errors() {
			return fmt.Errorf("read %s/%d: %w", fe.Topic, fe.Partition, fe.Err)
		}
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			end := to[p.Topic][p.Partition]
			for _, r := range p.Records {
				if err != nil {
					return
				}
				if r.Offset < end && !r.Attrs.IsControl() {
					err = f(r)
				}
				if r.Offset >= end-1 && !finished[p.Topic][p.Partition] {
					finished[p.Topic][p.Partition] = true
					left--
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
