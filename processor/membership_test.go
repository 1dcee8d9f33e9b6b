package processor_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/processor"
)

// A producer can be fenced without anybody being wrong: a successor took us for gone. The lane
// begins anew, from what Kafka has.
func TestFencedProducerBeginsAnew(t *testing.T) {
	tr := newTrap(t)
	var ends atomic.Int32
	tr.play(20_000, kmsg.EndTxn, func(kreq kmsg.Request) kmsg.Response {
		req := kreq.(*kmsg.EndTxnRequest)
		if strings.HasSuffix(req.TransactionalID, "birth") || ends.Add(1) != 3 {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.ProducerFenced.Code
		return resp
	})
	if ends.Load() < 4 {
		t.Errorf("%d epochs were ended", ends.Load())
	}
}

// The client can join anew under the same instance id while we commit under its former
// membership. Kafka calls that a fenced instance, too; it is no twin, and no reason to end.
func TestFencedCommitMayBeAboutOurselves(t *testing.T) {
	tr := newTrap(t)
	var commits atomic.Int32
	tr.play(20_000, kmsg.TxnOffsetCommit, func(kreq kmsg.Request) kmsg.Response {
		req := kreq.(*kmsg.TxnOffsetCommitRequest)
		if strings.HasSuffix(req.TransactionalID, "birth") || commits.Add(1) != 3 {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewTxnOffsetCommitResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.FencedInstanceID.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp
	})
	if commits.Load() < 4 {
		t.Errorf("%d commits were tried", commits.Load())
	}
}

// When the group says that another process has our instance id, there are two of us, and
// going on would fence the other one in turn. The worker ends and says what to do.
func TestInstanceIDOfAnotherProcessEndsTheWorker(t *testing.T) {
	tr := newTrap(t)
	tr.c.ControlKey(kmsg.Heartbeat.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		tr.c.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.FencedInstanceID.Code
		return resp, nil, true
	})
	plan, err := tr.ta.Plan()
	if err != nil {
		t.Fatal(err)
	}
	err = processor.Run(tr.ctx, plan, processor.Brokers(tr.c.ListenAddrs()...), processor.StateDir(t.TempDir()), processor.Lanes(1), processor.Logger(zerolog.Nop()))
	if !errors.Is(err, processor.ErrInstanceTaken) || tr.ctx.Err() != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

// A log that was cut while we read it is no reason to go on at another place: the records
// between would be lost without a word.
func TestClientIsNotResetToTheStart(t *testing.T) {
	r := newRig(t)
	hold, held := make(chan struct{}), make(chan struct{})
	var seen, asked atomic.Int32
	plan := sums(t, func(_ string, v int64) ([]int64, error) {
		if seen.Add(1) == 1 {
			close(held)
			<-hold
		}
		return []int64{v}, nil
	})
	r.send(0, "a", i64(1))
	failed := make(chan error, 100)
	listener := &processor.Listener{TaskFailed: func(i processor.FailedInfo) {
		select {
		case failed <- i.Err:
		default:
		}
	}}
	r.c.ControlKey(kmsg.Fetch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.c.KeepControl()
		select {
		case <-held:
		default:
			return nil, nil, false
		}
		// Nothing is read until the log is cut.
		r.c.SleepControl(func() {
			select {
			case <-hold:
			case <-r.ctx.Done():
			}
		})
		asked.Add(1)
		return nil, nil, false
	})
	ctx, stop := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- processor.Run(ctx, plan, r.options(processor.Events(listener))...) }()
	defer func() { stop(); <-done }()
	<-held
	for range 4 {
		if err := r.cl.ProduceSync(r.ctx, &kgo.Record{Topic: "in", Key: []byte("a"), Value: i64(1)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	var below kadm.Offsets
	below.AddOffset("in", 0, 3, -1)
	if _, err := r.adm.DeleteRecords(r.ctx, below); err != nil {
		t.Fatal(err)
	}
	close(hold)
	select {
	case err := <-failed:
		says(t, err, nil, "in/0") // of the client at first, of a new look at the log later
		if !errors.Is(err, kerr.OffsetOutOfRange) && !errors.Is(err, processor.ErrPosition) {
			t.Errorf("the task failed with %v", err)
		}
	case <-r.ctx.Done():
		t.Errorf("no task failed; %d records were processed, %d positions committed", seen.Load(), r.committed())
	}
}
