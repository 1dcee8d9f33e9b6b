package admin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

var (
	// ErrNotRunning is returned when no worker of the application runs that could do it.
	ErrNotRunning = errors.New("no worker runs")
	// ErrDeclined is returned for a savepoint that was not completed.
	ErrDeclined = errors.New("the savepoint was declined")
	// ErrRequestTaken is returned when an id was used before, for something else.
	ErrRequestTaken = errors.New("the id was used before")
)

// The states of a savepoint.
const (
	SavepointRequested = "requested" // it waits for its turn
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
	Stop      bool       `json:"stop,omitempty"` // the application stops with it
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

	stop bool // the application stops with it
}

func (o SavepointOptions) withDefaults() (SavepointOptions, error) {
	refuse := func(what, fix string, err error) (SavepointOptions, error) {
		return o, &processor.Error{What: what, Where: "savepoint", Fix: fix, Err: err}
	}
	if o.ID == "" {
		o.ID = "sp-" + time.Now().UTC().Format("20060102-150405-") + newSuffix()
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

func newSuffix() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // does not fail
	return hex.EncodeToString(b[:])
}

// me is who does this, for people.
func me() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// RequestSavepoint asks for a savepoint and does not wait for it. When the id was used before
// it asks for nothing, and gives what became of that one; if that was into another path or in
// another format, it is an ErrRequestTaken.
func (c *Client) RequestSavepoint(ctx context.Context, o SavepointOptions) (Savepoint, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Savepoint{}, err
	}
	state, err := c.control(ctx)
	if err != nil {
		return Savepoint{}, err
	}
	if _, known := state.Request(o.ID); !known {
		if err := c.request(ctx, &state, o); err != nil {
			return Savepoint{}, err
		}
		if state, err = c.control(ctx); err != nil {
			return Savepoint{}, err
		}
	}
	s, ok := state.Savepoint(o.ID)
	switch {
	case !ok:
		return Savepoint{}, c.taken(o.ID, "a checkpoint")
	case o.Path != "" && s.Request.Path != o.Path:
		return Savepoint{}, c.taken(o.ID, "a savepoint into "+shownPath(s.Request.Path))
	case o.Format != "" && savepointOf(s).Format != o.Format:
		return Savepoint{}, c.taken(o.ID, "a savepoint in the format "+savepointOf(s).Format)
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

func (c *Client) taken(id, what string) error {
	return &processor.Error{What: fmt.Sprintf("id %s was used before, for %s", id, what), Where: "application " + c.application, Err: ErrRequestTaken, Fix: "choose another id"}
}

// request writes the request into the control topic.
func (c *Client) request(ctx context.Context, state *control.State, o SavepointOptions) error {
	timeline, err := c.running(ctx, state)
	if err != nil {
		return err
	}
	return c.write(ctx, control.Request{
		ID: o.ID, Timeline: timeline, Kind: checkpoint.Savepoint, Full: true, Path: o.Path, Format: o.Format, Stop: o.stop, By: o.By, Wall: time.Now().UnixMilli(),
	})
}

func (c *Client) write(ctx context.Context, r control.Record) error {
	key, value, err := control.Encode(r)
	if err != nil {
		return err
	}
	topic := offsets.Names{Application: c.application}.Control()
	if err := c.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: key, Value: value}).FirstErr(); err != nil {
		return fmt.Errorf("write to control topic %s: %w", topic, err)
	}
	return nil
}

// running gives the timeline whose group has members.
func (c *Client) running(ctx context.Context, state *control.State) (uint32, error) {
	born, ok := state.Newest()
	if !ok {
		return 0, c.notBorn()
	}
	members, err := c.members(ctx, born.Timeline)
	if err == nil && len(members) == 0 {
		err = &processor.Error{What: "no worker runs, so nobody would do it", Where: "application " + c.application, Err: ErrNotRunning, Fix: "start it first"}
	}
	return born.Timeline, err
}

// members are the lanes in the application's group, by member id.
func (c *Client) members(ctx context.Context, timeline uint32) (map[string]string, error) {
	group := offsets.Names{Application: c.application, Timeline: timeline}.Group()
	described, err := kadm.NewClient(c.client).DescribeGroups(ctx, group)
	if err == nil {
		err = described[group].Err
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	out := map[string]string{}
	for _, m := range described[group].Members {
		name := m.MemberID
		if m.InstanceID != nil {
			name = ownerOf(*m.InstanceID)
		}
		out[m.MemberID] = name
	}
	return out, nil
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

// declined is the error for a savepoint that was not completed.
func (c *Client) declined(s Savepoint) error {
	what := fmt.Sprintf("savepoint %s was declined (%s)", s.ID, s.Reason)
	if s.Why != "" {
		what += ": " + s.Why
	}
	fix := "the application goes on; ask again, under another id"
	switch s.Reason {
	case checkpoint.TimedOut.String():
		fix = "the application goes on; see with weir status which tasks do not run or lag behind, raise the timeout of checkpoints, and ask again, under another id"
	case checkpoint.UploadFailed.String(), checkpoint.ManifestFailed.String():
		fix = "the application goes on; do what it says, and ask again, under another id"
	}
	return &processor.Error{What: strings.TrimSpace(what), Where: "application " + c.application, Err: ErrDeclined, Fix: fix}
}
