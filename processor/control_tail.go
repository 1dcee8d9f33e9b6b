package processor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// controlTail reads an application's control topic as it grows, once for all lanes of a
// worker. What it knows may be behind: who must know what was decided before a moment reads
// the topic to its end (readControl).
type controlTail struct {
	cfg     *config
	topic   string
	line    uint32
	drains  atomic.Bool          // the time of the timeline is to end: sources are not read any more
	quiet   atomic.Bool          // that of its loops, too
	life    int64                // the end of the topic when the worker began: stops before it were for others
	stop    func()               // ends the worker
	hear    func(control.Record) // of the worker's uploads
	mu      sync.Mutex           // guards what follows
	state   control.State
	next    int64 // offset of the next record
	readers map[*inbox]bool
}

// controlSeen is a record of the control topic, in its order.
type controlSeen struct {
	record control.Record
	offset int64
	stops  bool // it stops this worker
}

func newControlTail(cfg *config, app *application, hear func(control.Record), stop func()) *controlTail {
	c := &controlTail{cfg: cfg, topic: app.names.Control(), line: app.names.Timeline, life: app.life, hear: hear, stop: stop, readers: map[*inbox]bool{}}
	c.drains.Store(app.draining)
	c.quiet.Store(app.quiet)
	return c
}

// subscribe tells the inbox of every record from now on. The participant knows of those
// before.
func (c *controlTail) subscribe(to *inbox) *checkpoint.Participant {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readers[to] = true
	return checkpoint.NewParticipantAfter(c.state.Cuts().Clone())
}

func (c *controlTail) unsubscribe(to *inbox) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.readers, to)
}

// run reads until ctx ends. It returns an error only for a topic that weir cannot have
// written. After every other one a new client goes on where the old one was: the old one may
// believe that records were lost when a partition has moved to another broker.
func (c *controlTail) run(ctx context.Context) error {
	for wait := retryPause; ; wait = min(2*wait, lanePauseMax) {
		err := c.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrTopic) {
			return err
		}
		c.cfg.listener.warn("read control topic "+c.topic+": trying again", err)
		if pause(ctx, wait) != nil {
			return nil
		}
	}
}

func (c *controlTail) read(ctx context.Context) error {
	c.mu.Lock()
	next := c.next
	c.mu.Unlock()
	cl, err := c.cfg.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.topic: {0: kgo.NewOffset().At(next)}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)
	if err != nil {
		return fmt.Errorf("read control topic %s: %w", c.topic, err)
	}
	defer cl.Close()
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var failed error
		fetches.EachError(func(_ string, _ int32, err error) { failed = errors.Join(failed, err) })
		if failed != nil {
			return fmt.Errorf("read control topic %s: %w", c.topic, failed)
		}
		for _, r := range fetches.Records() {
			if err := c.apply(r.Key, r.Value, r.Offset); err != nil {
				return err
			}
		}
	}
}

func (c *controlTail) apply(key, value []byte, offset int64) error {
	r, err := control.Decode(key, value)
	c.mu.Lock()
	if err == nil {
		err = c.state.Apply(r)
	}
	stops := err == nil && offset >= c.life && control.StopsAt(r)
	if stops {
		c.stop() // before the lanes hear of it: none of them goes on
	}
	if err == nil {
		c.next = offset + 1
		if q, ok := r.(control.Request); ok && q.Drain && q.Timeline == c.line {
			c.drains.Store(true)
		}
		if q, ok := r.(control.Quiet); ok && q.Timeline == c.line {
			c.quiet.Store(true)
		}
		for in := range c.readers {
			in.push(controlSeen{r, offset, stops})
		}
	}
	c.mu.Unlock()
	if err != nil {
		return controlDamage(c.topic, offset, err)
	}
	c.hear(r)
	if stops {
		c.cfg.listener.stopping(stopText(r))
	}
	return nil
}

// stopText says to people why the worker stops.
func stopText(r control.Record) string {
	switch r := r.(type) {
	case control.Stop:
		return fmt.Sprintf("%s has stopped the application (%s)", r.By, r.ID)
	case control.Complete:
		return fmt.Sprintf("the application stops with savepoint %s, which lies in %s", r.Request(), r.Path)
	}
	return ""
}

// savepoint is what was asked for with the savepoint of that request.
func (c *controlTail) savepoint(request string) (control.Savepoint, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Savepoint(request)
}

// controlDamage is the error for a control topic that weir cannot have written.
func controlDamage(topic string, offset int64, err error) error {
	return &Error{What: fmt.Sprintf("control topic %s, offset %d: %v", topic, offset, err), Where: "control topic", Err: errors.Join(ErrTopic, err),
		Fix: "run the release that wrote it, or find out what else writes to it"}
}

// kept are the completed cuts, oldest first, as far as was read.
func (c *controlTail) kept() []control.Complete {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Kept()
}
