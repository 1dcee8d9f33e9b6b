package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// SavepointProgress is how far a savepoint is.
type SavepointProgress struct {
	Savepoint
	Parts
}

// AwaitSavepoint waits until a savepoint is completed, or declined: then the error is
// ErrDeclined. progress may be nil; it is called when something has changed. When ctx ends the
// savepoint goes on.
func (c *Client) AwaitSavepoint(ctx context.Context, id string, progress func(SavepointProgress)) (out Savepoint, err error) {
	var told SavepointProgress
	err = c.await(ctx, checkpoint.Savepoint, id, func(w *watch) (bool, error) {
		s, ok := w.state.Savepoint(id)
		if !ok {
			return false, nil
		}
		now := SavepointProgress{Savepoint: savepointOf(s)}
		now.Parts = w.parts(now.Cut)
		if progress != nil && (now.State != told.State || now.Parts != told.Parts) {
			progress(now)
		}
		told = now
		switch now.State {
		case SavepointCompleted:
			out = now.Savepoint
			return true, nil
		case SavepointDeclined:
			out = now.Savepoint
			return true, c.declinedSavepoint(out)
		}
		return false, nil
	})
	return out, err
}

// StopOptions say how an application is to be stopped.
type StopOptions struct {
	// ID names the stop. Default: one that was not used before.
	ID string
	// By says who wants it, for people. Default: user@host.
	By string
	// Savepoint, if not nil, is taken first, and nothing is processed behind it: what is in the
	// savepoint is what the application has done. When it is declined the application goes on.
	Savepoint *SavepointOptions
	// Drain ends the application's time before: nothing more is read from sources, all windows
	// fire, through all tasks, and then the savepoint is taken, also without Savepoint. It is
	// final, and cannot be taken back: a drain that was asked for goes on whatever becomes of
	// the savepoint, and after it the application is not started again but from a savepoint
	// or checkpoint.
	Drain bool
}

// StopProgress is how far a stop is.
type StopProgress struct {
	Savepoint *SavepointProgress `json:"savepoint,omitempty"`
	Left      []string           `json:"left,omitempty"` // lanes that have not stopped yet, when that is waited for
}

// Stopped is what a stop has done.
type Stopped struct {
	Application string     `json:"application"`
	Savepoint   *Savepoint `json:"savepoint,omitempty"`
	Lanes       int        `json:"lanes"` // that have stopped
}

// stopLook is between two looks at who is left.
const stopLook = 200 * time.Millisecond

// Stop ends all workers of the application that run now, and waits for that. Who starts a
// worker later starts the application again, where it was; nothing has to be taken back. A
// supervisor that starts workers again when they end has to be told before. An application of
// which no worker runs is stopped already; with a Savepoint that is an ErrNotRunning.
func (c *Client) Stop(ctx context.Context, o StopOptions, progress func(StopProgress)) (Stopped, error) {
	out := Stopped{Application: c.application}
	if progress == nil {
		progress = func(StopProgress) {}
	}
	state, err := c.control(ctx)
	if err != nil {
		return out, err
	}
	timeline, err := c.running(ctx, &state)
	if o.Drain && o.Savepoint == nil {
		o.Savepoint = &SavepointOptions{}
	}
	if errors.Is(err, ErrNotRunning) && o.Savepoint == nil {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	before, err := c.members(ctx, timeline)
	if err != nil {
		return out, err
	}
	if o.Savepoint != nil {
		of := *o.Savepoint
		of.stop, of.drain = true, o.Drain
		s, err := c.RequestSavepoint(ctx, of)
		if err == nil && s.Ended != nil {
			err = c.taken(s.ID, "a stop that is over")
		}
		if err == nil {
			s, err = c.AwaitSavepoint(ctx, s.ID, func(p SavepointProgress) { progress(StopProgress{Savepoint: &p}) })
		}
		if err != nil {
			return out, err
		}
		out.Savepoint = &s
	} else {
		if o.ID == "" {
			o.ID = newID("stop")
		}
		if o.By == "" {
			o.By = me()
		}
		if _, err := c.write(ctx, control.Stop{ID: o.ID, Timeline: timeline, By: o.By, Wall: time.Now().UnixMilli()}); err != nil {
			return out, err
		}
	}
	left := -1
	for {
		now, err := c.members(ctx, timeline)
		if err != nil {
			return out, err
		}
		var names []string
		for id, name := range before {
			if _, there := now[id]; there {
				names = append(names, name)
			}
		}
		if out.Lanes = len(before) - len(names); len(names) == 0 {
			return out, nil
		}
		if len(names) != left {
			left = len(names)
			progress(StopProgress{Left: names})
		}
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("stop %s, of which %d lanes have not ended: %w", c.application, len(names), context.Cause(ctx))
		case <-time.After(stopLook):
		}
	}
}
