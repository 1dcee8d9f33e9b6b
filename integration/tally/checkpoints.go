package tally

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
)

// Checkpoint is a completed cut as its store has it.
type Checkpoint struct {
	Manifest *snapshot.Manifest
	Rows     map[offsets.Task]map[string]Rows // by task and store
	InFlight map[offsets.Task][]Record        // copies, in a savepoint
}

// CollectCheckpoints reads every checkpoint and savepoint that the control topic has as complete and not dropped, whole:
// location is where the application keeps checkpoints, savepoints lie where it says. Collect comes before it.
func (t Tally) CollectCheckpoints(ctx context.Context, f *Facts, location string) error {
	for _, k := range t.completed(*f) {
		c, err := t.collectCut(ctx, k, location)
		if err != nil {
			return fmt.Errorf("cut %s, which is complete: %w", k.cut, err)
		}
		if c.Manifest.Timeline == t.names().Timeline { // what it is compared with is of no other one
			f.Checkpoints = append(f.Checkpoints, c)
		}
	}
	return nil
}

// CollectSavepoint reads a savepoint, wherever it was copied to.
func (t Tally) CollectSavepoint(ctx context.Context, f *Facts, location string) error {
	b, m, err := snapshot.Find(ctx, location, snapshot.Options{})
	if err != nil {
		return err
	}
	defer b.Close()
	c, err := collectFrom(ctx, b, m)
	if err != nil {
		return err
	}
	f.Checkpoints = append(f.Checkpoints, c)
	return nil
}

func (t Tally) collectCut(ctx context.Context, k completedCut, location string) (Checkpoint, error) {
	at := snapshot.Join(location, t.App)
	if k.path != "" {
		at = k.path
	}
	b, err := snapshot.Open(ctx, at, snapshot.Options{})
	if err != nil {
		return Checkpoint{}, err
	}
	defer b.Close()
	m, err := b.Load(ctx, k.manifest, t.App)
	if err != nil {
		return Checkpoint{}, err
	}
	return collectFrom(ctx, b, m)
}

func collectFrom(ctx context.Context, b *snapshot.Bucket, m *snapshot.Manifest) (Checkpoint, error) {
	c := Checkpoint{Manifest: m, Rows: map[offsets.Task]map[string]Rows{}, InFlight: map[offsets.Task][]Record{}}
	for _, who := range m.Tasks {
		c.Rows[who.Task] = map[string]Rows{}
		for _, s := range who.Stores {
			rows := Rows{}
			err := b.Restore(ctx, m, who.Task, s.UID, func(key, value []byte, deleted bool) error {
				if deleted {
					value = nil
				} else {
					value = append([]byte{}, value...)
				}
				rows.set(key, value)
				return nil
			}, nil)
			if err != nil {
				return c, err
			}
			c.Rows[who.Task][s.UID] = rows
		}
	}
	for _, part := range m.InFlight {
		err := b.Records(ctx, m, part, func(r *snapshot.Record) error {
			out := Record{Offset: r.Offset, Key: r.Key, Value: r.Value, Time: r.Timestamp}
			for _, h := range r.Headers {
				if h.Key == offsets.StampHeader {
					s, err := offsets.DecodeStamp(h.Value)
					if err != nil {
						return err
					}
					out.Stamp = &s
				}
			}
			c.InFlight[part.Task] = append(c.InFlight[part.Task], out)
			return nil
		}, nil)
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// completedCut is one that counts, as the control topic says.
type completedCut struct{ cut, manifest, path string }

// completed are the cuts that count, in their order. A savepoint that was claimed does until it is being deleted.
func (t Tally) completed(f Facts) (out []completedCut) {
	byCut := map[string]completedCut{}
	claimed := map[string]string{} // cut by timeline
	var cuts []string
	for _, r := range f.Logs[Partition{t.names().Control(), 0}].committed() {
		kind, cut, _ := strings.Cut(string(r.Key), ".")
		switch kind {
		case "active":
			var v struct {
				Base struct {
					Application, Claim string
					Cut                uint64
				}
			}
			if err := json.Unmarshal(r.Value, &v); err == nil && v.Base.Claim != "" && v.Base.Application == t.App {
				claimed[cut] = strconv.FormatUint(v.Base.Cut, 10)
			}
		case "claim":
			delete(byCut, claimed[cut])
		}
		if kind != "cut" {
			continue
		}
		var v struct{ State, Manifest, Path string }
		if err := json.Unmarshal(r.Value, &v); err == nil && v.State == "complete" {
			byCut[cut] = completedCut{cut, v.Manifest, v.Path}
			cuts = append(cuts, cut)
			continue
		}
		delete(byCut, cut)
	}
	for _, cut := range cuts {
		if k, ok := byCut[cut]; ok {
			out = append(out, k)
		}
	}
	return out
}

// checkpoints compares each checkpoint with what the inputs below its positions give: the state of a task, and what was
// on its way to it when the cut was taken, which is what lies in its partition behind its position and was sent before
// its sender took the cut.
func (t Tally) checkpoints(f Facts, r *Report) {
	for _, c := range f.Checkpoints {
		n := c.Manifest.Cut
		at := map[Partition]Position{}
		for _, who := range c.Manifest.Tasks {
			for _, p := range who.Positions {
				at[Partition{p.Topic, p.Partition}] = Position{Offset: p.Offset}
			}
		}
		for _, who := range t.tasks() {
			rows, ok := c.Rows[who]
			if !ok {
				r.add("I8 checkpoint %d has no task %s", n, who)
				continue
			}
			var now int64
			for _, s := range c.Manifest.Tasks {
				if s.Task == who {
					now = s.Time
				}
			}
			inFlight := t.inFlight(f, at, who, n)
			if between := (Partition{t.input(1), who.Partition}); who.Sub == 1 && c.Manifest.Kind == snapshot.Savepoint {
				if why := differ(c.InFlight[who], inFlight, f.Logs[between].Start); why != "" {
					r.add("I8 savepoint %d: what is in flight in %s/%d: %s", n, between.Topic, between.Number, why)
				}
				inFlight = c.InFlight[who] // the topic is trimmed as if there were no savepoint
			} else if who.Sub == 1 && f.Logs[between].Start > at[between].Offset {
				r.add("I8 checkpoint %d: %s/%d is trimmed to %d, its position is %d", n, between.Topic, between.Number, f.Logs[between].Start, at[between].Offset)
				continue
			}
			want, err := t.inputFold(f, at, who, now, inFlight)
			if err != nil {
				r.add("I8 checkpoint %d, task %s: %v", n, who, err)
				continue
			}
			for _, uid := range stores[who.Sub] {
				if key, a, b, yes := rows[uid].users().differs(want[uid]); yes {
					r.add("I8 checkpoint %d, store %s of task %s: row %q is %x, the inputs give %x", n, uid, who, key, a, b)
				}
			}
		}
	}
}

// differ compares copied records with those of the topic, as far as it still has them.
func differ(copies, topic []Record, start int64) string {
	have := map[int64]Record{}
	for _, r := range copies {
		if _, twice := have[r.Offset]; twice || r.Stamp == nil {
			return fmt.Sprintf("offset %d is there twice, or without a stamp", r.Offset)
		}
		have[r.Offset] = r
	}
	for _, r := range topic {
		c, ok := have[r.Offset]
		if !ok {
			return fmt.Sprintf("offset %d is missing", r.Offset)
		}
		if !bytes.Equal(c.Key, r.Key) || !bytes.Equal(c.Value, r.Value) || c.Time != r.Time || *c.Stamp != *r.Stamp {
			return fmt.Sprintf("offset %d is %x=%x at %d, stamp %+v; the topic has %x=%x at %d, %+v", r.Offset, c.Key, c.Value, c.Time, *c.Stamp, r.Key, r.Value, r.Time, *r.Stamp)
		}
		delete(have, r.Offset)
	}
	for offset := range have {
		if offset >= start {
			return fmt.Sprintf("offset %d does not belong to it", offset)
		}
	}
	return ""
}
