package processor

import (
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// A lease is a member and a generation. The member may be told of a later generation, which
// let it keep its tasks; another member, or an earlier generation, is another life.
func TestLeaseIsOneMemberThatGoesOn(t *testing.T) {
	old := lease{"m", 7, "a.0"}
	for now, want := range map[lease]bool{
		{"m", 7, "a.0"}: true, {"m", 8, "a.0"}: true,
		{"m", 6, "a.0"}: false, {"m", -1, "a.0"}: false, {"n", 8, "a.0"}: false, {"", 8, "a.0"}: false,
	} {
		if got := now.validUnder(old); got != want {
			t.Errorf("%+v under %+v: %v", now, old, got)
		}
	}
	if (lease{}).validUnder(lease{}) {
		t.Error("who was never a member has a lease")
	}
}

// The group gives partitions, in whatever portions. A task that began with one of its inputs
// would commit positions of the other, which somebody else may still read.
func TestTaskBeginsWithAllItsInputs(t *testing.T) {
	id := offsets.Task{Sub: 1, Partition: 2}
	l := &lane{owned: map[topicPartition]bool{}, app: &application{
		taskList: []offsets.Task{id}, inputsOf: map[offsets.Task][]topicPartition{id: {{"left", 2}, {"right", 2}}},
	}}
	for _, tp := range []topicPartition{{"left", 2}, {"right", 1}, {"left", 1}} {
		l.owned[tp] = true
		if ts := l.newlyWhole(); len(ts) > 0 {
			t.Fatalf("%v begins with %v", ts, l.owned)
		}
	}
	l.owned[topicPartition{"right", 2}] = true
	if ts := l.newlyWhole(); !slices.Equal(ts, []offsets.Task{id}) {
		t.Errorf("%v begins with %v", ts, l.owned)
	}
	// One of them is enough to end it.
	if ts := l.app.touching(map[string][]int32{"right": {2}}); !slices.Equal(ts, []offsets.Task{id}) {
		t.Errorf("%v ends without right/2", ts)
	}
}

// What the client does when nobody says otherwise is not what a lane needs: it reads records
// of open transactions, commits what it polled, goes to the end of partitions without a
// position, lets callbacks run in the middle of an epoch, and hears of a rebalance late.
func TestGroupClientIsTold(t *testing.T) {
	b := topology.New("app")
	topology.From(b, topology.NewTopic("in", codec.String, codec.String)).ForEach(func(string, string) error { return nil })
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := newConfig(plan, Brokers("localhost:1"), Logger(zerolog.Nop()))
	if err != nil {
		t.Fatal(err)
	}
	l := &lane{cfg: cfg, app: newApplication(cfg, plan, 1), instance: "a.0", inbox: new(inbox), balancer: newBalancer(balancerPlan("v1", 2))}
	if err := l.joinGroup(); err != nil {
		t.Fatal(err)
	}
	cl := l.group.client
	defer cl.CloseAllowingRebalance()
	for _, o := range []struct {
		option any
		want   any
	}{
		{kgo.InstanceID, "a.0"},
		{kgo.DisableAutoCommit, true},
		{kgo.BlockRebalanceOnPoll, true},
		{kgo.FetchIsolationLevel, int8(1)}, // read_committed
		{kgo.ConsumeResetOffset, kgo.NoResetOffset()},
		{kgo.ConsumeStartOffset, kgo.NewOffset().AtCommitted()},
		{kgo.HeartbeatInterval, time.Second}, // bounds how long a rebalance waits for us
		{kgo.SessionTimeout, 10 * time.Second},
		{kgo.RebalanceTimeout, 30 * time.Second},
	} {
		if got := cl.OptValue(o.option); !sameValues([]any{got}, []any{o.want}) {
			t.Errorf("kgo.%s is %v, want %v", optionName(o.option), got, o.want)
		}
	}
}
