package processor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// The answers of client and brokers that look like success and are none, each played once on
// a real client and a fake broker. DESIGN.md says in section 7 which test holds which rule. An
// end of a transaction that stays unknown, in both outcomes, is in TestVirtualFaults, in
// TestExploration, and on real brokers in integration/eos.

// trap is a tally on a fake broker whose requests a test may look at and answer.
type trap struct {
	*testing.T
	ctx context.Context
	c   *kfake.Cluster
	ta  tally.Tally
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	tr := &trap{t, ctx, c, tally.Tally{App: "trap", Keys: 100, Groups: 10, Partitions: 4}}
	if err := tr.ta.CreateTopics(ctx, c.ListenAddrs(), 1); err != nil {
		t.Fatal(err)
	}
	return tr
}

// play runs a worker over n records with on in front of the requests of one kind, and checks
// the results.
func (tr *trap) play(n int, kind kmsg.Key, on func(kmsg.Request) kmsg.Response, opts ...processor.Option) {
	tr.Helper()
	tr.c.ControlKey(kind.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		tr.c.KeepControl()
		resp := on(req)
		return resp, nil, resp != nil
	})
	if err := tr.ta.Load(tr.ctx, tr.c.ListenAddrs(), 0, n, true); err != nil {
		tr.Fatal(err)
	}
	stop := start(tr.T, tr.c, tr.ta, tr.TempDir(), append([]processor.Option{processor.Lanes(1)}, opts...)...)
	out, err := tr.ta.Await(tr.ctx, tr.c.ListenAddrs(), n)
	if err == nil {
		err = tr.ta.Check(out, n).Err()
	}
	if err := errors.Join(err, stop()); err != nil {
		tr.Error(err)
	}
}

// signer is the producer id and epoch in the first batch of a transactional request.
func signer(req *kmsg.ProduceRequest) (id int64, epoch int16) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(req.Topics[0].Partitions[0].Records); err != nil {
		panic(fmt.Sprintf("batch of the client: %v", err))
	}
	return b.ProducerID, b.ProducerEpoch
}

// refuse answers every partition of a produce request with an error.
func refuse(req *kmsg.ProduceRequest, err *kerr.Error, logStart int64) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, rt := range req.Topics {
		st := kmsg.NewProduceResponseTopic()
		st.Topic, st.TopicID = rt.Topic, rt.TopicID
		for _, rp := range rt.Partitions {
			sp := kmsg.NewProduceResponseTopicPartition()
			sp.Partition, sp.ErrorCode, sp.BaseOffset, sp.LogStartOffset = rp.Partition, err.Code, -1, logStart
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
	return resp
}

// second calls f with a produce request of a transaction that has had one before, and only
// for partitions that this client has written to, until it answers.
func second(f func(*kmsg.ProduceRequest) kmsg.Response) func(kmsg.Request) kmsg.Response {
	type identity struct {
		id    int64
		epoch int16
	}
	var last identity
	written := map[string]bool{}
	done := false
	return func(kreq kmsg.Request) kmsg.Response {
		req := kreq.(*kmsg.ProduceRequest)
		if done || req.TransactionID == nil || strings.HasSuffix(*req.TransactionID, "birth") {
			return nil
		}
		id, epoch := signer(req)
		now := identity{id, epoch}
		fits := now == last
		last = now
		for _, rt := range req.Topics {
			for _, rp := range rt.Partitions {
				tp := fmt.Sprintf("%s %x %d", rt.Topic, rt.TopicID, rp.Partition)
				fits = fits && written[tp]
				written[tp] = true
			}
		}
		if !fits {
			return nil
		}
		resp := f(req)
		done = resp != nil
		return resp
	}
}

// The client takes a new producer id in the middle of a transaction, when a produce meets a
// sequence error and the log begins above what it wrote last: trimming does that to a
// repartition topic. What was acknowledged before is aborted by it, the rest is acknowledged
// under the new id, the end of the transaction is answered with success, and records are
// lost.
func TestAcknowledgedUnderAnotherIdentity(t *testing.T) {
	tr := newTrap(t)
	played := false
	tr.play(60_000, kmsg.Produce, second(func(req *kmsg.ProduceRequest) kmsg.Response {
		played = true
		return refuse(req, kerr.OutOfOrderSequenceNumber, 1<<40)
	}), processor.CommitInterval(300*time.Millisecond))
	if !played {
		t.Error("no transaction had two produce requests")
	}
}

// The client ends a transaction of which some records failed with success: the others are
// committed.
func TestSomeRecordsOfATransactionFailed(t *testing.T) {
	tr := newTrap(t)
	played := false
	tr.play(60_000, kmsg.Produce, second(func(req *kmsg.ProduceRequest) kmsg.Response {
		played = true
		return refuse(req, kerr.UnsupportedForMessageFormat, 0) // not one that is about the record: see TestRefusedRecordStopsItsTask
	}), processor.CommitInterval(300*time.Millisecond))
	if !played {
		t.Error("no transaction had two produce requests")
	}
}

// Kafka does not fence a commit of positions without member and generation, and "none" is
// what the request says by itself.
func TestPositionsAreCommittedUnderALease(t *testing.T) {
	tr := newTrap(t)
	var commits atomic.Int32
	tr.play(4_000, kmsg.TxnOffsetCommit, func(kreq kmsg.Request) kmsg.Response {
		req := kreq.(*kmsg.TxnOffsetCommitRequest)
		if strings.HasSuffix(req.TransactionalID, "birth") {
			return nil // there is no group yet
		}
		commits.Add(1)
		if req.MemberID == "" || req.Generation < 0 || req.InstanceID == nil || *req.InstanceID == "" {
			t.Errorf("commit as member %q of generation %d, instance %v", req.MemberID, req.Generation, req.InstanceID)
		}
		return nil
	})
	if commits.Load() == 0 {
		t.Error("nothing was committed")
	}
}

// An epoch that produces nothing has positions to commit all the same. The client does not
// send the end of a transaction into which it produced nothing, so such an epoch carries a
// record of its own.
func TestEpochWithoutOutputIsCommitted(t *testing.T) {
	r := newRig(t)
	b := topology.New("quiet")
	var seen atomic.Int64
	topology.From(b, topology.NewTopic("in", codec.String, codec.String)).ForEach(func(string, string) error {
		seen.Add(1)
		return nil
	})
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range n {
		r.cl.Produce(r.ctx, &kgo.Record{Topic: "in", Partition: int32(i % 2), Key: fmt.Appendf(nil, "%d", i), Value: []byte("v")}, nil)
	}
	if err := r.cl.Flush(r.ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- processor.Run(ctx, plan, r.options()...) }()
	for {
		// Only what is stable: the position of an open transaction is no position.
		got, err := r.adm.FetchOffsetsForTopics(r.ctx, "quiet.1", "in")
		if err != nil && r.ctx.Err() != nil {
			t.Fatalf("%d records were seen, their positions were not committed: %v", seen.Load(), err)
		}
		sum := int64(0)
		got.Each(func(o kadm.OffsetResponse) { sum += max(o.At, 0) })
		if err == nil && sum == n {
			break
		}
		select {
		case <-r.ctx.Done():
			t.Fatalf("%d records were seen, positions stand at %d of %d", seen.Load(), sum, n)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	open, err := r.adm.ListTransactions(r.ctx, nil, []string{"Ongoing"})
	if err != nil || len(open) != 0 {
		t.Errorf("open transactions %v, %v", open.TransactionalIDs(), err)
	}
}

// Of two inputs of one task only one moves. The position of the other is committed with each
// epoch all the same: what lies beside it is the epoch's witness, and a restart finds both
// inputs at one epoch or does not believe any.
func TestInputsThatDoNotMoveAreCommitted(t *testing.T) {
	r := newRig(t, kfake.SeedTopics(2, "quiet"))
	b := topology.New("bad")
	topology.From(b, badIn).Merge(topology.From(b, topology.NewTopic("quiet", codec.String, codec.Int64))).Count("n").To(badOut)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	r.send(0, "a", i64(1))
	r.ran(plan, func() bool { return r.committed() == 1 })
	r.send(0, "a", i64(1))
	failed := processor.Events(&processor.Listener{TaskFailed: func(i processor.FailedInfo) { t.Errorf("%s", i) }})
	r.ran(plan, func() bool { return r.committed() == 2 || t.Failed() }, failed)
}
