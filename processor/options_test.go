package processor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Options that only make sense together with others are refused as well, with the list.
func TestReservedKafkaOptionsAreRefused(t *testing.T) {
	for name, opt := range map[string]kgo.Opt{
		"ConsumerGroup":          kgo.ConsumerGroup("g"),
		"TransactionalID":        kgo.TransactionalID("t"),
		"ConsumeTopics":          kgo.ConsumeTopics("t"),
		"RequiredAcks":           kgo.RequiredAcks(kgo.LeaderAck()),
		"DisableIdempotentWrite": kgo.DisableIdempotentWrite(),
		"RecordPartitioner":      kgo.RecordPartitioner(kgo.ManualPartitioner()),
		"FetchIsolationLevel":    kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		"ConsumeResetOffset":     kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		"ConsumeStartOffset":     kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()),
		"SeedBrokers":            kgo.SeedBrokers("other:9092"),
		"ClientID":               kgo.ClientID("me"),
		"RecordDeliveryTimeout":  kgo.RecordDeliveryTimeout(time.Second),
		"KeepControlRecords":     kgo.KeepControlRecords(),
		"BlockRebalanceOnPoll":   kgo.BlockRebalanceOnPoll(),
		"AutoCommitInterval":     kgo.AutoCommitInterval(time.Minute),
		"SessionTimeout":         kgo.SessionTimeout(time.Minute),
	} {
		_, err := newConfig(nil, Kafka(opt))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), name) || e.Fix == "" {
			t.Errorf("kgo.%s: %v, want it refused by name with a hint", name, err)
		}
	}
}

func TestOtherKafkaOptionsPass(t *testing.T) {
	if _, err := newConfig(nil, Kafka(
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(2<<20), kgo.FetchMaxBytes(1<<20),
		kgo.DialTimeout(time.Second), kgo.ProducerLinger(time.Millisecond), kgo.Dialer(nil), kgo.WithHooks(),
	)); err != nil {
		t.Error(err)
	}
}

// An answer to a fetch has a bound of ours, whatever the number of partitions, and a user's own goes before it.
func TestFetchesAreBounded(t *testing.T) {
	for _, test := range []struct {
		opts []Option
		want int32
	}{{nil, fetchBytes}, {[]Option{Kafka(kgo.FetchMaxBytes(1 << 20))}, 1 << 20}} {
		c, err := newConfig(nil, test.opts...)
		if err != nil {
			t.Fatal(err)
		}
		cl, err := c.client()
		if err != nil {
			t.Fatal(err)
		}
		if got := cl.OptValue(kgo.FetchMaxBytes); got != test.want {
			t.Errorf("FetchMaxBytes is %v, want %d", got, test.want)
		}
		cl.Close()
	}
}

func TestTimeoutsAreValidatedAgainstEachOther(t *testing.T) {
	for name, opts := range map[string][]Option{
		"SessionTimeout":     {SessionTimeout(2 * time.Second)},
		"TransactionTimeout": {CommitInterval(6 * time.Second)},
		"RebalanceTimeout":   {RebalanceTimeout(time.Second)},
		"HeartbeatInterval":  {HeartbeatInterval(0)},
		"CommitInterval":     {CommitInterval(0)},
		"Lanes":              {Lanes(0)},
		"CommitBytes":        {CommitBytes(1)},
		"CacheBytes":         {CacheBytes(1)},
		"InstanceID":         {InstanceID("Pod_1")},
		"brokers":            {Brokers()},
	} {
		if _, err := newConfig(nil, opts...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want a refusal that names it", name, err)
		}
	}
	if _, err := newConfig(nil); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

func TestUnreachableBrokersAreNamed(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	rs, err := Check(ctx, nil, Brokers("127.0.0.1:1"))
	if err != nil || len(rs) == 0 || !errors.Is(rs[0].Err, ErrUnreachable) || !strings.Contains(rs[0].Err.Error(), "127.0.0.1:1") {
		t.Errorf("Check: %v, %v; want ErrUnreachable that names the address", rs, err)
	}
}
