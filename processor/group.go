package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
)

// inbox is the ordered queue between the goroutines around a lane and the lane: client
// callbacks, restores and timers push, the lane drains. A push ends the lane's poll.
type inbox struct {
	mu struct {
		sync.Mutex
		queue []any
		wake  context.CancelFunc // of the poll in progress
	}
}

func (b *inbox) push(e any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.queue = append(b.mu.queue, e)
	if b.mu.wake != nil {
		b.mu.wake()
	}
}

func (b *inbox) drain() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.mu.queue
	b.mu.queue = nil
	return q
}

// polling returns a context for one poll that the next push, or d, ends.
func (b *inbox) polling(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, d)
	b.mu.Lock()
	if len(b.mu.queue) > 0 {
		cancel()
	} else {
		b.mu.wake = cancel
	}
	b.mu.Unlock()
	return ctx, func() {
		b.mu.Lock()
		b.mu.wake = nil
		b.mu.Unlock()
		cancel()
	}
}

// wait returns at the next push, or after d.
func (b *inbox) wait(ctx context.Context, d time.Duration) {
	ctx, done := b.polling(ctx, d)
	<-ctx.Done()
	done()
}

// What the group's callbacks push. They never wait for the lane, which may sit in a poll
// that waits for them.
type (
	groupAssigned struct {
		partitions map[string][]int32
		lease      lease
	}
	groupRevoked struct{ partitions map[string][]int32 }
	groupLost    struct{ partitions map[string][]int32 }
	groupBlocked struct{} // a callback waits for AllowRebalance
	groupRefused struct{ err error }
	// rebalanceAsked: the balancer held tasks back that nobody came to let go of.
	rebalanceAsked struct{}
)

// group is the consuming half of a lane: a plain group consumer. It polls and holds the
// membership; positions are committed by the transaction.
type group struct {
	client   *kgo.Client
	name     string
	instance string
}

func (l *lane) joinGroup() error {
	in := l.inbox
	g := &group{name: l.app.names.Group(), instance: l.instance}
	topics := l.app.inputTopics()
	cl, err := l.cfg.client(
		kgo.ConsumerGroup(g.name),
		kgo.InstanceID(g.instance),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(l.balancer),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		// The first option alone would start partitions without a position at the end.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtCommitted()),
		kgo.SessionTimeout(l.cfg.sessionTimeout),
		kgo.RebalanceTimeout(l.cfg.rebalanceTimeout),
		kgo.HeartbeatInterval(l.cfg.heartbeat),
		// Notes are all that it produces: nothing is repeated, and nobody waits.
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableIdempotentWrite(),
		kgo.RequiredAcks(kgo.LeaderAck()),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, ps map[string][]int32) {
			failpoint("assign")
			// Nothing may be polled before the task is restored.
			cl.PauseFetchPartitions(ps)
			m, gen := cl.GroupMetadata()
			in.push(groupAssigned{ps, lease{m, gen, g.instance}})
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
			failpoint("revoke")
			in.push(groupRevoked{ps})
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
			in.push(groupLost{ps})
		}),
		kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) { in.push(groupBlocked{}) }),
	)
	if err != nil {
		return fmt.Errorf("join group %s as %s: %w", g.name, g.instance, err)
	}
	g.client = cl
	l.group = g
	return nil
}

// current is the membership now.
func (g *group) current() lease {
	m, gen := g.client.GroupMetadata()
	return lease{m, gen, g.instance}
}

// validUnder says whether records read under old may be committed under now: the member is
// the same and the generation did not go back. A generation that went on is legal, because
// a task that stayed was not in anybody else's hands between.
func (now lease) validUnder(old lease) bool {
	return now.member != "" && now.member == old.member && now.generation >= old.generation
}

// committed is what the group remembers of one partition.
type committed struct {
	offset   int64
	metadata offsets.Metadata
}

// fetchCommitted reads the stable positions of the inputs of tasks. A partition without a
// position, or without our metadata, is an error that names it.
func fetchCommitted(ctx context.Context, cl *kgo.Client, app *application, tasks ...offsets.Task) (map[topicPartition]committed, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true
	rg := kmsg.NewOffsetFetchRequestGroup()
	rg.Group = app.names.Group()
	names := map[[16]byte]string{}
	at := map[string]int{}
	want := 0
	for _, t := range tasks {
		for _, tp := range app.inputs(t) {
			i, ok := at[tp.Topic]
			if !ok {
				i = len(rg.Topics)
				at[tp.Topic] = i
				rt := kmsg.NewOffsetFetchRequestGroupTopic()
				rt.Topic, rt.TopicID = tp.Topic, app.topicIDs[tp.Topic]
				names[rt.TopicID] = tp.Topic
				rg.Topics = append(rg.Topics, rt)
			}
			rg.Topics[i].Partitions = append(rg.Topics[i].Partitions, tp.Partition)
			want++
		}
	}
	req.Groups = append(req.Groups, rg)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("fetch positions of group %s: %w", rg.Group, err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch positions of group %s: %w", rg.Group, err)
	}
	got := map[topicPartition]committed{}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return nil, fmt.Errorf("fetch positions of group %s: %w", rg.Group, err)
		}
		for _, rt := range g.Topics {
			topic := rt.Topic
			if topic == "" {
				topic = names[rt.TopicID]
			}
			for _, p := range rt.Partitions {
				tp := topicPartition{Topic: topic, Partition: p.Partition}
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("fetch position of %s/%d in group %s: %w", topic, p.Partition, rg.Group, err)
				}
				if p.Offset < 0 || p.Metadata == nil {
					return nil, &Error{
						What:  fmt.Sprintf("group %s has no position for %s/%d", rg.Group, topic, p.Partition),
						Where: "application " + app.names.Application,
						Fix:   "the application was born with one, so it expired or was deleted (offsets.retention.minutes); put it back, or start under a new application name",
						Err:   ErrPosition,
					}
				}
				m, err := offsets.DecodeMetadata(*p.Metadata)
				if err != nil {
					// No transaction heals this, so nobody may wait for it.
					return nil, &Error{
						What:  fmt.Sprintf("metadata of %s/%d in group %s: %v", topic, p.Partition, rg.Group, err),
						Where: "application " + app.names.Application,
						Fix:   "another program committed or reset this position, or a newer release did: put back what was there, run that release, or start under a new application name",
						Err:   errors.Join(ErrPosition, err),
					}
				}
				got[tp] = committed{p.Offset, m}
			}
		}
	}
	if len(got) != want {
		return nil, fmt.Errorf("fetch positions of group %s: %d of %d answered", rg.Group, len(got), want)
	}
	return got, nil
}

// epochOf is the epoch id that all inputs of the task agree on.
func epochOf(app *application, got map[topicPartition]committed, t offsets.Task) (offsets.EpochID, error) {
	var id offsets.EpochID
	for i, tp := range app.inputs(t) {
		m := got[tp].metadata
		if m.Timeline != app.names.Timeline {
			return id, fmt.Errorf("position of %s belongs to timeline %d, this is %d", tp, m.Timeline, app.names.Timeline)
		}
		if i == 0 {
			id = m.Epoch
		} else if m.Epoch != id {
			return id, fmt.Errorf("inputs of task %s disagree: %s has epoch %s, others %s", t, tp, m.Epoch, id)
		}
	}
	return id, nil
}

// touching maps partitions to the tasks any of whose inputs is among them, sorted.
func (a *application) touching(ps map[string][]int32) []offsets.Task {
	var out []offsets.Task
	for _, t := range a.tasks() {
		if slices.ContainsFunc(a.inputs(t), func(tp topicPartition) bool { return slices.Contains(ps[tp.Topic], tp.Partition) }) {
			out = append(out, t)
		}
	}
	return out
}

// leaveGroup takes static members out of the group; closing a client does not.
func leaveGroup(ctx context.Context, cfg *config, group string, instances []string) error {
	cl, err := cfg.client()
	if err != nil {
		return fmt.Errorf("leave group %s: %w", group, err)
	}
	defer cl.Close()
	b := kadm.LeaveGroup(group).InstanceIDs(instances...).Reason("stopped")
	if _, err := kadm.NewClient(cl).LeaveGroup(ctx, b); err != nil {
		return fmt.Errorf("leave group %s: %w", group, err)
	}
	return nil
}

// isUnstable: a transaction over the position is still open.
func isUnstable(err error) bool { return errors.Is(err, kerr.UnstableOffsetCommit) }
