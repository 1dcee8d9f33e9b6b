package tally

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
)

// Savepoint makes a savepoint of a checkpoint: a bucket of its own, which refers to nothing outside of it. change, which
// may be nil, is for tests that want one which is wrong.
func (t Tally) Savepoint(ctx context.Context, brokers []string, checkpoint, to string, o snapshot.Options, change func(*snapshot.Manifest)) error {
	from, m, err := snapshot.Find(ctx, checkpoint, snapshot.Options{})
	if err != nil {
		return err
	}
	defer from.Close()
	o.Create = true
	b, err := snapshot.Open(ctx, to, o)
	if err != nil {
		return err
	}
	defer b.Close()
	save := *m
	save.Kind, save.Tasks, save.InFlight = snapshot.Savepoint, nil, nil
	for _, task := range m.Tasks {
		was := task.Stores
		task.Stores = []snapshot.StoreState{}
		for _, s := range was {
			// Increments are folded: a savepoint is full.
			rows := Rows{}
			err := from.Restore(ctx, m, task.Task, s.UID, func(key, value []byte, deleted bool) error {
				if deleted {
					value = nil
				} else {
					value = append([]byte{}, value...)
				}
				rows.set(key, value)
				return nil
			}, nil)
			if err != nil {
				return err
			}
			of := t.origin(m, task.Task, s.UID, task.Epoch)
			of.End = s.End
			layer, err := b.WriteRows(ctx, of, func(put func(key, value []byte, deleted bool) error) error {
				for _, k := range rows.keys() {
					if err := put([]byte(k), rows[k], false); err != nil {
						return err
					}
				}
				return nil
			}, nil)
			if err != nil {
				return err
			}
			task.Stores = append(task.Stores, snapshot.StoreState{UID: s.UID, End: s.End, Layers: []snapshot.Layer{layer}})
		}
		save.Tasks = append(save.Tasks, task)
	}
	for _, part := range m.InFlight {
		of := t.origin(m, part.Task, part.UID, part.Epoch)
		of.Since, of.End = part.From, part.To
		names := offsets.Names{Application: m.Application, Timeline: m.Timeline}
		copied, err := b.WriteRecords(ctx, of, func(put func(*snapshot.Record) error) error {
			r := changelog.Reader{Topic: names.Repartition(part.UID), Partition: part.Partition, From: part.From, To: part.To}
			_, err := r.ReadRecords(ctx, append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, t.Kafka...), func(rec *kgo.Record) error {
				if s := record(rec).Stamp; s == nil || s.Cut >= m.Cut {
					return nil
				}
				out := &snapshot.Record{Offset: rec.Offset, Timestamp: rec.Timestamp.UnixMilli(), Key: rec.Key, Value: rec.Value}
				for _, h := range rec.Headers {
					out.Headers = append(out.Headers, snapshot.RecordHeader(h))
				}
				return put(out)
			})
			return err
		}, nil)
		if err != nil {
			return err
		}
		save.InFlight = append(save.InFlight, copied)
	}
	if change != nil {
		change(&save)
	}
	if _, err := b.WriteManifest(ctx, &save); err != nil {
		return fmt.Errorf("make a savepoint of checkpoint %d: %w", m.Cut, err)
	}
	return nil
}

func (t Tally) origin(m *snapshot.Manifest, who offsets.Task, uid string, epoch offsets.EpochID) snapshot.Origin {
	return snapshot.Origin{Application: m.Application, Timeline: m.Timeline, Cut: m.Cut, Task: who, UID: uid, Epoch: epoch}
}
