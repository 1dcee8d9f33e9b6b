package processor

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reserved are the client options that carry the guarantee. Others decide about them, or
// nobody: a worker that consumed uncommitted records, or committed what was polled, would
// not be exactly-once.
var reserved = []any{
	kgo.SeedBrokers, kgo.ClientID, kgo.WithLogger,
	kgo.TransactionalID, kgo.TransactionTimeout, kgo.RecordPartitioner, kgo.RequiredAcks, kgo.DisableIdempotentWrite,
	kgo.RecordDeliveryTimeout, kgo.ManualFlushing, kgo.DefaultProduceTopic,
	kgo.ConsumerGroup, kgo.ConsumeTopics, kgo.ConsumeRegex, kgo.ConsumePartitions, kgo.ConsumeResetOffset, kgo.ConsumeStartOffset,
	kgo.FetchIsolationLevel, kgo.KeepControlRecords, kgo.DisableAutoCommit, kgo.GreedyAutoCommit, kgo.AutoCommitMarks, kgo.AutoCommitInterval,
	kgo.BlockRebalanceOnPoll, kgo.Balancers, kgo.InstanceID, kgo.SessionTimeout, kgo.RebalanceTimeout, kgo.HeartbeatInterval,
	kgo.OnPartitionsAssigned, kgo.OnPartitionsRevoked, kgo.OnPartitionsLost, kgo.OnPartitionsCallbackBlocked, kgo.OnOffsetsFetched,
	kgo.AdjustFetchOffsetsFn,
}

// optionName is the name of an option function, "ConsumerGroup".
func optionName(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}

// Kafka passes options to the clients that a worker makes: batch and fetch sizes,
// compression, dialers, hooks. Without them a lane's producer does not compress, and fills
// batches of up to 1 MiB for half a commit interval, at most 50 ms. Those that carry the
// guarantee are refused by name, see ReservedOptions.
func Kafka(opts ...kgo.Opt) Option {
	return optionFunc(func(c *config) error {
		if err := refuseReserved(opts); err != nil {
			return err
		}
		c.kafka = append(c.kafka, opts...)
		return nil
	})
}

// ReservedOptions are the names of the franz-go options that Kafka refuses.
func ReservedOptions() []string {
	names := make([]string, 0, len(reserved))
	for _, f := range reserved {
		names = append(names, optionName(f))
	}
	return names
}

// refuseReserved finds reserved options by what they do: it makes a client with the
// options and one without, neither of which dials, and compares each reserved value.
func refuseReserved(opts []kgo.Opt) error {
	plain, err := kgo.NewClient()
	if err != nil {
		return fmt.Errorf("kafka options: %w", err)
	}
	defer plain.Close()
	given, err := kgo.NewClient(opts...)
	if err != nil {
		// Some reserved options do not stand alone (an instance id without a group).
		return &Error{What: "Kafka: " + err.Error(), Where: "options", Err: err,
			Fix: "leave out options for groups, transactions and consuming: " + strings.Join(ReservedOptions(), ", ") + " are the worker's own"}
	}
	defer given.Close()
	again, err := kgo.NewClient()
	if err != nil {
		return fmt.Errorf("kafka options: %w", err)
	}
	defer again.Close()
	for _, f := range reserved {
		same := sameValues
		if !sameValues(plain.OptValues(f), again.OptValues(f)) {
			same = sameTypes // the default holds something that equals nothing, as a closure does
		}
		if !same(plain.OptValues(f), given.OptValues(f)) {
			name := optionName(f)
			return &Error{What: "Kafka: kgo." + name + " is reserved", Where: "options", Err: errReserved,
				Fix: "leave it out: it carries the exactly-once guarantee or has an option of the worker's own"}
		}
	}
	return nil
}

func sameTypes(a, b []any) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(v any) bool {
		return !slices.ContainsFunc(b, func(w any) bool { return reflect.TypeOf(v) == reflect.TypeOf(w) })
	})
}

func sameValues(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		va, vb := reflect.ValueOf(a[i]), reflect.ValueOf(b[i])
		if va.Kind() == reflect.Func && vb.Kind() == reflect.Func {
			if va.Pointer() != vb.Pointer() {
				return false
			}
			continue
		}
		if va.Kind() == reflect.Pointer && va.Type() == vb.Type() && !va.IsNil() && !vb.IsNil() && va.Elem().Comparable() && vb.Elem().Comparable() {
			if !va.Elem().Equal(vb.Elem()) {
				return false
			}
			continue
		}
		if !reflect.DeepEqual(a[i], b[i]) {
			return false
		}
	}
	return true
}

// fetchBytes bounds what one answer of a broker brings, over all partitions. The client's default, 50 MiB, comes to a
// megabyte for each partition up to fifty, and several times that as records: memory would grow with the tasks of a lane.
const fetchBytes = 8 << 20

// client makes every Kafka client of a worker.
func (c *config) client(extra ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(c.clientOpts(), extra...)...)
}

// producer makes the transactional client of a lane. How it batches is the user's to change.
func (c *config) producer(transactionalID string) (*kgo.Client, error) {
	return kgo.NewClient(slices.Concat([]kgo.Opt{
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		// Nobody sees a record before its epoch ends, and the end flushes: what is sent early
		// only spreads the load. Full batches do not wait.
		kgo.ProducerLinger(min(c.commitInterval/2, lingerMax)),
		kgo.MaxBufferedRecords(1 << 20),
		kgo.MaxBufferedBytes(256 << 20),
		kgo.ProducerBatchMaxBytes(1 << 20),
	}, c.clientOpts(), failpointOpts(), []kgo.Opt{
		// No RecordDeliveryTimeout: the client measures it from the record's timestamp, which
		// is event time here. The flush has a deadline instead.
		kgo.TransactionalID(transactionalID),
		kgo.TransactionTimeout(c.transactionTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	})...)
}

const lingerMax = 50 * time.Millisecond

func (c *config) clientOpts() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.brokers...),
		kgo.ClientID(c.clientID()),
		kgo.WithLogger(kafkaLog{c.log}),
		kgo.DialTimeout(5 * time.Second),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	if c.tls != nil {
		opts = append(opts, kgo.DialTLSConfig(c.tls))
	}
	if c.sasl != nil {
		opts = append(opts, kgo.SASL(c.sasl))
	}
	return append(opts, c.kafka...)
}

// kafkaLog gives the client's messages to the worker's log, one level down: what the
// client calls a warning is mostly a retry.
type kafkaLog struct{ log zerolog.Logger }

func (l kafkaLog) Level() kgo.LogLevel {
	switch l.log.GetLevel() {
	case zerolog.TraceLevel:
		return kgo.LogLevelDebug
	case zerolog.DebugLevel:
		return kgo.LogLevelInfo
	case zerolog.InfoLevel:
		return kgo.LogLevelWarn
	default:
		return kgo.LogLevelError
	}
}

func (l kafkaLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	var e *zerolog.Event
	switch level {
	case kgo.LogLevelError:
		e = l.log.Warn()
	case kgo.LogLevelWarn:
		e = l.log.Info()
	case kgo.LogLevelInfo:
		e = l.log.Debug()
	default:
		e = l.log.Trace()
	}
	e.Str("from", "kafka client").Fields(keyvals).Msg(msg)
}
