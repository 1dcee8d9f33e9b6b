package processor

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
)

// groupWatch sees every partition come and go in a group of real clients.
type groupWatch struct {
	t      *testing.T
	config []kgo.Opt
	group  string
	mu     struct {
		sync.Mutex
		owner   map[TopicPartition]string
		moved   int // partitions that a member got
		changed chan struct{}
	}
}

const groupPartitions = 6

func newGroupWatch(t *testing.T) *groupWatch {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.SeedTopics(groupPartitions, "in", "left"), kfake.SeedTopics(groupPartitions/2, "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &groupWatch{t: t, config: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, group: "app.1"}
	w.mu.owner = make(map[TopicPartition]string)
	w.mu.changed = make(chan struct{})
	return w
}

// change notes partitions that came or went; checks that no partition has two owners and that
// tasks move whole.
func (w *groupWatch) change(name string, cfg balancerConfig, ps map[string][]int32, got bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	moving := make(map[TopicPartition]bool)
	for topic, partitions := range ps {
		for _, p := range partitions {
			tp := TopicPartition{topic, p}
			moving[tp] = true
			owner, owned := w.mu.owner[tp]
			switch {
			case got && owned:
				w.t.Errorf("%s gets %v while %s owns it", name, tp, owner)
			case got:
				w.mu.owner[tp] = name
				w.mu.moved++
			case owner == name:
				delete(w.mu.owner, tp)
			}
		}
	}
	for _, task := range cfg.Tasks {
		in := cfg.Inputs(task)
		if slices.ContainsFunc(in, func(tp TopicPartition) bool { return moving[tp] != moving[in[0]] }) {
			w.t.Errorf("%s: task %s is torn: %v", name, task, ps)
		}
	}
	close(w.mu.changed)
	w.mu.changed = make(chan struct{})
}

// wait blocks until every partition is owned and the members have these numbers of tasks. A
// group comes to its balance in several steps, so less than the exact numbers may hold
// between two of them.
func (w *groupWatch) wait(what string, want map[string]int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	defer cancel()
	for {
		w.mu.Lock()
		got := tasksOf(w.mu.owner)
		all := len(w.mu.owner) == 2*groupPartitions+groupPartitions/2
		changed := w.mu.changed
		w.mu.Unlock()
		if all && maps.Equal(got, want) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.t.Fatalf("%s: tasks per member: %v, want %v", what, got, want)
		}
	}
}

// tasksOf counts tasks by owner: each has one partition of another topic than "right".
func tasksOf(owner map[TopicPartition]string) map[string]int {
	n := make(map[string]int)
	for tp, name := range owner {
		if tp.Topic != "right" {
			n[name]++
		}
	}
	return n
}

func (w *groupWatch) snapshot() (owner map[TopicPartition]string, moved int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	owner = make(map[TopicPartition]string)
	for tp, name := range w.mu.owner {
		owner[tp] = name
	}
	return owner, w.mu.moved
}

type groupClient struct {
	*kgo.Client
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	w      *groupWatch
}

// join starts a lane's client: it polls, and lets the group rebalance only between polls.
func (w *groupWatch) join(name, instance string, cfg balancerConfig) *groupClient {
	w.t.Helper()
	var cl *kgo.Client
	var ready sync.WaitGroup
	ready.Add(1)
	cfg.Rebalance = func(string) {
		go func() {
			ready.Wait()
			cl.ForceRebalance()
		}()
	}
	b := newBalancer(cfg)
	opts := append(slices.Clone(w.config),
		kgo.ConsumerGroup(w.group), kgo.ConsumeTopics(balancerTopics...), kgo.Balancers(b),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(50*time.Millisecond), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(3*time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { w.change(name, cfg, ps, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { w.change(name, cfg, ps, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { w.change(name, cfg, ps, false) }),
	)
	if instance != "" {
		opts = append(opts, kgo.InstanceID(instance))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	ready.Done()
	ctx, cancel := context.WithCancel(context.Background())
	c := &groupClient{Client: cl, name: name, cancel: cancel, done: make(chan struct{}), w: w}
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			poll, stop := context.WithTimeout(ctx, 20*time.Millisecond)
			cl.PollFetches(poll)
			stop()
			cl.AllowRebalance()
		}
	}()
	w.t.Cleanup(func() {
		c.leave()
		b.stop()
	})
	return c
}

// leave closes the client. A member with an instance id stays in the group.
func (c *groupClient) leave() {
	c.cancel()
	<-c.done
	c.CloseAllowingRebalance()
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	for tp, name := range c.w.mu.owner {
		if name == c.name { // static members are not called back
			delete(c.w.mu.owner, tp)
		}
	}
}

func TestBalancerInAGroup(t *testing.T) {
	w := newGroupWatch(t)
	cfg := func() balancerConfig { return balancerPlan("v1", groupPartitions) }
	w.join("a", "", cfg())
	w.wait("one member", map[string]int{"a": 12})
	w.join("b", "", cfg())
	w.wait("two members", map[string]int{"a": 6, "b": 6})
	two, _ := w.snapshot()
	c := w.join("c", "", cfg())
	w.wait("three members", map[string]int{"a": 4, "b": 4, "c": 4})
	three, _ := w.snapshot()
	for tp, name := range two {
		if three[tp] != name && three[tp] != "c" {
			t.Errorf("%v went from %s to %s when c joined", tp, name, three[tp])
		}
	}
	c.leave()
	w.wait("two members again", map[string]int{"a": 6, "b": 6})
	again, _ := w.snapshot()
	for tp, name := range three {
		if name != "c" && again[tp] != name {
			t.Errorf("%v went from %s to %s when c left", tp, name, again[tp])
		}
	}
}

// A restarted static member takes the tasks of its predecessor; nothing else moves.
func TestBalancerStaticRestart(t *testing.T) {
	w := newGroupWatch(t)
	cfg := func() balancerConfig { return balancerPlan("v1", groupPartitions) }
	members := make(map[string]*groupClient)
	for _, name := range []string{"a", "b", "c"} {
		members[name] = w.join(name, "pod-"+name+".0", cfg())
	}
	settled := map[string]int{"a": 4, "b": 4, "c": 4}
	w.wait("three members", settled)
	for _, name := range []string{"b", "a"} { // whichever leads
		before, movedBefore := w.snapshot()
		members[name].leave()
		members[name] = w.join(name, "pod-"+name+".0", cfg())
		w.wait("after the restart of "+name, settled)
		after, moved := w.snapshot()
		own := 0
		for tp, owner := range before {
			if after[tp] != owner {
				t.Errorf("restart of %s: %v went from %s to %s", name, tp, owner, after[tp])
			}
			if owner == name {
				own++
			}
		}
		if moved-movedBefore != own {
			t.Errorf("restart of %s: %d partitions moved, %d are its own", name, moved-movedBefore, own)
		}
	}
	// What status shows.
	adm := kadm.NewClient(members["c"].Client)
	described, err := adm.DescribeGroups(t.Context(), w.group)
	if err != nil {
		t.Fatal(err)
	}
	tasks := 0
	for _, m := range described[w.group].Members {
		assigned, ok := m.Assigned.AsConsumer()
		joined, ok2 := m.Join.AsConsumer()
		if !ok || !ok2 {
			t.Fatal("Kafka's tools cannot read the group")
		}
		a, err := DecodeGroupAssignment(assigned.AppendTo(nil))
		if err != nil || a.Fingerprint != "v1" {
			t.Fatalf("%+v, %v", a, err)
		}
		if _, err := DecodeGroupMember(joined.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		tasks += len(a.Tasks)
	}
	if tasks != 2*groupPartitions {
		t.Errorf("the group shows %d tasks", tasks)
	}
}

// A worker with a plan that does not fit gets nothing and is told why; the others go on.
func TestBalancerRefusesAPlanInAGroup(t *testing.T) {
	w := newGroupWatch(t)
	w.join("a", "pod-a.0", balancerPlan("v1", groupPartitions))
	w.wait("one member", map[string]int{"a": 12})
	cfg := balancerPlan("v2", groupPartitions)
	cfg.Inputs = balancerPlan("v1", groupPartitions).Inputs
	refused := make(chan error, 100)
	cfg.Refused = func(err error) { refused <- err }
	w.join("b", "pod-b.0", cfg)
	select {
	case err := <-refused:
		if !strings.Contains(err.Error(), "plan v2 does not fit plan v1") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("b is not told")
	}
	w.wait("a goes on", map[string]int{"a": 12})
}

// The task sets in the test's plan are what the tests above count on.
func TestBalancerPlanOfTheTests(t *testing.T) {
	n := 0
	cfg := balancerPlan("v1", groupPartitions)
	for _, task := range cfg.Tasks {
		n += len(cfg.Inputs(task))
	}
	if n != 15 || !cfg.Stateful(offsets.Task{Sub: 1}) {
		t.Fatal(n)
	}
}
