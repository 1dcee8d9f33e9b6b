package state

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
)

// Record is one that was on its way between two tasks. Key and Value are JSON.
type Record struct {
	Repartition string          `json:"repartition"` // uid
	Partition   int32           `json:"partition"`
	Task        string          `json:"task"` // that was to read it
	Offset      int64           `json:"offset"`
	Time        time.Time       `json:"time"`
	Key         json.RawMessage `json:"key"`
	Value       json.RawMessage `json:"value"`
}

// repartition is a partition of one.
type repartition struct {
	snapshot.InFlight
	key, value text
}

func (s *Snapshot) readParts(plan topology.Description) error {
	for _, p := range s.manifest.InFlight {
		var c snapshot.Codecs
		for _, sub := range plan.Subs {
			for _, out := range sub.Outputs {
				if out.Internal && out.Topic == p.UID {
					c = snapshot.Codecs{Key: out.KeyCodec, Value: out.ValueCodec, KeySchema: out.KeySchema, ValueSchema: out.ValueSchema}
				}
			}
		}
		if p.Codecs != nil {
			c.Key, c.Value = p.Codecs.Key, p.Codecs.Value
			c.KeySchema, c.ValueSchema = cmp.Or(p.Codecs.KeySchema, c.KeySchema), cmp.Or(p.Codecs.ValueSchema, c.ValueSchema)
		}
		part := repartition{InFlight: p}
		var err error
		if part.key, err = textOf(c.Key, c.KeySchema); err == nil {
			part.value, err = textOf(c.Value, c.ValueSchema)
		}
		if err != nil {
			return fmt.Errorf("repartition %s: %w", p.UID, err)
		}
		s.parts = append(s.parts, part)
	}
	return nil
}

// InFlight gives f the records that a savepoint has copied, of one repartition topic or of all. A checkpoint has none: they
// stay in the topics.
func (s *Snapshot) InFlight(ctx context.Context, uid string, f func(Record) error) error {
	if s.manifest.Kind == snapshot.Checkpoint {
		return &processor.Error{What: "a checkpoint has no copies of records in flight", Where: s.bucket.String(), Fix: "take a savepoint", Err: ErrUnknown}
	}
	var names []string
	found := uid == ""
	for _, p := range s.parts {
		if len(names) == 0 || names[len(names)-1] != p.UID {
			names = append(names, p.UID)
		}
		if uid != "" && p.UID != uid {
			continue
		}
		found = true
		err := s.bucket.Records(ctx, s.manifest, p.InFlight, func(r *snapshot.Record) error {
			if r.Key == nil && r.Value == nil {
				return nil // a mark of time, of no stream
			}
			return f(Record{
				Repartition: p.UID, Partition: p.Partition, Task: p.Task.String(), Offset: r.Offset, Time: time.UnixMilli(r.Timestamp).UTC(),
				Key: p.key.show(r.Key), Value: p.value.show(r.Value),
			})
		}, nil)
		if err != nil {
			return explain(err)
		}
	}
	if !found {
		return s.unknown("repartition "+uid, names)
	}
	return nil
}
