package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// The states of a checkpoint, or of a savepoint among them, which is completed and not
// retained: it is its user's.
const (
	CheckpointRequested = "requested" // it waits for its turn
	CheckpointRunning   = "running"   // the tasks take it
	CheckpointRetained  = "retained"  // complete, and kept
	CheckpointDropped   = "dropped"   // it was complete; its files are deleted
	CheckpointCompleted = "completed" // a savepoint
	CheckpointDeclined  = "declined"  // given up
)

// Checkpoints are what the control topic says about them. Times are by the clocks of who wrote
// them.
type Checkpoints struct {
	Kept     []Checkpoint        `json:"kept"`               // complete, oldest first
	Running  *CheckpointProgress `json:"running,omitempty"`  // or a savepoint: one cut is taken at a time
	Declined *Checkpoint         `json:"declined,omitempty"` // or savepoint: the last one of which the topic still says so
	Failures int                 `json:"failures"`           // in a row, as tolerable failures are counted
	Claimed  []ClaimedSavepoint  `json:"claimed,omitempty"`  // savepoints that the application has claimed and not deleted, oldest claim first
}

// ClaimedSavepoint belongs to the application since a rewind to it, see RewindOptions.Claim.
type ClaimedSavepoint struct {
	Timeline uint32 `json:"timeline"` // that the rewind has made
	Manifest string `json:"manifest"` // without secrets
	Deleting bool   `json:"deleting"` // newer checkpoints have taken its place
}

// Checkpoint is a cut, or one that was asked for.
type Checkpoint struct {
	ID        uint64     `json:"id,omitempty"` // 0: its turn has not come
	Kind      string     `json:"kind"`         // checkpoint or savepoint
	State     string     `json:"state"`
	Timeline  uint32     `json:"timeline"`
	Request   string     `json:"request,omitempty"` // that it answers
	By        string     `json:"by,omitempty"`      // who has asked
	Requested time.Time  `json:"requested,omitzero"`
	Triggered time.Time  `json:"triggered,omitzero"`
	Ended     *time.Time `json:"ended,omitempty"`    // completed or declined
	Full      bool       `json:"full"`               // it shares nothing with the one before; until it is complete: that is asked for
	Bytes     int64      `json:"bytes"`              // of all of its files
	Added     int64      `json:"added"`              // of those that the one before does not have
	Manifest  string     `json:"manifest,omitempty"` // below the application's directory, or Path
	Path      string     `json:"path,omitempty"`     // of a savepoint
	Reason    string     `json:"reason,omitempty"`   // for which it was declined
	Why       string     `json:"why,omitempty"`
}

// Took is how long it took, until it was decided.
func (c Checkpoint) Took() time.Duration {
	if c.Ended == nil {
		return 0
	}
	return c.Ended.Sub(c.Triggered)
}

// CheckpointProgress is how far a checkpoint is.
type CheckpointProgress struct {
	Checkpoint
	Parts
}

// Parts are how many tasks have done their part of a checkpoint or savepoint.
type Parts struct {
	Tasks    int `json:"tasks"`    // of the application
	Taken    int `json:"taken"`    // tasks that have taken it
	Uploaded int `json:"uploaded"` // tasks whose state is written
}

// Checkpoints reads how they are.
func (c *Client) Checkpoints(ctx context.Context) (Checkpoints, error) {
	sum := newCuts()
	state, err := c.readControl(ctx, 0, sum.note)
	if err != nil {
		return Checkpoints{}, err
	}
	out := Checkpoints{Kept: []Checkpoint{}, Failures: sum.failures}
	for _, s := range state.Claimed() {
		out.Claimed = append(out.Claimed, ClaimedSavepoint{Timeline: s.Timeline, Manifest: s.Base.Manifest, Deleting: s.Dropped})
	}
	for _, k := range sum.list() {
		if k.State == CheckpointRetained {
			out.Kept = append(out.Kept, k)
		}
	}
	if sum.declined != nil {
		declined := *sum.declined
		out.Declined = &declined
	}
	if r := sum.running; r != nil {
		out.Running = &CheckpointProgress{Checkpoint: *r}
		if out.Running.Parts, err = c.partsOf(ctx, &state, r); err != nil {
			return Checkpoints{}, err
		}
	}
	return out, nil
}

// CheckpointList gives all that the control topic says: those that are kept, the last ones
// that were declined or dropped, all that somebody has asked for, and savepoints among them,
// in the order of their ids. Those whose turn has not come are last.
func (c *Client) CheckpointList(ctx context.Context) ([]Checkpoint, error) {
	sum := newCuts()
	if _, err := c.readControl(ctx, 0, sum.note); err != nil {
		return nil, err
	}
	return sum.list(), nil
}

// partsOf reads what the tasks have said of a cut so far.
func (c *Client) partsOf(ctx context.Context, state *control.State, of *Checkpoint) (Parts, error) {
	born, ok := state.Newest()
	if !ok {
		return Parts{}, c.notBorn()
	}
	names := offsets.Names{Application: c.application, Timeline: born.Timeline}
	w, err := newWatch(names, born)
	if err != nil {
		return Parts{}, err
	}
	if err := c.readPresent(ctx, names.Acks(), w.hear); err != nil {
		return Parts{}, fmt.Errorf("read %s: %w", names.Acks(), err)
	}
	return w.parts(of.ID), nil
}

// readPresent reads what a topic of one partition holds at present. What is trimmed while it is read is behind the cuts
// that run: it is read again from where it begins by then, and f may see records twice.
func (c *Client) readPresent(ctx context.Context, topic string, f func(key, value []byte) error) error {
	adm := kadm.NewClient(c.client)
	for {
		starts, err := adm.ListStartOffsets(ctx, topic)
		if err = errors.Join(err, starts.Error()); err != nil {
			return fmt.Errorf("list start: %w", err)
		}
		ends, err := adm.ListCommittedOffsets(ctx, topic)
		if err = errors.Join(err, ends.Error()); err != nil {
			return fmt.Errorf("list end: %w", err)
		}
		start, _ := starts.Lookup(topic, 0)
		end, _ := ends.Lookup(topic, 0)
		_, err = changelog.ReadRange(ctx, c.opts, topic, 0, start.Offset, end.Offset, func(key, value []byte, _ int64) error { return f(key, value) })
		if !errors.Is(err, changelog.ErrTruncated) {
			return err
		}
	}
}

// cuts adds up records of the control topic, in their order.
type cuts struct {
	byID      map[uint64]*Checkpoint
	byRequest map[string]*Checkpoint
	running   *Checkpoint
	declined  *Checkpoint // the last one
	failures  int         // of checkpoints, in a row
}

func newCuts() *cuts {
	return &cuts{byID: map[uint64]*Checkpoint{}, byRequest: map[string]*Checkpoint{}}
}

func (c *cuts) note(r control.Record) {
	switch r := r.(type) {
	case control.Request:
		if k := c.byRequest[r.ID]; k == nil || k.ID == 0 {
			c.byRequest[r.ID] = requested(r)
		}
	case control.Trigger:
		k := c.cut(r.Cut, r.Timeline, r.Wall)
		k.State, c.running = CheckpointRunning, k
	case control.Declined:
		k := c.ended(r.Cut, r.Timeline, r.Triggered, r.Wall)
		k.State, k.Reason, k.Why = CheckpointDeclined, r.Reason.String(), r.Why
		if c.declined = k; r.Kind == checkpoint.Checkpoint && r.Asked == nil && r.Reason.Counts() {
			c.failures++
		}
	case control.Complete:
		c.completed(r)
		if r.Kind == checkpoint.Checkpoint {
			c.failures = 0
		}
	case control.Dropped:
		c.completed(r.Complete).State = CheckpointDropped
	case control.Forgotten:
		delete(c.byID, r.ID)
	case control.Active: // a cut that was under way is over
		c.running = nil
	}
}

func requested(r control.Request) *Checkpoint {
	return &Checkpoint{
		Kind: r.Kind.String(), State: CheckpointRequested, Timeline: r.Timeline, Request: r.ID, By: r.By,
		Requested: time.UnixMilli(r.Wall).UTC(), Full: r.Full, Path: r.Path,
	}
}

// cut is the one that a record is about. It may be the first of them that is left.
func (c *cuts) cut(r control.Cut, timeline uint32, triggered int64) *Checkpoint {
	k := c.byID[r.ID]
	if k == nil {
		k = &Checkpoint{}
		c.byID[r.ID] = k
	}
	if r.Asked != nil {
		*k = *requested(*r.Asked)
		c.byRequest[r.Asked.ID] = k
	}
	k.ID, k.Kind, k.Timeline, k.Full, k.Triggered = r.ID, r.Kind.String(), timeline, r.Full, time.UnixMilli(triggered).UTC()
	return k
}

func (c *cuts) ended(r control.Cut, timeline uint32, triggered, wall int64) *Checkpoint {
	k := c.cut(r, timeline, triggered)
	at := time.UnixMilli(wall).UTC()
	k.Ended = &at
	if c.running != nil && c.running.ID <= k.ID {
		c.running = nil
	}
	return k
}

func (c *cuts) completed(r control.Complete) *Checkpoint {
	k := c.ended(r.Cut, r.Timeline, r.Triggered, r.Wall)
	k.State, k.Manifest, k.Path, k.Bytes, k.Added, k.Full = CheckpointRetained, r.Manifest, r.Path, r.Bytes, r.Added, r.Added == r.Bytes
	if r.Kind == checkpoint.Savepoint {
		k.State = CheckpointCompleted
	}
	return k
}

// list gives copies.
func (c *cuts) list() []Checkpoint {
	all := slices.Collect(maps.Values(c.byID))
	for _, k := range c.byRequest {
		if k.ID == 0 {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *Checkpoint) int {
		return cmp.Or(cmp.Compare(a.ID-1, b.ID-1), a.Requested.Compare(b.Requested), cmp.Compare(a.Request, b.Request)) // 0 is last
	})
	out := make([]Checkpoint, 0, len(all))
	for _, k := range all {
		out = append(out, *k)
	}
	return out
}
