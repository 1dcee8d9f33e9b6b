package processor

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// What a vanished lane left open is ended by whoever takes over. A member that is there ends
// its own: fencing it would only make it begin again.
func TestOnlyDepartedLanesAreFenced(t *testing.T) {
	txn, c, ctx := newTransaction(t)
	names := offsets.Names{Application: "app", Timeline: 1}
	member, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumerGroup(names.Group()), kgo.InstanceID(names.GroupInstance("a", 0)), kgo.ConsumeTopics("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	for id, _ := member.GroupMetadata(); id == ""; id, _ = member.GroupMetadata() {
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, retryPause)
		member.PollFetches(short)
		cancel()
	}
	var want []string
	for _, id := range []string{names.TransactionalID("a", 0), names.TransactionalID("b", 0), names.TransactionalID("a", 1)} {
		one := &transaction{name: id, timeout: txn.timeout, make: func() (*kgo.Client, error) {
			return kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		}}
		defer one.close()
		err := one.reinit(ctx)
		if err == nil {
			err = one.begun(ctx, 1)
		}
		if err == nil {
			err = one.flush(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	var fenced []string
	cfg := &config{listener: listener{[]*Listener{{TransactionEnded: func(i FencedInfo) { fenced = append(fenced, i.TransactionalID) }}}}}
	app := &application{names: names}
	if err := app.fencePredecessors(ctx, member, cfg); err != nil {
		t.Fatal(err)
	}
	slices.Sort(fenced)
	if gone := []string{want[2], want[1]}; !slices.Equal(fenced, gone) {
		t.Errorf("ended %v, want %v", fenced, gone)
	}
	open, err := app.openTransactions(ctx, member)
	if err != nil || !slices.Equal(open, want[:1]) {
		t.Errorf("open are %v, %v; want that of the member, %v", open, err, want[:1])
	}
}

// A timeline that counts and has no positions is none that birth may complete: it would begin
// every source anew.
func TestActiveAndUnbornIsRefused(t *testing.T) {
	txn, c, ctx := newTransaction(t)
	b := topology.New("app")
	topology.From(b, topology.NewTopic("out", codec.String, codec.String)).ForEach(func(string, string) error { return nil })
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := newConfig(plan, Brokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.reinit(ctx); err != nil {
		t.Fatal(err)
	}
	topic := offsets.Names{Application: "app"}.Control()
	if err := createTopics(ctx, txn.client, []internalTopic{{topic, 1, settings.control}}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []control.Record{control.Intent{Timeline: 1}, control.Active{Timeline: 1, Base: control.Base{Rewind: "half"}}} {
		if err := txn.begin(ctx); err != nil {
			t.Fatal(err)
		}
		if err := txn.decide(ctx, topic, r); err != nil {
			t.Fatal(err)
		}
		if err := txn.commit(ctx); err != nil {
			t.Fatal(err)
		}
		txn.settled()
		want := ErrTopic
		if _, intent := r.(control.Intent); intent {
			want = ErrTimelineOver // who is to make the timeline may still do it
		}
		if err := giveBirth(ctx, cfg, plan, txn.client); !errors.Is(err, want) {
			t.Errorf("after %T: %v, want %v", r, err, want)
		}
		if err := txn.reinit(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// While a transaction is open over a position, the position before it is still what the group
// says to those who do not ask for a stable one.
func TestPositionsOfAnOpenTransactionAreUnstable(t *testing.T) {
	txn, _, ctx := newTransaction(t)
	b := topology.New("app")
	topology.From(b, topology.NewTopic("out", codec.String, codec.String)).ForEach(func(string, string) error { return nil })
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	app := newApplication(&config{}, plan, 1)
	if err := txn.reinit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := app.measure(ctx, txn.client); err != nil {
		t.Fatal(err)
	}
	found, err := kadm.NewClient(txn.client).ListTopics(ctx, "out")
	if err != nil {
		t.Fatal(err)
	}
	app.topicIDs["out"] = [16]byte(found["out"].ID)
	app.layOut()
	app.taskList = app.planTasks() // the topics of the control task are not here
	for n := int64(1); n <= 2; n++ {
		at := map[topicPartition]int64{{"out", 0}: n, {"out", 1}: n}
		if err := txn.begun(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if err := txn.flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := app.sendBirthOffsets(ctx, txn, beginning{at: at}); err != nil {
			t.Fatal(err)
		}
		// Before the first commit the group does not exist on the test's broker.
		if got, err := fetchCommitted(ctx, txn.client, app, app.tasks()...); n > 1 && !isUnstable(err) {
			t.Errorf("with position %d undecided the group has %v, %v", n, got, err)
		}
		if err := txn.commit(ctx); err != nil {
			t.Fatal(err)
		}
		txn.settled()
		got, err := fetchCommitted(ctx, txn.client, app, app.tasks()...)
		if err != nil || got[topicPartition{"out", 1}].offset != n {
			t.Errorf("after the commit of position %d the group has %v, %v", n, got, err)
		}
	}
}
