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

// A strategy that cannot be meant is refused with the reason, whether it was written in Go or as text.
func TestRestartStrategiesAreValidated(t *testing.T) {
	for what, o := range map[string]Option{
		"fixed-delay: attempts is 0":            RestartStrategy(FixedDelay(0, time.Second)),
		"failure-rate: max-failures":            RestartStrategy(FailureRate(0, time.Minute, time.Second)),
		"max-backoff of 60000 ms is below":      RestartStrategy(ExponentialDelay(func(b *Backoff) { b.Initial = time.Hour })),
		"exponential-delay: jitter-factor is 2": RestartStrategy(ExponentialDelay(func(b *Backoff) { b.Jitter = 2 })),
		`there is no strategy ""`:               RestartStrategy(Strategy{}),
		"Failover is 7":                         Failover(7),
	} {
		var e *Error
		if _, err := newConfig(nil, o); !errors.As(err, &e) || !strings.Contains(err.Error(), what) || e.Fix == "" {
			t.Errorf("%v, want %q and what to do", err, what)
		}
	}
	for text, want := range map[string]string{
		"":                                "known are [exponential-delay fixed-delay failure-rate none]",
		"fixed-delay,":                    `no parameter ""`,
		"fixed-delay,max-backoff=1s":      "known are [attempts delay]",
		"none,delay=1s":                   "no parameter",
		"fixed-delay,attempts=many":       "attempts=many: want a whole number",
		"fixed-delay,delay=10":            "delay=10: want a duration such as 10s",
		"exponential-delay,jitter-factor": "want a number",
	} {
		if s, err := ParseStrategy(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read as %s, %v; want %q", text, s, err, want)
		}
	}
}

func TestStrategiesAsText(t *testing.T) {
	for text, want := range map[string]Strategy{
		"exponential-delay":                     ExponentialDelay(),
		"fixed-delay":                           FixedDelay(1, time.Second),
		"failure-rate":                          FailureRate(1, time.Minute, time.Second),
		"none":                                  NoRestart(),
		"fixed-delay,delay=1m30s,attempts=3":    FixedDelay(3, 90*time.Second),
		"failure-rate,failure-rate-interval=5m": FailureRate(1, 5*time.Minute, time.Second),
		"exponential-delay,max-backoff=5m,jitter-factor=0,backoff-multiplier=2,initial-backoff=500ms,reset-backoff-threshold=10m,attempts-before-reset-backoff=9": ExponentialDelay(func(b *Backoff) {
			*b = Backoff{Initial: 500 * time.Millisecond, Max: 5 * time.Minute, Multiplier: 2, ResetAfter: 10 * time.Minute, Attempts: 9}
		}),
	} {
		got, err := ParseStrategy(text)
		if err != nil || got != want {
			t.Errorf("%q is read as %s, %v; want %s", text, got, err, want)
		}
		if again, err := ParseStrategy(got.String()); err != nil || again != got {
			t.Errorf("%s is read as %s, %v", got, again, err)
		}
		if _, err := newConfig(nil, RestartStrategy(got)); err != nil {
			t.Errorf("%s is refused: %v", got, err)
		}
	}
	if s := ExponentialDelay().String(); s != "exponential-delay,initial-backoff=1s,max-backoff=1m0s,backoff-multiplier=1.5,jitter-factor=0.1,reset-backoff-threshold=1h0m0s,attempts-before-reset-backoff=0" {
		t.Errorf("the default is %s", s)
	}
	c, err := newConfig(nil)
	if err != nil || c.restart != ExponentialDelay() || c.failover != FailoverRegion {
		t.Errorf("by default %s, %s; %v", c.restart, c.failover, err)
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
