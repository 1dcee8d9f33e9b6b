package changelog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Reader reads a range of one partition of a changelog, committed records only.
type Reader struct {
	Topic     string
	Partition int32
	From, To  int64 // From <= offset < To
	// Progress, if set, is called after each fetch by the goroutine of Read.
	Progress func(Progress)
	// RetryFor bounds the time without any answer from the partition's leader. Default 30 s.
	RetryFor time.Duration
}

// Progress of a Read: From <= Next <= To at its end, LastStable <= HighWatermark.
type Progress struct {
	Records, Bytes int64
	Next, To       int64
	LastStable     int64 // what lies above belongs to an open transaction
	HighWatermark  int64
	// Waiting: everything below LastStable has been read and it is below To. An open
	// transaction pins it; brokers abort one after its timeout, within about 10 s.
	Waiting bool
}

// ReadRange is Reader.Read without progress. opts say how to reach Kafka.
func ReadRange(ctx context.Context, opts []kgo.Opt, topic string, partition int32, from, to int64, f func(key, value []byte, offset int64) error) (next int64, err error) {
	r := Reader{Topic: topic, Partition: partition, From: from, To: to}
	return r.Read(ctx, opts, f)
}

const (
	fetchBytes = 8 << 20
	fetchWait  = 500 * time.Millisecond
	fetchAhead = 2 // answers fetched while one is worked on
)

// Read calls f for each committed record, in order; value nil is a tombstone. It returns
// when the position has passed every offset below To, whatever lies there: records,
// control records, aborted records, or nothing (compaction). It waits for open
// transactions. next is the position: To or above, or as far as it came on an error.
//
// The fetch requests are our own: a consumer shows records only, so that it would never
// be seen to pass a gap at the end of the range.
func (r Reader) Read(ctx context.Context, opts []kgo.Opt, f func(key, value []byte, offset int64) error) (next int64, err error) {
	return r.ReadRecords(ctx, opts, func(rec *kgo.Record) error { return f(rec.Key, rec.Value, rec.Offset) })
}

// ReadRecords is Read with whole records: for topics where headers and times count.
func (r Reader) ReadRecords(ctx context.Context, opts []kgo.Opt, f func(*kgo.Record) error) (next int64, err error) {
	if r.From >= r.To {
		return r.From, nil
	}
	if r.RetryFor <= 0 {
		r.RetryFor = 30 * time.Second
	}
	next = r.From
	wrap := func(err error) error {
		return fmt.Errorf("read %s partition %d from %d to %d, at %d: %w", r.Topic, r.Partition, r.From, r.To, next, err)
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return next, wrap(err)
	}
	defer cl.Close()
	if err := r.checkEnds(ctx, cl); err != nil {
		return next, wrap(err)
	}

	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan answer, fetchAhead)
	go func() {
		defer close(answers)
		r.fetch(ctx, cl, answers)
	}()
	defer func() {
		cancel()
		for range answers { // wait for the goroutine
		}
	}()

	var p Progress
	p.To = r.To
	for a := range answers {
		if a.err != nil {
			return next, wrap(a.err)
		}
		for _, rec := range a.part.Records {
			if rec.Offset >= r.To {
				break
			}
			if rec.Attrs.IsControl() {
				continue
			}
			if err := f(rec); err != nil {
				return rec.Offset, wrap(err)
			}
			p.Records++
			p.Bytes += int64(len(rec.Key) + len(rec.Value))
		}
		next = a.next
		if r.Progress != nil {
			p.Next, p.LastStable, p.HighWatermark = next, a.part.LastStableOffset, a.part.HighWatermark
			p.Waiting = next < r.To && next >= p.LastStable
			r.Progress(p)
		}
	}
	if next < r.To {
		return next, wrap(context.Cause(ctx))
	}
	return next, nil
}

var decompressor = kgo.DefaultDecompressor()

type answer struct {
	part kgo.FetchPartition
	next int64
	err  error
}

// fetch sends answers until one passes To, or is an error, or ctx ends.
func (r Reader) fetch(ctx context.Context, cl *kgo.Client, answers chan<- answer) {
	at := r.From
	for at < r.To {
		part, next, err := r.fetchOnce(ctx, cl, at)
		select {
		case answers <- answer{part, next, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		at = next
	}
}

// fetchOnce asks the leader until it answers; it may answer that there is nothing yet.
func (r Reader) fetchOnce(ctx context.Context, cl *kgo.Client, at int64) (kgo.FetchPartition, int64, error) {
	var last error
	deadline := time.Now().Add(r.RetryFor)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		part, next, err := r.ask(ctx, cl, at)
		switch {
		case err == nil:
			return part, next, nil
		case ctx.Err() != nil:
			return part, at, ctx.Err()
		case errors.Is(err, kerr.OffsetOutOfRange):
			if err := r.checkEndsAt(ctx, cl, at); err != nil {
				return part, at, err
			}
		case !retriable(err):
			return part, at, err
		}
		last = err
		if time.Now().After(deadline) {
			return part, at, fmt.Errorf("no answer for %s: %w", r.RetryFor, last)
		}
		if err := sleep(ctx, pause); err != nil {
			return part, at, err
		}
	}
}

// ask sends one fetch to the partition's leader.
func (r Reader) ask(ctx context.Context, cl *kgo.Client, at int64) (kgo.FetchPartition, int64, error) {
	var none kgo.FetchPartition
	leader, id, err := r.leader(ctx, cl)
	if err != nil {
		return none, at, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MaxWaitMillis = int32(fetchWait.Milliseconds())
	req.MinBytes = 1
	req.MaxBytes = fetchBytes
	req.IsolationLevel = 1
	req.SessionEpoch = -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = r.Topic, id
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = r.Partition, at, fetchBytes
	part.CurrentLeaderEpoch = -1
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl.Broker(int(leader)))
	if err != nil {
		return none, at, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return none, at, err
	}
	if len(resp.Topics) == 0 && resp.ThrottleMillis > 0 {
		return none, at, kerr.ThrottlingQuotaExceeded // retriable; kgo waits out the throttle
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return none, at, fmt.Errorf("fetch answered for %d topics, want 1", len(resp.Topics))
	}
	rp := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
		return none, at, err
	}
	opts := kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true,
		Offset:             at,
		IsolationLevel:     kgo.ReadCommitted(),
		Topic:              r.Topic,
		Partition:          r.Partition,
	}
	fp, next := kgo.ProcessFetchPartition(opts, rp, decompressor, nil)
	if fp.Err != nil {
		return none, at, fp.Err
	}
	if next == at && len(rp.RecordBatches) == 0 && fp.LastStableOffset > at {
		// The broker has no batch at or above this offset below its stable end: compacted
		// away, so everything there has been seen.
		next = fp.LastStableOffset
	}
	return fp, next, nil
}

func (r Reader) leader(ctx context.Context, cl *kgo.Client) (leader int32, id [16]byte, err error) {
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(r.Topic)
	req.Topics = append(req.Topics, topic)
	resp, err := cl.RequestCachedMetadata(ctx, req, time.Second)
	if err != nil {
		return 0, id, err
	}
	for _, t := range resp.Topics {
		if t.Topic == nil || *t.Topic != r.Topic {
			continue
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return 0, id, err
		}
		for _, p := range t.Partitions {
			if p.Partition != r.Partition {
				continue
			}
			if p.Leader < 0 {
				return 0, id, kerr.LeaderNotAvailable
			}
			return p.Leader, t.TopicID, nil
		}
	}
	return 0, id, kerr.UnknownTopicOrPartition
}

// checkEnds compares the range with what the log has.
func (r Reader) checkEnds(ctx context.Context, cl *kgo.Client) error {
	return r.checkEndsAt(ctx, cl, r.From)
}

func (r Reader) checkEndsAt(ctx context.Context, cl *kgo.Client, at int64) error {
	start, err := r.listOffset(ctx, cl, -2)
	if err != nil {
		return fmt.Errorf("log start: %w", err)
	}
	if start > at {
		return &TruncatedError{Topic: r.Topic, Partition: r.Partition, From: at, LogStart: start}
	}
	// The high watermark, not the last stable offset: an open transaction holds that one back.
	end, err := r.listOffset(ctx, cl, -1)
	if err != nil {
		return fmt.Errorf("high watermark: %w", err)
	}
	if end < r.To {
		return &LostError{Topic: r.Topic, Partition: r.Partition, To: r.To, HighWatermark: end}
	}
	return nil
}

func (r Reader) listOffset(ctx context.Context, cl *kgo.Client, timestamp int64) (int64, error) {
	deadline := time.Now().Add(r.RetryFor)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		offset, err := r.listOffsetOnce(ctx, cl, timestamp)
		if err == nil || ctx.Err() != nil || !retriable(err) || time.Now().After(deadline) {
			return offset, err
		}
		if err := sleep(ctx, pause); err != nil {
			return 0, err
		}
	}
}

func (r Reader) listOffsetOnce(ctx context.Context, cl *kgo.Client, timestamp int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = r.Topic
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Partition, part.Timestamp, part.CurrentLeaderEpoch = r.Partition, timestamp, -1
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("list offsets answered for %d topics, want 1", len(resp.Topics))
	}
	p := resp.Topics[0].Partitions[0]
	return p.Offset, kerr.ErrorForCode(p.ErrorCode)
}

// retriable: a moved leader, a restarted broker, a lost connection. Reading twice does no
// harm, so a broker that does not know what is wrong is asked again, too.
func retriable(err error) bool {
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Retriable || ke == kerr.UnknownServerError
	}
	return kgo.IsRetryableBrokerErr(err)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
