package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/cli"
)

// load describes the input of a bench. Record i is the same in every run with the same
// settings, whoever makes it.
type load struct {
	records     int64
	keys        int64
	valueBytes  int
	partitions  int32
	seed        uint64
	roundRobin  bool
	hot         float64       // share of the records that have the first key
	span        time.Duration // of the records' times
	compression string
}

// loadBase is the time of the first record.
var loadBase = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newBenchLoad() *cobra.Command {
	var (
		l     load
		conn  cli.Connection
		topic string
	)
	c := &cobra.Command{
		Use:   "load --brokers B --topic T",
		Short: "Fill an input topic",
		Long: `Fill an input topic. Keys are k000000000 and up; values begin with a lower-case letter and the number
of the record, so that no two are alike. The times of the records are spread evenly over --span, so that
workload window has a window for each 10 s of it.`,
		Args: cobra.NoArgs,
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			if err := l.check(); err != nil {
				return &cli.UsageError{Err: err}
			}
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			began := time.Now()
			if err := l.run(ctx, &conn, topic); err != nil {
				return fmt.Errorf("load topic %s: %w", topic, err)
			}
			return printLine(cmd.OutOrStdout(), struct {
				Records int64   `json:"records"`
				Seconds float64 `json:"seconds"`
			}{l.records, time.Since(began).Seconds()})
		}),
	}
	f := c.Flags()
	conn.Flags(f)
	f.StringVar(&topic, "topic", "bench-in", "topic to fill; it is created if it is missing")
	f.Int64Var(&l.records, "records", 5_000_000, "number of records")
	f.Int64Var(&l.keys, "keys", 100_000, "number of keys")
	f.IntVar(&l.valueBytes, "value-bytes", 100, "bytes of each value")
	f.Int32Var(&l.partitions, "partitions", 4, "partitions of the topic, if it is created")
	f.Uint64Var(&l.seed, "seed", 1, "of the order of the keys")
	f.BoolVar(&l.roundRobin, "round-robin", false, "one key after the other instead of random ones")
	f.Float64Var(&l.hot, "hot", 0, "share of the records that have the first key, 0 to 1, on top of its part of the rest")
	f.DurationVar(&l.span, "span", 50*time.Second, "time between the first and the last record")
	f.StringVar(&l.compression, "compression", "none", "none, lz4, snappy or zstd")
	return c
}

func (l load) check() error {
	switch {
	case l.records < 1 || l.keys < 1 || l.partitions < 1:
		return errors.New("--records, --keys and --partitions are 1 or more")
	case l.keys > 1_000_000_000:
		return errors.New("--keys is more than nine digits can name")
	case l.valueBytes < minValueBytes:
		return fmt.Errorf("--value-bytes is %d: the number of the record takes %d", l.valueBytes, minValueBytes)
	case !(l.hot >= 0 && l.hot <= 1):
		return fmt.Errorf("--hot is %v: use 0 to 1", l.hot)
	case l.span < 0:
		return fmt.Errorf("--span is %s: use 0 or more", l.span)
	}
	_, err := codecNamed(l.compression)
	return err
}

func codecNamed(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), fmt.Errorf("there is no compression %q: use none, lz4, snappy or zstd", name)
}

func (l load) run(ctx context.Context, conn *cli.Connection, topic string) error {
	compression, err := codecNamed(l.compression)
	if err != nil {
		return err
	}
	cl, err := connect(ctx, conn, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(compression),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedRecords(100_000), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := ensureTopic(ctx, cl, topic, l.partitions); err != nil {
		return err
	}
	return produceAll(ctx, cl, l.records, l.generator())
}

// ensureTopic makes a topic if it is missing. Somebody else may make it at the same time,
// or have made it just now, so that not every broker has heard of it.
func ensureTopic(ctx context.Context, cl *kgo.Client, topic string, partitions int32) error {
	_, err := findTopic(ctx, cl, topic)
	if errors.Is(err, errNoTopic) {
		err = createTopic(ctx, cl, topic, partitions, forever)
	}
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

// produceAll produces records 0 to n-1 and ends at the first error.
func produceAll(ctx context.Context, cl *kgo.Client, n int64, record func(i int64) *kgo.Record) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			cancel(err)
		}
	}
	for i := range n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		cl.Produce(ctx, record(i), done)
	}
	if err := cl.Flush(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// minValueBytes hold a letter and the number of any record.
const minValueBytes = 12

// generator gives the records in order; it is to be called with 0, 1, 2 ...
func (l load) generator() func(i int64) *kgo.Record {
	keys := rand.New(rand.NewPCG(l.seed, 1))
	hot := rand.New(rand.NewPCG(l.seed, 3))
	filler := make([]byte, l.valueBytes)
	letters := rand.New(rand.NewPCG(l.seed, 2))
	for i := range filler {
		filler[i] = byte('a' + letters.IntN(26))
	}
	// Keys and values lie in slabs: one allocation for many records.
	var slab []byte
	return func(i int64) *kgo.Record {
		k := i % l.keys
		if !l.roundRobin {
			k = keys.Int64N(l.keys)
		}
		if l.hot > 0 && hot.Float64() < l.hot {
			k = 0
		}
		if cap(slab)-len(slab) < l.valueBytes+64 {
			slab = make([]byte, 0, 64<<10+l.valueBytes)
		}
		at := len(slab)
		slab = appendKey(slab, k)
		key := slab[at:len(slab):len(slab)]
		at = len(slab)
		slab = append(slab, filler...)
		value := slab[at:len(slab):len(slab)]
		value[0] = byte('a' + i%26)
		strconv.AppendInt(value[:1], i, 10)
		return &kgo.Record{Key: key, Value: value, Timestamp: loadBase.Add(time.Duration(float64(l.span) * float64(i) / float64(l.records)))}
	}
}

// appendKey appends k and nine digits.
func appendKey(dst []byte, k int64) []byte {
	var digits [9]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i], k = byte('0'+k%10), k/10
	}
	return append(append(dst, 'k'), digits[:]...)
}
