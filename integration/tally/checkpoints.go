package tally

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
)

// Checkpoint is a completed cut as its store has it.
type Checkpoint struct {
	Manifest *snapshot.Manifest
	Rows     map[offsets.Task]map[string]Rows // by task and store
}

// CollectCheckpoints reads every checkpoint that the control topic has as complete and not dropped, whole: location is
// where the application keeps them. Collect comes before it.
func (t Tally) CollectCheckpoints(ctx context.Context, f *Facts, location string) error {
	b, err := snapshot.Open(ctx, location, snapshot.Options{})
	if err != nil {
		if errors.Is(err, snapshot.ErrNotFound) {
			return nil // none was ever written
		}
		return err
	}
	defer b.Close()
	b = b.Under(t.App)
	for _, name := range t.completed(*f) {
		m, err := b.Load(ctx, name, t.App)
		if err != nil {
			return fmt.Errorf("a completed checkpoint: %w", err)
		}
		if m.Timeline != t.names().Timeline {
			continue // what it is compared with is of another one
		}
		c := Checkpoint{Manifest: m, Rows: map[offsets.Task]map[string]Rows{}}
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
					return fmt.Errorf("a completed checkpoint: %w", err)
				}
				c.Rows[who.Task][s.UID] = rows
			}
		}
		f.Checkpoints = append(f.Checkpoints, c)
	}
	return nil
}

// completed are the manifests of the checkpoints that count, in their order.
func (t Tally) completed(f Facts) (names []string) {
	byCut := map[string]string{}
	var cuts []string
	for _, r := range f.Logs[Partition{t.names().Control(), 0}].committed() {
		kind, cut, _ := strings.Cut(string(r.Key), ".")
		var v struct{ Manifest string }
		switch kind {
		case "complete":
			if json.Unmarshal(r.Value, &v) == nil {
				byCut[cut] = v.Manifest
				cuts = append(cuts, cut)
			}
		case "dropped":
			delete(byCut, cut)
		}
	}
	for _, cut := range cuts {
		if name, ok := byCut[cut]; ok {
			names = append(names, name)
		}
	}
	return names
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
			if between := (Partition{t.input(1), who.Partition}); who.Sub == 1 && f.Logs[between].Start > at[between].Offset {
				r.add("I8 checkpoint %d: %s/%d is trimmed to %d, its position is %d", n, between.Topic, between.Number, f.Logs[between].Start, at[between].Offset)
				continue
			}
			want, err := t.inputFold(f, at, who, now, n)
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
