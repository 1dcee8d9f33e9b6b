//go:build synctests

package processor_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// undecided leaves a transaction open in the control topic, for as long as the brokers allow it.
func (v *virtualTally) undecided(timeout time.Duration) {
	v.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(v.brokers...), kgo.TransactionalID("stopped"), kgo.TransactionTimeout(timeout)}, v.Kafka...)...)
	v.must(err)
	v.Cleanup(cl.Close)
	v.must(cl.BeginTransaction())
	control := offsets.Names{Application: v.App}.Control()
	v.must(cl.ProduceSync(v.ctx, &kgo.Record{Topic: control, Key: []byte("not"), Value: []byte("read")}).FirstErr())
}

// The transaction of a coordinator that is stopped stays open in the control topic until its time is over, which may be a
// long one. A rewind was refused after 45 s, and told to look for a hanging transaction.
func TestVirtualTransactionOfAStoppedCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const records = 600
		from := v.ran(records)
		began := time.Now()
		v.undecided(90 * time.Second)
		report, err := v.rewind(processor.RewindOptions{From: from})
		v.must(err)
		if took := time.Since(began); took < 90*time.Second || report.Timeline != 2 {
			t.Errorf("rewound to timeline %d after %s, with a transaction open", report.Timeline, took)
		}
		if !strings.Contains(v.log.String(), `a transaction of stopped is open in it since offset`) {
			t.Errorf("nobody was told why it takes so long:\n%s", v.log)
		}
		v.Timeline = report.Timeline
		v.start("a", v.seldom())
		v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
		out, err := v.AwaitRewound(v.ctx, v.brokers, records+100, tally.Outputs{}, endsOf(report))
		v.must(err)
		v.must(v.CheckRewound(out, records+100, endsOf(report)).Err())
		v.must(v.stop("a"))
	})
}

// forgotten has brokers know of no transaction, until it is over.
func (v *virtualTally) forgotten(over func() bool) {
	v.c.ControlKey(kmsg.ListTransactions.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		v.c.KeepControl()
		return req.ResponseKind(), nil, !over()
	})
}

// One that the brokers know nothing of any more stays open for ever: that is refused, and nothing is changed.
func TestVirtualHangingTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		from := v.ran(300)
		v.undecided(time.Hour / 6)
		v.forgotten(func() bool { return false })
		control := offsets.Names{Application: v.App}.Control()
		end := func() int64 {
			ends, err := kadm.NewClient(v.adm).ListEndOffsets(v.ctx, control)
			v.must(err)
			at, ok := ends.Lookup(control, 0)
			if !ok || at.Err != nil || at.Offset == 0 {
				t.Fatalf("end of %s: %+v", control, at)
			}
			return at.Offset
		}
		before, began := end(), time.Now()
		_, err := v.rewind(processor.RewindOptions{From: from})
		if !errors.Is(err, processor.ErrTopic) || !strings.Contains(err.Error(), "find-hanging") {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took < 45*time.Second || took > 2*time.Minute {
			t.Errorf("that took %s", took)
		}
		if after := end(); after != before {
			t.Errorf("the control topic ended at %d, and ends at %d", before, after)
		}
	})
}

// The broker that knows of it is gone for two minutes: the others cannot say that it hangs.
func TestVirtualTransactionOfALostBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		from := v.ran(300)
		back := time.Now().Add(2 * time.Minute)
		over := func() bool { return time.Now().After(back) }
		v.undecided(3 * time.Minute)
		v.forgotten(over)
		const state = "__transaction_state"
		v.c.ControlKey(kmsg.Metadata.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			v.c.KeepControl()
			req := kreq.(*kmsg.MetadataRequest)
			if over() || len(req.Topics) != 1 || req.Topics[0].Topic == nil || *req.Topics[0].Topic != state {
				return nil, nil, false
			}
			resp := req.ResponseKind().(*kmsg.MetadataResponse)
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.IsInternal = kmsg.StringPtr(state), true
			p := kmsg.NewMetadataResponseTopicPartition()
			p.ErrorCode, p.Leader = kerr.LeaderNotAvailable.Code, -1
			topic.Partitions = append(topic.Partitions, p)
			resp.Topics = append(resp.Topics, topic)
			return resp, nil, true
		})
		began := time.Now()
		_, err := v.rewind(processor.RewindOptions{From: from})
		v.must(err)
		if took := time.Since(began); took < 3*time.Minute {
			t.Errorf("rewound after %s, with a transaction open", took)
		}
	})
}
