package processor

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/rescale"
	"github.com/weir-stream/weir/topology/task"
)

// Bounds of one transaction of a copy.
const (
	copyBytes   = 16 << 20
	copyRecords = 50_000
)

// copier writes to the topics of a new timeline, in transactions of a bounded size: their
// ends show others that the rewind lives. An error ends it for good.
type copier struct {
	txn   *transaction
	span  time.Duration // of a transaction, at most
	open  bool
	began time.Time
	ends  map[topicPartition]int64 // behind the last record of a partition; the promises write it

	rows, records, bytes int64
}

func newCopier(txn *transaction, span time.Duration) *copier {
	return &copier{txn: txn, span: span, ends: map[topicPartition]int64{}}
}

// send writes a record, whose bytes are the caller's.
func (c *copier) send(ctx context.Context, to topicPartition, r kgo.Record) error {
	if !c.open {
		if err := c.txn.begin(ctx); err != nil {
			return err
		}
		c.open, c.began = true, time.Now()
	}
	a := c.txn.arena
	rec := a.record()
	rec.Topic, rec.Partition, rec.Timestamp = to.Topic, to.Partition, r.Timestamp
	rec.Key, rec.Value = a.copy(r.Key), a.copy(r.Value)
	for _, h := range r.Headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h.Key, Value: a.copy(h.Value)})
	}
	c.bytes += int64(len(r.Key) + len(r.Value))
	c.txn.produce(ctx, rec, c.txn.promise(nil, func(r *kgo.Record) { c.ends[to] = max(c.ends[to], r.Offset+1) }))
	if c.txn.bytes >= copyBytes || c.txn.sent >= copyRecords || time.Since(c.began) >= c.span {
		return c.commit(ctx)
	}
	return nil
}

// commit ends the open transaction, if there is one.
func (c *copier) commit(ctx context.Context) error {
	if !c.open {
		return nil
	}
	if err := c.txn.flush(ctx); err != nil {
		return err
	}
	failpoint("rewind.copy")
	if err := c.txn.commit(ctx); err != nil {
		return err
	}
	c.open = false
	c.txn.settled()
	return nil
}

// copyState writes the rows of the manifest into the changelogs of the timeline. They are the
// base of all that comes: a restore needs nothing but the changelog, and the manifest may be
// deleted when the timeline counts.
func (r *rewinder) copyState(ctx context.Context, c *copier) error {
	now := time.Now()
	times := map[offsets.Task]task.TimeRow{} // of the manifest's tasks
	for _, job := range r.origin.jobs {
		sub, shard := int(job.to.Sub), r.origin.shard(job)
		err := r.bucket.Restore(ctx, r.m, job.from, job.uid, func(key, value []byte, deleted bool) error {
			if task.IsTimeRow(key) {
				if !job.timeFrom {
					return nil
				}
				delete(times, job.from)
				if deleted {
					return nil
				}
				row, err := task.ParseTimeRow(value)
				if err == nil {
					times[job.from] = r.origin.rowIs(row)
				}
				return err
			}
			if job.store < 0 {
				return nil
			}
			to := topicPartition{r.app.changelogTopic(sub, job.store), job.to.Partition}
			if job.divided {
				var err error
				if to.Partition, err = shard.Row(key, job.from.Partition); err != nil {
					return err // was verified
				}
				if planted("leave rows where they were") {
					to.Partition = job.from.Partition % shard.Is
				}
			}
			if deleted {
				value = nil
			} else {
				value = nonNil(value)
			}
			c.rows++
			return c.send(ctx, to, kgo.Record{Key: key, Value: value, Timestamp: now})
		}, nil)
		if err != nil {
			return fmt.Errorf("restore store %s of task %s: %w", job.uid, job.from, err)
		}
	}
	for _, t := range r.app.planTasks() {
		if row := r.origin.timesOf(t, times); row != nil {
			c.rows++
			to := topicPartition{r.app.changelogTopic(int(t.Sub), 0), t.Partition}
			if err := c.send(ctx, to, kgo.Record{Key: task.TimeRowKey(), Value: row, Timestamp: now}); err != nil {
				return err
			}
		}
	}
	return c.commit(ctx)
}

// copyInFlight writes what was on its way at the cut into the repartition topics of the
// timeline: the records that were sent before their sender took the cut, in their order. cut is
// what all tasks of the timeline have taken when they begin. Among another number of partitions
// the records of one key stay in their order: they came from one partition.
func (r *rewinder) copyInFlight(ctx context.Context, c *copier, cut uint64) error {
	for _, part := range r.m.InFlight {
		uid := r.origin.is(part.UID)
		to := topicPartition{r.app.names.Repartition(uid), part.Partition}
		if _, ok := r.app.partitions[to.Topic]; !ok || part.From == part.To {
			continue // it may be left behind, as was verified
		}
		shard := r.origin.shardOf(uid)
		stamps := rescale.Stamps{From: r.m.Timeline, Cut: r.m.Cut, To: r.app.names.Timeline, Taken: cut, Timeless: r.origin.timeless(uid)}
		var stamp []byte
		send := func(rec kgo.Record) error {
			was, header, err := r.stamp(&rec)
			if err != nil {
				return err
			}
			s, comes := stamps.Of(was, r.origin.writer(uid, was.Task))
			if !comes || shard.Was != shard.Is && rec.Offset%7 == 3 && planted("lose what is in flight") {
				return nil
			}
			if shard.Was != shard.Is {
				if to.Partition, err = shard.Key(rec.Key, part.Partition); err != nil {
					return err // was verified
				}
				if planted("leave what is in flight where it was") {
					to.Partition = part.Partition % shard.Is
				}
			}
			stamp = s.Append(stamp[:0])
			rec.Headers[header].Value = stamp
			c.records++
			return c.send(ctx, to, rec)
		}
		if err := r.inFlight(ctx, part, send); err != nil {
			return fmt.Errorf("records in flight of %s partition %d: %w", part.UID, part.Partition, err)
		}
	}
	return c.commit(ctx)
}

// inFlight reads a part from where it is: copied into a savepoint, or pinned in the topic.
func (r *rewinder) inFlight(ctx context.Context, part snapshot.InFlight, f func(kgo.Record) error) error {
	if r.m.Kind == snapshot.Savepoint {
		return r.bucket.Records(ctx, r.m, part, func(s *snapshot.Record) error {
			rec := kgo.Record{Key: s.Key, Value: s.Value, Timestamp: time.UnixMilli(s.Timestamp)}
			for _, h := range s.Headers {
				rec.Headers = append(rec.Headers, kgo.RecordHeader(h))
			}
			return f(rec)
		}, nil)
	}
	from := changelog.Reader{Topic: r.origin.manifestNames().Repartition(part.UID), Partition: part.Partition, From: part.From, To: part.To}
	_, err := from.ReadRecords(ctx, r.cfg.clientOpts(), func(rec *kgo.Record) error { return f(*rec) })
	return err
}
