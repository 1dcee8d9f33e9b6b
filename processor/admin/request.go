package admin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

var (
	// ErrNotRunning is returned when no worker of the application runs that could do it.
	ErrNotRunning = errors.New("no worker runs")
	// ErrDeclined is returned for a checkpoint or savepoint that was not completed.
	ErrDeclined = errors.New("declined")
	// ErrRequestTaken is returned when an id was used before, for something else.
	ErrRequestTaken = errors.New("the id was used before")
)

// newID is one that was not used before.
func newID(prefix string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // does not fail
	return prefix + time.Now().UTC().Format("-20060102-150405-") + hex.EncodeToString(b[:])
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

func (c *Client) taken(id, what string) error {
	return &processor.Error{What: fmt.Sprintf("id %s was used before, for %s", id, what), Where: "application " + c.application, Err: ErrRequestTaken, Fix: "choose another id"}
}

// declined is the error for a checkpoint or savepoint that was not completed.
func (c *Client) declined(kind checkpoint.Kind, id, reason, why string) error {
	what := fmt.Sprintf("%s %s was declined (%s)", kind, id, reason)
	if why != "" {
		what += ": " + why
	}
	fix := "the application goes on; ask again, under another id"
	switch reason {
	case checkpoint.TimedOut.String():
		fix = "the application goes on; see with weir status which tasks do not run or lag behind, raise the timeout of checkpoints, and ask again, under another id"
	case checkpoint.UploadFailed.String(), checkpoint.ManifestFailed.String():
		fix = "the application goes on; do what it says, and ask again, under another id"
	}
	return &processor.Error{What: strings.TrimSpace(what), Where: "application " + c.application, Err: ErrDeclined, Fix: fix}
}

// request makes sure that the control topic has a request with this id, and gives what the
// topic says then. Whoever asks compares: it may be there with other wishes.
func (c *Client) request(ctx context.Context, r control.Request) (control.State, *cuts, error) {
	sum := newCuts()
	state, err := c.readControl(ctx, 0, sum.note)
	if err != nil {
		return state, nil, err
	}
	if _, known := state.Request(r.ID); known {
		return state, sum, nil
	}
	if r.Timeline, err = c.running(ctx, &state); err != nil {
		return state, nil, err
	}
	r.Wall = time.Now().UnixMilli()
	at, err := c.write(ctx, r)
	if err != nil {
		return state, nil, err
	}
	sum = newCuts()
	state, err = c.readControl(ctx, at+1, sum.note)
	return state, sum, err
}

// write appends a record to the control topic and says where it is.
func (c *Client) write(ctx context.Context, r control.Record) (int64, error) {
	key, value, err := control.Encode(r)
	if err != nil {
		return 0, err
	}
	topic := offsets.Names{Application: c.application}.Control()
	written, err := c.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: key, Value: value}).First()
	if err != nil {
		return 0, fmt.Errorf("write to control topic %s: %w", topic, err)
	}
	return written.Offset, nil
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
