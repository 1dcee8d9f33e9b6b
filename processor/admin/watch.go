package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// ErrNotAsked is returned for a checkpoint or savepoint that nobody has asked for.
var ErrNotAsked = errors.New("nobody has asked for it")

// watch is what was read while somebody waits for a checkpoint or savepoint.
type watch struct {
	tasks           int
	state           control.State
	cuts            *cuts
	taken, uploaded map[uint64]map[offsets.Task]bool // by cut: the acks may be read before the trigger
}

func newWatch(names offsets.Names, born control.Born) (*watch, error) {
	tasks, err := tasksOf(names, born)
	return &watch{tasks: tasks, cuts: newCuts(), taken: map[uint64]map[offsets.Task]bool{}, uploaded: map[uint64]map[offsets.Task]bool{}}, err
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

// learn takes a record of the control topic.
func (w *watch) learn(key, value []byte) error {
	r, err := control.Decode(key, value)
	if err == nil {
		err = w.state.Apply(r)
	}
	if err == nil {
		w.cuts.note(r)
	}
	return err
}

// hear takes a record of the acks topic.
func (w *watch) hear(key, value []byte) error {
	m, err := control.DecodeMessage(key, value)
	if err != nil {
		return err
	}
	note := func(of map[uint64]map[offsets.Task]bool, cut uint64, t offsets.Task) {
		if of[cut] == nil {
			of[cut] = map[offsets.Task]bool{}
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

func (w *watch) parts(cut uint64) Parts {
	return Parts{Tasks: w.tasks, Taken: len(w.taken[cut]), Uploaded: len(w.uploaded[cut])}
}

// await reads what becomes of a request, until over says so, which is asked whenever something
// was read.
func (c *Client) await(ctx context.Context, kind checkpoint.Kind, id string, over func(*watch) (bool, error)) error {
	fail := func(err error) error { return fmt.Errorf("wait for %s %s: %w", kind, id, err) }
	state, err := c.control(ctx)
	if err != nil {
		return err
	}
	born, ok := state.Newest()
	if !ok {
		return c.notBorn()
	}
	if r, ok := state.Request(id); !ok || r.Kind != kind {
		return &processor.Error{What: fmt.Sprintf("nobody has asked for a %s %s", kind, id), Where: "application " + c.application, Err: ErrNotAsked, Fix: fmt.Sprintf("see weir %s list", kind)}
	}
	names := offsets.Names{Application: c.application, Timeline: born.Timeline}
	w, err := newWatch(names, born)
	if err != nil {
		return fail(err)
	}
	cl, err := kgo.NewClient(append(c.opts[:len(c.opts):len(c.opts)], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		names.Control(): {0: kgo.NewOffset().AtStart()}, names.Acks(): {0: kgo.NewOffset().AtStart()},
	}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return fail(err)
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for %s %s, which goes on: %w", kind, id, context.Cause(ctx))
		}
		var failed error
		fetches.EachError(func(topic string, _ int32, err error) {
			failed = errors.Join(failed, fail(fmt.Errorf("read %s: %w", topic, err)))
		})
		if failed != nil {
			return failed
		}
		for _, r := range fetches.Records() {
			tell := w.learn
			if r.Topic == names.Acks() {
				tell = w.hear
			}
			if err := tell(r.Key, r.Value); err != nil {
				return fail(fmt.Errorf("%s, offset %d: %w", r.Topic, r.Offset, err))
			}
		}
		if done, err := over(w); done || err != nil {
			return err
		}
	}
}
