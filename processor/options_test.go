package processor

import (
	"context"
	"errors"
	"reflect"
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

// Some were accepted and had no effect: the producer's own settings came after them.
func TestKafkaOptionsReachTheProducer(t *testing.T) {
	opts := map[string]struct{ option, given, byDefault any }{
		"ProducerLinger":        {kgo.ProducerLinger, 7 * time.Millisecond, 20 * time.Millisecond},
		"ProducerBatchMaxBytes": {kgo.ProducerBatchMaxBytes, int32(2 << 20), int32(1 << 20)},
		"MaxBufferedRecords":    {kgo.MaxBufferedRecords, int64(1000), int64(1 << 20)},
		"MaxBufferedBytes":      {kgo.MaxBufferedBytes, int64(8 << 20), int64(256 << 20)},
		"ProducerBatchCompression": {kgo.ProducerBatchCompression, []kgo.CompressionCodec{kgo.ZstdCompression()},
			[]kgo.CompressionCodec{kgo.NoCompression()}},
	}
	given := Kafka(kgo.ProducerLinger(7*time.Millisecond), kgo.ProducerBatchMaxBytes(2<<20), kgo.MaxBufferedRecords(1000),
		kgo.MaxBufferedBytes(8<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	for _, with := range [][]Option{{CommitInterval(40 * time.Millisecond)}, {CommitInterval(40 * time.Millisecond), given}} {
		c, err := newConfig(nil, with...)
		if err != nil {
			t.Fatal(err)
		}
		cl, err := c.producer("app.lane")
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for name, o := range opts {
			want := o.byDefault
			if len(with) > 1 {
				want = o.given
			}
			if got := cl.OptValue(o.option); !reflect.DeepEqual(got, want) {
				t.Errorf("kgo.%s is %v (%T), want %v", name, got, got, want)
			}
		}
		if id := cl.OptValue(kgo.TransactionalID); id != "app.lane" {
			t.Errorf("transactional id is %v", id)
		}
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
