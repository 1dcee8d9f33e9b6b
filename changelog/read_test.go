package changelog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const readTopic = "app.1.counts.changelog"

func fakeKafka(t testing.TB) (*kfake.Cluster, []kgo.Opt) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, readTopic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

func client(t testing.TB, opts []kgo.Opt, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(append([]kgo.Opt{}, opts...), more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// transaction produces k0=v … and ends it.
func transaction(t testing.TB, cl *kgo.Client, from, to int, end kgo.TransactionEndTry) {
	t.Helper()
	begin(t, cl, from, to)
	if err := cl.EndTransaction(context.Background(), end); err != nil {
		t.Fatal(err)
	}
}

func begin(t testing.TB, cl *kgo.Client, from, to int) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	var recs []*kgo.Record
	for i := from; i < to; i++ {
		r := &kgo.Record{Topic: readTopic, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i)}
		if i%10 == 9 {
			r.Value = nil
		}
		recs = append(recs, r)
	}
	if err := cl.ProduceSync(context.Background(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func ends(t testing.TB, opts []kgo.Opt) int64 {
	t.Helper()
	l, err := kadm.NewClient(client(t, opts)).ListEndOffsets(context.Background(), readTopic)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := l.Lookup(readTopic, 0)
	return o.Offset
}

func TestReadRange(t *testing.T) {
	ctx := context.Background()
	_, opts := fakeKafka(t)
	p := client(t, opts, kgo.TransactionalID("p"), kgo.DefaultProduceTopic(readTopic))
	transaction(t, p, 0, 20, kgo.TryCommit) // 0-19, marker 20
	transaction(t, p, 20, 25, kgo.TryAbort) // 21-25, marker 26
	transaction(t, p, 25, 30, kgo.TryCommit)
	transaction(t, p, 30, 40, kgo.TryAbort)
	end := ends(t, opts)

	read := func(from, to int64) (keys []string, deleted int, next int64) {
		t.Helper()
		next, err := ReadRange(ctx, opts, readTopic, 0, from, to, func(k, v []byte, offset int64) error {
			if offset < from || offset >= to {
				t.Errorf("offset %d outside %d-%d", offset, from, to)
			}
			keys = append(keys, string(k))
			if v == nil {
				deleted++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if next != to { // though the broker's answer goes on
			t.Fatalf("next %d, want %d", next, to)
		}
		return keys, deleted, next
	}
	// The log ends in an aborted transaction and its marker; both are passed.
	if keys, deleted, next := read(0, end); len(keys) != 25 || deleted != 3 || next != end {
		t.Errorf("whole log: %d records, %d deletes, next %d; want 25, 3, %d", len(keys), deleted, next, end)
	}
	if keys, _, _ := read(5, 7); fmt.Sprint(keys) != "[k5 k6]" {
		t.Errorf("part: %v", keys)
	}
	if keys, _, next := read(end, end); keys != nil || next != end {
		t.Errorf("empty range: %v, next %d", keys, next)
	}
	if keys, _, _ := read(21, 26); keys != nil {
		t.Errorf("aborted records were read: %v", keys)
	}
}

func TestReadRangeStopsWhereTheLogLacksIt(t *testing.T) {
	ctx := context.Background()
	_, opts := fakeKafka(t)
	p := client(t, opts, kgo.TransactionalID("p"), kgo.DefaultProduceTopic(readTopic))
	transaction(t, p, 0, 20, kgo.TryCommit)
	end := ends(t, opts)
	none := func(_, _ []byte, _ int64) error { return nil }

	_, err := ReadRange(ctx, opts, readTopic, 0, 0, end+1, none)
	var lost *LostError
	if !errors.As(err, &lost) || lost.HighWatermark != end || lost.To != end+1 || !errors.Is(err, ErrLost) {
		t.Errorf("beyond the end: %v", err)
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset(readTopic, 0, 10, -1)
	if _, err := kadm.NewClient(p).DeleteRecords(ctx, offsets); err != nil {
		t.Fatal(err)
	}
	_, err = ReadRange(ctx, opts, readTopic, 0, 0, end, none)
	var truncated *TruncatedError
	if !errors.As(err, &truncated) || truncated.LogStart != 10 || !errors.Is(err, ErrTruncated) {
		t.Errorf("below the start: %v", err)
	}
	stop := errors.New("stop")
	next, err := ReadRange(ctx, opts, readTopic, 0, 10, end, func(_, _ []byte, o int64) error {
		if o == 12 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || next != 12 {
		t.Errorf("error of the callback: %v at %d", err, next)
	}
}

// An open transaction of a predecessor holds the last stable offset below the target.
func TestReadRangeWaitsForOpenTransactions(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, opts := fakeKafka(t)
	a := client(t, opts, kgo.TransactionalID("a"))
	b := client(t, opts, kgo.TransactionalID("b"))
	begin(t, a, 0, 5)
	transaction(t, b, 5, 10, kgo.TryCommit)
	end := ends(t, opts)

	n, waited := 0, false
	r := Reader{Topic: readTopic, From: 0, To: end, Progress: func(p Progress) {
		if p.Waiting && !waited {
			waited = true
			if p.LastStable != 0 || p.Next != 0 {
				t.Errorf("waiting at %+v", p)
			}
			if err := a.EndTransaction(ctx, kgo.TryAbort); err != nil {
				t.Error(err)
			}
		}
	}}
	next, err := r.Read(ctx, opts, func(_, _ []byte, _ int64) error { n++; return nil })
	if err != nil || next < end || n != 5 || !waited {
		t.Errorf("next %d, %d records, waited %v, %v", next, n, waited, err)
	}

	begin(t, a, 0, 5)
	short, stop := context.WithCancel(ctx)
	r = Reader{Topic: readTopic, From: end, To: ends(t, opts), Progress: func(p Progress) {
		if p.Waiting {
			stop()
		}
	}}
	if _, err := r.Read(short, opts, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: %v", err)
	}
}

// Compaction may have taken every record at the end of the range.
func TestReadRangePassesCompactedGaps(t *testing.T) {
	ctx := context.Background()
	c, opts := fakeKafka(t)
	p := client(t, opts, kgo.TransactionalID("p"))
	for range 5 {
		transaction(t, p, 0, 10, kgo.TryCommit)
	}
	adm := kadm.NewClient(p)
	compact := "compact"
	if _, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "cleanup.policy", Value: &compact}}, readTopic); err != nil {
		t.Fatal(err)
	}
	end := ends(t, opts)
	c.Compact()
	const start = 10 // kfake moves the log start up to the first record left; Kafka does not
	state := map[string]string{}
	next, err := ReadRange(ctx, opts, readTopic, 0, start, end, func(k, v []byte, _ int64) error {
		state[string(k)] = string(v)
		return nil
	})
	if err != nil || next < end || state["k3"] != "v3" {
		t.Fatalf("next %d, %v, %v", next, state, err)
	}
	for at := int64(start); at < end; at++ { // every position, most of them in a gap
		if next, err := ReadRange(ctx, opts, readTopic, 0, at, end, func(_, _ []byte, _ int64) error { return nil }); err != nil || next < end {
			t.Fatalf("from %d: next %d, %v", at, next, err)
		}
	}
}

// Compaction may take everything between a position and the end. A broker has no batch to
// show then, and only its stable end says that there is nothing to wait for.
func TestReadRangeEndsWhereNothingIsLeft(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, opts := fakeKafka(t)
	transaction(t, client(t, opts, kgo.TransactionalID("p")), 0, 10, kgo.TryCommit)
	end := ends(t, opts)
	const from = 4
	c.ControlKey(kmsg.Fetch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		rt, rp := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		rt.Topic, rt.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
		rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = end, end, 0
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	next, err := ReadRange(ctx, opts, readTopic, 0, from, end, func(_, _ []byte, offset int64) error {
		return fmt.Errorf("a record at %d", offset)
	})
	if err != nil || next != end {
		t.Errorf("next %d of %d, %v", next, end, err)
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, into := range []string{"nothing", "store"} {
		b.Run(into, func(b *testing.B) { benchmarkRestore(b, into == "store") })
	}
}

func benchmarkRestore(b *testing.B, store bool) {
	const n = 1_000_000
	_, opts := fakeKafka(b)
	p := client(b, opts, kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(n))
	value := make([]byte, 8)
	for i := range n {
		p.Produce(context.Background(), &kgo.Record{Topic: readTopic, Key: fmt.Appendf(nil, "\x01customer-%07d", i*7919%n), Value: value}, nil)
	}
	if err := p.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	db := openTest(b, DBOptions{})
	s := openStore(b, db, storeID(0))
	defer s.Close(context.Background(), false)
	cpu := cpuTime()
	for b.Loop() {
		if err := s.Reset(); err != nil {
			b.Fatal(err)
		}
		if _, err := ReadRange(context.Background(), opts, readTopic, 0, 0, n, func(k, v []byte, _ int64) error {
			if !store {
				return nil
			}
			return s.Restored(k, v)
		}); err != nil {
			b.Fatal(err)
		}
		if err := s.Finish(epochID(1), n); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(n*b.N), "cpu-ns/record")
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// A fetch that the leader cannot answer is sent again: reading twice does no harm.
func TestReadGoesOnAfterFaultsOfTheLeader(t *testing.T) {
	c, opts := fakeKafka(t)
	transaction(t, client(t, opts, kgo.TransactionalID("w"), kgo.DefaultProduceTopic(readTopic)), 0, 50, kgo.TryCommit)
	for _, fault := range []*kerr.Error{kerr.UnknownServerError, kerr.NotLeaderForPartition, kerr.KafkaStorageError} {
		for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets} {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: fault, Count: 2})
			n := 0
			next, err := ReadRange(context.Background(), opts, readTopic, 0, 0, 50, func([]byte, []byte, int64) error { n++; return nil })
			if err != nil || next < 50 || n != 50 {
				t.Errorf("%v twice at %s: read %d records to %d, %v; want 50", fault, key.Name(), n, next, err)
			}
		}
	}
}
