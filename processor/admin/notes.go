package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// Restoring is how far the restore of a task is, as its worker said within the last
// seconds. Times are by the worker's clock.
type Restoring struct {
	Owner   string    `json:"owner"` // worker/lane
	Since   time.Time `json:"since"`
	Percent float64   `json:"percent"`
	Left    int64     `json:"left"`    // changelog offsets to be read, of all stores
	Records int64     `json:"records"` // changelog records applied
	Store   string    `json:"store"`   // that is being read
	Next    int64     `json:"next"`    // in its changelog
	End     int64     `json:"end"`
}

// Waiting is a task that failed and waits for its next try, as its worker said within the
// last seconds. Times are by the worker's clock.
type Waiting struct {
	Owner    string    `json:"owner"` // worker/lane
	Cause    string    `json:"cause"`
	Attempt  int64     `json:"attempt"` // number of the failure, as the strategy counts
	Strategy string    `json:"strategy"`
	Since    time.Time `json:"since"`
	Next     time.Time `json:"next"` // when it is tried again
}

const (
	noteBelieved = 10 * time.Second // a worker says it again every few seconds
	notesRead    = time.Minute      // of the topic: clocks differ
	notePatience = 10 * time.Second
)

// notes are what workers say of their tasks outside of commits.
type notes struct {
	restoring map[offsets.Task]*Restoring
	waiting   map[offsets.Task]*Waiting
}

// notes reads the tail of the epochs topic. It is read uncommitted: what is said there
// belongs to no transaction, and must not wait for the end of one.
func (c *Client) notes(ctx context.Context, topic string) (notes, error) {
	out := notes{map[offsets.Task]*Restoring{}, map[offsets.Task]*Waiting{}}
	ctx, cancel := context.WithTimeout(ctx, notePatience)
	defer cancel()
	adm := kadm.NewClient(c.client)
	from, err := adm.ListOffsetsAfterMilli(ctx, time.Now().Add(-notesRead).UnixMilli(), topic)
	if err != nil {
		return out, fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return out, fmt.Errorf("list ends of %s: %w", topic, err)
	}
	starts, left := map[string]map[int32]kgo.Offset{topic: {}}, map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		at, ok := from.Lookup(topic, end.Partition)
		if ok && at.Err == nil && end.Err == nil && at.Offset >= 0 && at.Offset < end.Offset {
			starts[topic][end.Partition] = kgo.NewOffset().At(at.Offset)
			left[end.Partition] = end.Offset
		}
	})
	if len(left) == 0 {
		return out, nil
	}
	cl, err := kgo.NewClient(append(c.opts[:len(c.opts):len(c.opts)], kgo.ConsumePartitions(starts),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return out, fmt.Errorf("read %s: %w", topic, err)
	}
	defer cl.Close()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return out, fmt.Errorf("read %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			if id, ok := processor.RetryNoteOf(r.Key); ok {
				out.waiting[id] = waitingOf(r.Value, time.Now())
			} else if id, err := offsets.ParseTask(string(r.Key)); err == nil {
				out.restoring[id] = restoringOf(r.Value, time.Now())
			}
		})
	}
	return out, nil
}

// restoringOf is nil if the record does not speak of a restore that goes on.
func restoringOf(value []byte, now time.Time) *Restoring {
	p, err := processor.DecodeRestoreProgress(value)
	if err != nil || now.Sub(p.Told) > noteBelieved || p.Total <= 0 {
		return nil
	}
	return &Restoring{
		Since: p.Began.UTC(), Percent: 100 * float64(p.Done) / float64(p.Total), Left: p.Total - p.Done,
		Records: p.Records, Store: p.Store, Next: p.Next, End: p.End, Owner: ownerOf(p.Worker),
	}
}

// waitingOf is nil if the record does not speak of a task that still waits.
func waitingOf(value []byte, now time.Time) *Waiting {
	n, err := processor.DecodeRetryNote(value)
	if err != nil || now.Sub(n.Told) > noteBelieved {
		return nil
	}
	return &Waiting{
		Owner: ownerOf(n.Worker), Cause: n.Cause, Attempt: n.Attempt, Strategy: n.Strategy, Since: n.Since.UTC(), Next: n.Next.UTC(),
	}
}

// ownerOf is a member of the group as worker/lane.
func ownerOf(instance string) string {
	if worker, n, ok := offsets.ParseGroupInstance(instance); ok {
		return Lane{Worker: worker, Lane: n}.name()
	}
	return instance
}
