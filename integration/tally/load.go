package tally

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
)

// CreateTopics makes the topics of a run.
func (t Tally) CreateTopics(ctx context.Context, brokers []string, replication int16) error {
	cl, err := t.client(brokers)
	if err != nil {
		return err
	}
	defer cl.Close()
	// The times are of the past: a broker's default retention would delete the input while
	// it is being read.
	rs, err := kadm.NewClient(cl).CreateTopics(ctx, t.Partitions, replication, map[string]*string{"retention.ms": kadm.StringPtr("-1")}, t.In(), t.Seen(), t.GroupsT(), t.Windows())
	if err != nil {
		return err
	}
	return rs.Error()
}

// Load produces records from..to-1 of the input. With last, each partition also gets a
// record far in the future, which closes all windows: n is the same for all of them.
func (t Tally) Load(ctx context.Context, brokers []string, from, to int, last bool) error {
	cl, err := t.client(brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed error
	done := func(_ *kgo.Record, err error) {
		if err != nil && failed == nil { // promises are called one at a time
			failed = err
		}
	}
	for i := from; i < to; i++ {
		key := []byte(t.key(i))
		cl.Produce(ctx, &kgo.Record{
			Topic: t.In(), Partition: offsets.Partition(key, t.Partitions), Key: key,
			Value:     binary.BigEndian.AppendUint64(nil, uint64(i/t.Keys+1)),
			Timestamp: Base.Add(time.Duration(i) * time.Millisecond),
		}, done)
	}
	if last {
		for p := range t.Partitions {
			cl.Produce(ctx, &kgo.Record{
				Topic: t.In(), Partition: p, Key: fmt.Appendf(nil, "last-%d", p), Value: make([]byte, 8),
				Timestamp: Base.Add(time.Duration(to)*time.Millisecond + time.Hour),
			}, done)
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed
}
