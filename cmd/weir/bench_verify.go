package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func benchVerifyCommand() *cobra.Command {
	var workload, brokers, in, out string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "verify --workload pass|count|window|rekey",
		Short: "Check the output of a workload against its input",
		Long: `Read the whole input and the committed output of a workload, work the output out again from the input and compare.
One line of JSON says how many records are lost, duplicated and wrong. The exit code is 1 if any is.
The worker has to be at the end of the input. Counts are followed per key: 1, 2, 3 and so on, each once and in order.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkWorkload(workload); err != nil {
				return exitError{code: exitUsage, err: err}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			v, err := verify(ctx, workload, addresses(brokers), in, out)
			if err != nil {
				return err
			}
			if err := printLine(cmd.OutOrStdout(), v); err != nil {
				return err
			}
			if !v.OK() {
				return exitError{code: exitFailed, err: fmt.Errorf("topic %s is not what workload %s makes of %s: %d lost, %d duplicated, %d wrong",
					out, workload, in, v.Lost, v.Duplicated, v.Wrong)}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&workload, "workload", "count", "pass, count, window or rekey")
	brokersFlag(f, &brokers, "localhost:9092", "addresses of the brokers, comma-separated")
	f.StringVar(&in, "in", "bench-in", "topic that the worker has read")
	f.StringVar(&out, "out", "bench-out", "topic that the worker has written")
	f.DurationVar(&timeout, "timeout", 10*time.Minute, "give up after this time")
	return c
}

// verify reads the input to its end, then the committed output to its end.
func verify(ctx context.Context, workload string, brokers []string, in, out string) (verdict, error) {
	c := newChecker(workload)
	if err := readTopic(ctx, brokers, in, c.input); err != nil {
		return verdict{}, fmt.Errorf("read input: %w", err)
	}
	if err := readTopic(ctx, brokers, out, c.output); err != nil {
		return verdict{}, fmt.Errorf("read output: %w", err)
	}
	return c.verdict(), nil
}

// readTopic gives the committed records of a topic to f, up to the end that it has now:
// first the ends are asked for, then everything below them is read. The records are not
// valid after f.
func readTopic(ctx context.Context, brokers []string, topic string, f func(*kgo.Record)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("start of topic %s: %w", topic, err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("end of topic %s: %w", topic, err)
	}
	left := map[int32]int64{} // partitions to be read, and to where
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, _ := starts.Lookup(topic, o.Partition); start.Offset < o.Offset {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().At(start.Offset)
		}
	})
	return readUpTo(ctx, brokers, topic, from, left, f)
}

func readUpTo(ctx context.Context, brokers []string, topic string, from map[int32]kgo.Offset, left map[int32]int64, f func(*kgo.Record)) error {
	if len(left) == 0 {
		return nil
	}
	// Control records are kept: the last offset may be one.
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("topic %s, partitions %v to offsets: %w", topic, left, context.Cause(ctx))
		}
		var errs []error
		fetches.EachError(func(t string, p int32, err error) { errs = append(errs, fmt.Errorf("topic %s, partition %d: %w", t, p, err)) })
		if err := errors.Join(errs...); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			end, ok := left[p.Partition]
			for _, r := range p.Records {
				if !ok || r.Offset >= end {
					break
				}
				if !r.Attrs.IsControl() {
					f(r)
				}
				if r.Offset+1 >= end {
					delete(left, p.Partition)
				}
			}
		})
	}
	return nil
}
