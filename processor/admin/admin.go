package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
)

// ErrNotBorn is returned when the application was never started on these brokers.
var ErrNotBorn = errors.New("application was never started")

// Client looks at one application.
type Client struct {
	application string
	client      *kgo.Client
	opts        []kgo.Opt
}

// New makes a client; opts say how to reach the brokers. It does not talk to them.
func New(application string, opts ...kgo.Opt) (*Client, error) {
	if err := offsets.CheckName(application); err != nil {
		return nil, fmt.Errorf("application name: %w", err)
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return &Client{application: application, client: cl, opts: opts}, nil
}

// Close ends the client.
func (c *Client) Close() { c.client.Close() }

// Birth is what the application decided at its first start, for its present timeline.
type Birth struct {
	Application        string               `json:"application"`
	Timeline           uint32               `json:"timeline"`
	Born               time.Time            `json:"born"`
	InternalPartitions int32                `json:"internal_partitions"`
	Partitions         map[string]int32     `json:"partitions"` // of each source and internal topic
	Plan               topology.Description `json:"plan"`
}

// Birth reads the control topic.
func (c *Client) Birth(ctx context.Context) (Birth, error) {
	_, b, err := c.stateAndBirth(ctx)
	return b, err
}

func (c *Client) stateAndBirth(ctx context.Context) (control.State, Birth, error) {
	state, err := c.control(ctx)
	if err != nil {
		return state, Birth{}, err
	}
	born, ok := state.Newest()
	if !ok {
		return state, Birth{}, c.notBorn()
	}
	b, err := birthOf(c.application, born)
	return state, b, err
}

func birthOf(application string, born control.Born) (Birth, error) {
	b := Birth{
		Application: application, Timeline: born.Timeline, Born: time.UnixMilli(born.Wall).UTC(),
		InternalPartitions: born.InternalPartitions, Partitions: born.Partitions,
	}
	if err := json.Unmarshal(born.Plan, &b.Plan); err != nil {
		return Birth{}, fmt.Errorf("plan of %s in its control topic: %w", application, err)
	}
	return b, nil
}

func (c *Client) notBorn() error {
	return &processor.Error{What: "it was never started on these brokers", Where: "application " + c.application, Err: ErrNotBorn,
		Fix: "check the name and the brokers; the name is what the program gives to topology.New"}
}

// control reads what is decided: the committed records of the control topic up to its
// present end.
func (c *Client) control(ctx context.Context) (control.State, error) {
	return c.readControl(ctx, 0, func(control.Record) {})
}

// readControl calls f for each record, too. It reads at least the offsets below least, which
// an open transaction may hide for the moment.
func (c *Client) readControl(ctx context.Context, least int64, f func(control.Record)) (control.State, error) {
	var state control.State
	topic := offsets.Names{Application: c.application}.Control()
	fail := func(err error) (control.State, error) {
		return state, fmt.Errorf("read control topic %s: %w", topic, err)
	}
	listed, err := kadm.NewClient(c.client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return fail(err)
	}
	end, ok := listed.Lookup(topic, 0)
	switch {
	case !ok || errors.Is(end.Err, kerr.UnknownTopicOrPartition):
		return state, c.notBorn()
	case end.Err != nil:
		return fail(end.Err)
	}
	_, err = changelog.ReadRange(ctx, c.opts, topic, 0, 0, max(end.Offset, least), func(key, value []byte, offset int64) error {
		r, err := control.Decode(key, value)
		if err == nil {
			err = state.Apply(r)
		}
		if err != nil {
			return fmt.Errorf("offset %d: %w", offset, err)
		}
		f(r)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return state, nil
}
