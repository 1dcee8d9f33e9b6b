package processor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the producing half refuses by itself, before a lane has any say.

// newTransaction is one that was not initialised yet, over topic out with two partitions.
func newTransaction(t *testing.T) (*transaction, *kfake.Cluster, context.Context) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	txn := &transaction{name: "app.1.a.0", timeout: 10 * time.Second, make: func() (*kgo.Client, error) {
		return kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("app.1.a.0"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}}
	t.Cleanup(txn.close)
	return txn, c, ctx
}

// begun begins a transaction and sends one record to each of the first n partitions.
func (t *transaction) begun(ctx context.Context, n int32) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	for p := range n {
		rec := t.arena.record()
		rec.Topic, rec.Partition, rec.Value = "out", p, t.arena.copy([]byte("v"))
		t.produce(ctx, rec, t.promise(nil, nil))
	}
	return nil
}

// failOnce answers the next produce request for one partition with an error.
func failOnce(c *kfake.Cluster, partition int32, code *kerr.Error) {
	done := false
	c.ControlKey(kmsg.Produce.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		if done || len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].Partition != partition {
			return nil, nil, false
		}
		done = true
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		st, sp := kmsg.NewProduceResponseTopic(), kmsg.NewProduceResponseTopicPartition()
		st.Topic, st.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		sp.Partition, sp.ErrorCode, sp.BaseOffset = partition, code.Code, -1
		st.Partitions = append(st.Partitions, sp)
		resp.Topics = append(resp.Topics, st)
		return resp, nil, true
	})
}

// The client would end a transaction of which one record failed with success. Its flush has
// nothing against it either: it only says that nothing is buffered any more.
func TestOneFailedRecordSpoilsTheTransaction(t *testing.T) {
	txn, c, ctx := newTransaction(t)
	if err := txn.reinit(ctx); err != nil {
		t.Fatal(err)
	}
	failOnce(c, 0, kerr.InvalidRecord)
	if err := txn.begun(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := txn.flush(ctx); !errors.Is(err, kerr.InvalidRecord) {
		t.Errorf("flush with a failed record: %v", err)
	}
	if err := txn.abort(ctx); err != nil {
		t.Error(err)
	}
	txn.settled()
	if err := txn.begin(ctx); err != nil {
		t.Fatal(err)
	}
	if err := txn.flush(ctx); err == nil {
		t.Error("a transaction without a record can be committed: the client would not end it")
	}
}

// When the client has taken a new producer id inside of a transaction, what it sent before is
// aborted and what it sends then is acknowledged: under an identity that is not the one that
// the transaction began with.
func TestForeignAcknowledgementsSpoilTheTransaction(t *testing.T) {
	txn, _, ctx := newTransaction(t)
	for _, foreign := range []identity{{id: 1}, {epoch: 1}} {
		if err := txn.reinit(ctx); err != nil {
			t.Fatal(err)
		}
		if err := txn.begin(ctx); err != nil {
			t.Fatal(err)
		}
		txn.who.id += foreign.id
		txn.who.epoch += foreign.epoch
		txn.produce(ctx, &kgo.Record{Topic: "out", Value: []byte("v")}, txn.promise(nil, nil))
		if err := txn.flush(ctx); !errors.Is(err, errReinitialised) {
			t.Errorf("acknowledged as another: %v", err)
		}
		txn.settled()
	}
}

// A producer whose id the brokers refuse never gets well again; the next one under the same
// name does.
func TestDeadProducerIsReplaced(t *testing.T) {
	txn, c, ctx := newTransaction(t)
	if err := txn.reinit(ctx); err != nil {
		t.Fatal(err)
	}
	dead := txn.client
	for _, code := range []*kerr.Error{kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping} {
		failOnce(c, 0, code)
		if err := txn.begun(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if err := txn.flush(ctx); !errors.Is(err, code) {
			t.Errorf("flush: %v, want %v", err, code)
		}
		txn.settled()
		if err := txn.reinit(ctx); err != nil {
			t.Fatalf("after %v: %v", code, err)
		}
		if txn.client == dead {
			t.Errorf("after %v the same client goes on", code)
		}
		dead = txn.client
		err := txn.begun(ctx, 2)
		if err == nil {
			err = txn.flush(ctx)
		}
		if err == nil {
			err = txn.commit(ctx)
		}
		if err != nil {
			t.Fatalf("after %v: %v", code, err)
		}
		txn.settled()
	}
}

// The client initialises an unknown id inside BeginTransaction under a context that never
// ends. Asked for before, under ours, it is a matter of our deadline.
func TestBeginHasADeadline(t *testing.T) {
	txn, c, ctx := newTransaction(t)
	answer := make(chan struct{})
	c.ControlKey(kmsg.InitProducerID.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		c.SleepControl(func() { <-answer })
		return nil, nil, false
	})
	var err error
	if txn.client, err = txn.make(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	began := make(chan error, 1)
	go func() { began <- txn.begin(short) }()
	select {
	case err := <-began:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("begin: %v", err)
		}
	case <-ctx.Done():
		t.Error("begin waits for the brokers beyond its deadline")
	}
	close(answer)
}

// An identity that nobody told us of, or no membership: neither reaches the broker, which
// would accept both.
func TestPositionsNeedIdentityAndLease(t *testing.T) {
	txn, c, ctx := newTransaction(t)
	c.ControlKey(kmsg.TxnOffsetCommit.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		t.Error("positions were sent")
		return nil, nil, false
	})
	if err := txn.reinit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := txn.begin(ctx); err != nil {
		t.Fatal(err)
	}
	at := []offset{{topic: "out", position: 1}}
	for _, l := range []lease{{generation: 1}, {member: "m", generation: -1}} {
		if err := txn.sendOffsets(ctx, "app.1", l, at); err == nil || !strings.Contains(err.Error(), "no lease") {
			t.Errorf("as %+v: %v", l, err)
		}
	}
	txn.who.epoch++
	if err := txn.sendOffsets(ctx, "app.1", lease{"m", 1, "a.0"}, at); !errors.Is(err, errReinitialised) {
		t.Errorf("under another identity: %v", err)
	}
}
