package admin

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// Checkpoints are what the control topic says about them. Times are by the clocks of who wrote
// them.
type Checkpoints struct {
	Kept     []Checkpoint        `json:"kept"`               // complete, oldest first
	Running  *Checkpoint         `json:"running,omitempty"`  // or a savepoint: one cut is taken at a time
	Declined *DeclinedCheckpoint `json:"declined,omitempty"` // the last cut, if it was not completed
}

// Checkpoint is a cut.
type Checkpoint struct {
	ID        uint64     `json:"id"`
	Kind      string     `json:"kind"` // checkpoint or savepoint
	Triggered time.Time  `json:"triggered"`
	Completed *time.Time `json:"completed,omitempty"`
	Manifest  string     `json:"manifest,omitempty"` // below the application's directory
}

// DeclinedCheckpoint is one that was given up.
type DeclinedCheckpoint struct {
	ID     uint64    `json:"id"`
	Kind   string    `json:"kind"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Why    string    `json:"why,omitempty"`
}

// Checkpoints reads what became of them.
func (c *Client) Checkpoints(ctx context.Context) (Checkpoints, error) {
	sum := cuts{kept: map[uint64]Checkpoint{}}
	if _, err := c.readControl(ctx, sum.note); err != nil {
		return Checkpoints{}, err
	}
	sum.out.Kept = slices.AppendSeq([]Checkpoint{}, maps.Values(sum.kept))
	slices.SortFunc(sum.out.Kept, func(a, b Checkpoint) int { return cmp.Compare(a.ID, b.ID) })
	return sum.out, nil
}

// cuts adds up records of the control topic, in their order.
type cuts struct {
	out  Checkpoints
	kept map[uint64]Checkpoint
}

func (c *cuts) note(r control.Record) {
	switch r := r.(type) {
	case control.Trigger:
		c.out.Running = &Checkpoint{ID: r.ID, Kind: r.Kind.String(), Triggered: time.UnixMilli(r.Wall).UTC()}
	case control.Declined:
		c.end(r.ID)
		c.out.Declined = &DeclinedCheckpoint{ID: r.ID, Kind: r.Kind.String(), At: time.UnixMilli(r.Wall).UTC(), Reason: r.Reason.String(), Why: r.Why}
	case control.Complete:
		c.end(r.ID)
		c.out.Declined = nil
		if r.Kind == checkpoint.Checkpoint {
			at := time.UnixMilli(r.Wall).UTC()
			c.kept[r.ID] = Checkpoint{
				ID: r.ID, Kind: r.Kind.String(), Triggered: time.UnixMilli(r.Triggered).UTC(), Completed: &at, Manifest: r.Manifest,
			}
		}
	case control.Dropped:
		delete(c.kept, r.ID)
	case control.Forgotten:
		delete(c.kept, r.ID)
	case control.Active: // a cut that was under way is over
		c.out.Running = nil
	}
}

func (c *cuts) end(id uint64) {
	if c.out.Running != nil && c.out.Running.ID == id {
		c.out.Running = nil
	}
}
