package admin

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// The states of a savepoint.
const (
	SavepointRequested = "requested" // it waits for its turn
	SavepointDraining  = "draining"  // it waits until time has ended in all tasks
	SavepointRunning   = "running"   // the tasks take it
	SavepointCompleted = "completed"
	SavepointDeclined  = "declined"
)

// Savepoint is what became of one that was asked for. Times are by the clocks of who wrote
// them.
type Savepoint struct {
	ID        string     `json:"id"`
	State     string     `json:"state"`
	Timeline  uint32     `json:"timeline"`
	Cut       uint64     `json:"cut,omitempty"`
	Path      string     `json:"path,omitempty"` // where it lies; before it is complete where it was asked to go, "" for the workers' place
	Manifest  string     `json:"manifest,omitempty"`
	Format    string     `json:"format"`
	Stop      bool       `json:"stop,omitempty"`  // the application stops with it
	Drain     bool       `json:"drain,omitempty"` // its time ended before
	By        string     `json:"by"`
	Requested time.Time  `json:"requested"`
	Ended     *time.Time `json:"ended,omitempty"`  // completed or declined
	Reason    string     `json:"reason,omitempty"` // for which it was declined
	Why       string     `json:"why,omitempty"`
}

func savepointOf(s control.Savepoint) Savepoint {
	out := Savepoint{
		ID: s.Request.ID, State: SavepointRequested, Timeline: s.Request.Timeline, Path: s.Request.Path, Format: s.Request.Format,
		Stop: s.Request.Stop, By: s.Request.By, Requested: time.UnixMilli(s.Request.Wall).UTC(),
	}
	if out.Format == "" {
		out.Format = string(snapshot.Native)
	}
	ended := func(wall int64) {
		at := time.UnixMilli(wall).UTC()
		out.Ended = &at
	}
	if s.Request.Drain {
		out.Drain, out.State = true, SavepointDraining
	}
	if s.Cut != 0 {
		out.State, out.Cut = SavepointRunning, s.Cut
	}
	if d := s.Declined; d != nil {
		out.State, out.Cut, out.Reason, out.Why = SavepointDeclined, d.ID, d.Reason.String(), d.Why
		ended(d.Wall)
	}
	if k := s.Complete; k != nil {
		out.State, out.Cut, out.Path, out.Manifest = SavepointCompleted, k.ID, k.Path, k.Manifest
		ended(k.Wall)
	}
	return out
}

// SavepointOptions say what savepoint is wanted.
type SavepointOptions struct {
	// ID names the request: the same id again is the same savepoint. Characters a-z, 0-9 and
	// -. Default: one that was not used before.
	ID string
	// Path is a directory, from the root, or the URL of an object store, that every worker
	// sees under this name and where no other savepoint lies. Default: the place for
	// savepoints that the workers are configured with, <application>/savepoints/<ID> below it.
	Path string
	// Format is native (default) or portable.
	Format string
	// By says who wants it, for people. Default: user@host.
	By string

	stop  bool // the application stops with it
	drain bool // and its time ends before
}

func (o SavepointOptions) withDefaults() (SavepointOptions, error) {
	refuse := func(what, fix string, err error) (SavepointOptions, error) {
		return o, &processor.Error{What: what, Where: "savepoint", Fix: fix, Err: err}
	}
	if o.ID == "" {
		o.ID = newID("sp")
	}
	if o.By == "" {
		o.By = me()
	}
	if err := offsets.CheckName(o.ID); err != nil {
		return refuse("id: "+err.Error(), "use a-z, 0-9 and -", err)
	}
	if f := snapshot.Format(o.Format); f != "" && f != snapshot.Native && f != snapshot.Portable {
		return refuse(fmt.Sprintf("the format %q is unknown", o.Format), "use native or portable", nil)
	}
	if o.Path != "" {
		dir, local, err := snapshot.Local(o.Path)
		if err != nil {
			return refuse(err.Error(), "name a directory or the URL of an object store", err)
		}
		if local && !filepath.IsAbs(dir) {
			return refuse(fmt.Sprintf("the path %s is relative, and every worker has another working directory", o.Path), "give it from the root, as the workers see it, or as a URL", nil)
		}
	}
	return o, nil
}

// RequestSavepoint asks for a savepoint and does not wait for it. When the id was used before
// it asks for nothing, and gives what became of that one; if that was into another path or in
// another format, it is an ErrRequestTaken.
func (c *Client) RequestSavepoint(ctx context.Context, o SavepointOptions) (Savepoint, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Savepoint{}, err
	}
	state, _, err := c.request(ctx, control.Request{ID: o.ID, Kind: checkpoint.Savepoint, Full: true, Path: o.Path, Format: o.Format, Stop: o.stop, Drain: o.drain, By: o.By})
	if err != nil {
		return Savepoint{}, err
	}
	s, ok := state.Savepoint(o.ID)
	switch {
	case !ok:
		return Savepoint{}, c.taken(o.ID, "a checkpoint")
	case o.Path != "" && s.Request.Path != o.Path:
		return Savepoint{}, c.taken(o.ID, "a savepoint into "+shownPath(s.Request.Path))
	case o.Format != "" && savepointOf(s).Format != o.Format:
		return Savepoint{}, c.taken(o.ID, "a savepoint in the format "+savepointOf(s).Format)
	case o.drain != s.Request.Drain:
		return Savepoint{}, c.taken(o.ID, fmt.Sprintf("a savepoint that ends the application's time: %t", s.Request.Drain))
	case o.stop != s.Request.Stop:
		return Savepoint{}, c.taken(o.ID, fmt.Sprintf("a savepoint that stops the application: %t", s.Request.Stop))
	}
	return savepointOf(s), nil
}

func shownPath(path string) string {
	if path == "" {
		return "the workers' place"
	}
	return path
}

// TriggerSavepoint is RequestSavepoint, and AwaitSavepoint for what it gives.
func (c *Client) TriggerSavepoint(ctx context.Context, o SavepointOptions, progress func(SavepointProgress)) (Savepoint, error) {
	s, err := c.RequestSavepoint(ctx, o)
	if err != nil {
		return s, err
	}
	return c.AwaitSavepoint(ctx, s.ID, progress)
}

// Savepoints are all that were ever asked for, in that order. Whether those that were completed
// still lie where they were written is not looked at.
func (c *Client) Savepoints(ctx context.Context) ([]Savepoint, error) {
	state, err := c.control(ctx)
	if err != nil {
		return nil, err
	}
	out := []Savepoint{}
	for _, s := range state.Savepoints() {
		out = append(out, savepointOf(s))
	}
	return out, nil
}
