package admin

import (
	"context"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// CheckpointOptions say what checkpoint is wanted.
type CheckpointOptions struct {
	// ID names the request: the same id again is the same checkpoint. Characters a-z, 0-9 and
	// -. Default: one that was not used before.
	ID string
	// Full makes it stand alone: it shares nothing with the one before.
	Full bool
	// By says who wants it, for people. Default: user@host.
	By string
}

// RequestCheckpoint asks for a checkpoint now and does not wait for it. It counts among those
// that are kept, and goes where the workers are configured to put them. When the id was used
// before it asks for nothing, and gives what became of that one; if that was for something
// else, it is an ErrRequestTaken.
func (c *Client) RequestCheckpoint(ctx context.Context, o CheckpointOptions) (Checkpoint, error) {
	if o.ID == "" {
		o.ID = newID("cp")
	}
	if o.By == "" {
		o.By = me()
	}
	if err := offsets.CheckName(o.ID); err != nil {
		return Checkpoint{}, &processor.Error{What: "id: " + err.Error(), Where: "checkpoint", Fix: "use a-z, 0-9 and -", Err: err}
	}
	state, sum, err := c.request(ctx, control.Request{ID: o.ID, Kind: checkpoint.Checkpoint, Full: o.Full, By: o.By})
	if err != nil {
		return Checkpoint{}, err
	}
	switch r, _ := state.Request(o.ID); {
	case r.Kind != checkpoint.Checkpoint:
		return Checkpoint{}, c.taken(o.ID, "a savepoint")
	case o.Full && !r.Full:
		return Checkpoint{}, c.taken(o.ID, "a checkpoint that need not be full")
	}
	return *sum.byRequest[o.ID], nil
}

// AwaitCheckpoint waits until a checkpoint that was asked for is complete, or declined: then
// the error is ErrDeclined. progress may be nil; it is called when something has changed. When
// ctx ends the checkpoint goes on.
func (c *Client) AwaitCheckpoint(ctx context.Context, id string, progress func(CheckpointProgress)) (out Checkpoint, err error) {
	var told CheckpointProgress
	err = c.await(ctx, checkpoint.Checkpoint, id, func(w *watch) (bool, error) {
		k := w.cuts.byRequest[id]
		if k == nil {
			return false, nil
		}
		now := CheckpointProgress{Checkpoint: *k, Parts: w.parts(k.ID)}
		if progress != nil && (now.State != told.State || now.Parts != told.Parts) {
			progress(now)
		}
		told, out = now, now.Checkpoint
		if k.State == CheckpointDeclined {
			return true, c.declined(checkpoint.Checkpoint, id, k.Reason, k.Why)
		}
		return k.Ended != nil, nil
	})
	if out.Ended == nil {
		out = Checkpoint{}
	}
	return out, err
}

// TriggerCheckpoint is RequestCheckpoint, and AwaitCheckpoint for what it gives.
func (c *Client) TriggerCheckpoint(ctx context.Context, o CheckpointOptions, progress func(CheckpointProgress)) (Checkpoint, error) {
	k, err := c.RequestCheckpoint(ctx, o)
	if err != nil {
		return k, err
	}
	return c.AwaitCheckpoint(ctx, k.Request, progress)
}
