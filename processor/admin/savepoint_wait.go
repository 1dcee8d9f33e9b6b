package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/control"
)

// SavepointProgress is how far a savepoint is.
type SavepointProgress struct {
	Savepoint
	Tasks    int `json:"tasks"`    // of the application
	Taken    int `json:"taken"`    // tasks that have taken it
	Uploaded int `json:"uploaded"` // tasks whose state is written
}

// AwaitSavepoint waits until a savepoint is completed, or declined: then the error is
// ErrDeclined. progress may be nil; it is called when something has changed. When ctx ends the
// savepoint goes on.
func (c *Client) AwaitSavepoint(ctx context.Context, id string, progress func(SavepointProgress)) (Savepoint, error) {
	state, err := c.control(ctx)
	if err != nil {
		return Savepoint{}, err
	}
	born, ok := state.Newest()
	if !ok {
		return Savepoint{}, c.notBorn()
	}
	if _, ok := state.Savepoint(id); !ok {
		return Savepoint{}, &processor.Error{What: fmt.Sprintf("nobody has asked for a savepoint %s", id), Where: "application " + c.application, Err: ErrNotAsked, Fix: "see weir savepoint list"}
	}
	names := offsets.Names{Application: c.application, Timeline: born.Timeline}
	cl, err := kgo.NewClient(append(c.opts[:len(c.opts):len(c.opts)], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		names.Control(): {0: kgo.NewOffset().AtStart()}, names.Acks(): {0: kgo.NewOffset().AtStart()},
	}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return Savepoint{}, fmt.Errorf("wait for savepoint %s: %w", id, err)
	}
	defer cl.Close()
	w := savepointWait{id: id, acks: names.Acks(), taken: map[uint64]parts{}, uploaded: map[uint64]parts{}}
	if w.tasks, err = tasksOf(names, born); err != nil {
		return Savepoint{}, fmt.Errorf("wait for savepoint %s: %w", id, err)
	}
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return Savepoint{}, fmt.Errorf("wait for savepoint %s, which goes on: %w", id, context.Cause(ctx))
		}
		var failed error
		fetches.EachError(func(topic string, _ int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("wait for savepoint %s: read %s: %w", id, topic, err))
		})
		if failed != nil {
			return Savepoint{}, failed
		}
		for _, r := range fetches.Records() {
			if err := w.see(r); err != nil {
				return Savepoint{}, fmt.Errorf("wait for savepoint %s: %s, offset %d: %w", id, r.Topic, r.Offset, err)
			}
		}
		now, ok := w.now()
		if !ok {
			continue
		}
		if progress != nil && now.differs(w.told) {
			progress(now)
		}
		w.told = now
		switch now.State {
		case SavepointCompleted:
			return now.Savepoint, nil
		case SavepointDeclined:
			return now.Savepoint, c.declined(now.Savepoint)
		}
	}
}

// ErrNotAsked is returned for a savepoint that nobody has asked for.
var ErrNotAsked = errors.New("nobody has asked for it")

// parts are tasks that have done something for a cut.
type parts map[offsets.Task]bool

// savepointWait is what was read while somebody waits for a savepoint.
type savepointWait struct {
	id, acks        string
	tasks           int
	state           control.State
	taken, uploaded map[uint64]parts // by cut: the acks may be read before the trigger
	told            SavepointProgress
}

func (w *savepointWait) see(r *kgo.Record) error {
	if r.Topic != w.acks {
		return w.state.ApplyRecord(r.Key, r.Value)
	}
	m, err := control.DecodeMessage(r.Key, r.Value)
	if err != nil {
		return err
	}
	note := func(of map[uint64]parts, cut uint64, t offsets.Task) {
		if of[cut] == nil {
			of[cut] = parts{}
		}
		of[cut][t] = true
	}
	switch m := m.(type) {
	case control.Ack:
		note(w.taken, m.Cut, m.Task)
	case control.Uploaded:
		if m.Failed == "" {
			note(w.uploaded, m.Cut, m.Task)
		}
	}
	return nil
}

func (w *savepointWait) now() (SavepointProgress, bool) {
	s, ok := w.state.Savepoint(w.id)
	p := SavepointProgress{Savepoint: savepointOf(s), Tasks: w.tasks}
	p.Taken, p.Uploaded = len(w.taken[p.Cut]), len(w.uploaded[p.Cut])
	return p, ok
}

func (p SavepointProgress) differs(before SavepointProgress) bool {
	return p.State != before.State || p.Taken != before.Taken || p.Uploaded != before.Uploaded
}

// tasksOf counts the tasks that take cuts.
func tasksOf(names offsets.Names, born control.Born) (n int, err error) {
	b, err := birthOf(names.Application, born)
	for _, sub := range b.Plan.Subs {
		in := sub.Inputs[0]
		topic := in.Topic
		if in.Internal {
			topic = names.Repartition(topic)
		}
		n += int(b.Partitions[topic])
	}
	return n, err
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
		of.stop = true
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
			o.ID = "stop-" + time.Now().UTC().Format("20060102-150405-") + newSuffix()
		}
		if o.By == "" {
			o.By = me()
		}
		if err := c.write(ctx, control.Stop{ID: o.ID, Timeline: timeline, By: o.By, Wall: time.Now().UnixMilli()}); err != nil {
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
