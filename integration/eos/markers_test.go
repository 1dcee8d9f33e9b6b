package eos

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/kafkatest"
)

// attempt is one transaction of a plain producer; every one writes a record to each partition.
type attempt struct{ producer, number int }

type fate string

const (
	fateCommitted fate = "committed"
	fateAborted   fate = "aborted"
	fateUnknown   fate = "unknown"
)

// TestMarkersSurviveBrokers asks of the ground that weir stands on what weir asks of it:
// transactions of plain producers, acknowledged as committed while brokers are killed, are
// visible in every partition or in none. With three brokers they are. WEIR_ONE_BROKER=1
// runs it on one, where Kafka 4.3.1 fails it: see N46 in DESIGN.md.
func TestMarkersSurviveBrokers(t *testing.T) {
	if os.Getenv("WEIR_CHAOS") == "" {
		t.Skip("WEIR_CHAOS is not set: make chaos D=5m")
	}
	brokers := 3
	if os.Getenv("WEIR_ONE_BROKER") != "" {
		brokers = 1
	}
	const (
		topic      = "markers"
		partitions = 24
		producers  = 4
		kills      = 8
	)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := kafkatest.Start(t, kafkatest.Options{Brokers: brokers})
	if _, err := c.Admin().CreateTopic(ctx, partitions, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	fates := map[attempt]fate{}
	begun := sync.NewCond(&mu)
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for n := 0; writing.Err() == nil; {
				n = plainTransactions(ctx, writing, c.Addrs(), topic, partitions, p, n, func(a attempt, f fate) {
					mu.Lock()
					fates[a] = f
					mu.Unlock()
					begun.Broadcast()
				})
			}
		})
	}
	unlock := context.AfterFunc(ctx, begun.Broadcast)
	defer unlock()
	for i := range kills {
		mu.Lock()
		for want := len(fates) + 4; len(fates) < want && ctx.Err() == nil; {
			begun.Wait()
		}
		mu.Unlock()
		c.Kill(t, i%brokers)
		c.Restart(t, i%brokers)
	}
	stop()
	wg.Wait()
	for p := range producers {
		decide(ctx, t, c.Addrs(), fmt.Sprintf("%s-%d", topic, p))
	}
	seen := visible(ctx, t, c, topic, partitions)
	count := map[fate]int{}
	for a, f := range fates {
		count[f]++
		n := seen[a]
		if f == fateCommitted && n != partitions || f == fateAborted && n != 0 || n != 0 && n != partitions {
			t.Errorf("transaction %d of producer %d is %s and visible in %d of %d partitions", a.number, a.producer, f, n, partitions)
		}
	}
	if count[fateCommitted] < kills {
		t.Errorf("only %d transactions were committed", count[fateCommitted])
	}
	t.Logf("%v", count)
}

// plainTransactions commits one transaction after the other until writing ends or an outcome
// is unknown; then a new client is needed. It returns the next number.
func plainTransactions(ctx, writing context.Context, addrs []string, topic string, partitions int32, p, n int, told func(attempt, fate)) int {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.TransactionalID(fmt.Sprintf("%s-%d", topic, p)), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		panic(fmt.Sprintf("plain producer: %v", err)) // constant options: a mistake in this file
	}
	defer cl.Close()
	for ; writing.Err() == nil; n++ {
		a := attempt{p, n}
		if err := cl.BeginTransaction(); err != nil {
			return n
		}
		try, cancel := context.WithTimeout(ctx, 50*time.Second)
		var rs []*kgo.Record
		for i := range partitions {
			rs = append(rs, &kgo.Record{Partition: i, Value: fmt.Appendf(nil, "%d %d", p, n)})
		}
		produced := cl.ProduceSync(try, rs...).FirstErr()
		commit := kgo.TransactionEndTry(produced == nil && n%5 != 4)
		err := cl.EndTransaction(try, commit)
		cancel()
		switch {
		case err != nil:
			told(a, fateUnknown)
			return n + 1
		case bool(commit):
			told(a, fateCommitted)
		default:
			told(a, fateAborted)
		}
	}
	return n
}

// decide ends what is open under a transactional id.
func decide(ctx context.Context, t *testing.T, addrs []string, id string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.TransactionalID(id))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, _, err := cl.ProducerID(ctx); err != nil {
		t.Fatalf("end what is open under %s: %v", id, err)
	}
}

// patience is how long markers that are on their way may take.
const patience = 30 * time.Second

// stableEnds waits until everything in the topic is decided, which all of its transactions
// are; what still hangs after a while has lost its marker, and is reported.
func stableEnds(ctx context.Context, t *testing.T, c *kafkatest.Cluster, topic string) kadm.ListedOffsets {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		ends, err := c.Admin().ListEndOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		// Listed later, so it may be further: what was on its way has come.
		stable, err := c.Admin().ListCommittedOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		var hanging []string
		ends.Each(func(e kadm.ListedOffset) {
			if s, _ := stable.Lookup(topic, e.Partition); s.Offset < e.Offset {
				hanging = append(hanging, fmt.Sprintf("%s/%d: stable up to %d of %d", topic, e.Partition, s.Offset, e.Offset))
			}
		})
		if len(hanging) == 0 {
			return stable
		}
		if time.Now().After(deadline) {
			t.Errorf("decided transactions hang:\n%s", strings.Join(hanging, "\n"))
			return stable
		}
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// visible counts the partitions in which a read_committed reader finds each transaction.
func visible(ctx context.Context, t *testing.T, c *kafkatest.Cluster, topic string, partitions int32) map[attempt]int {
	t.Helper()
	stable := stableEnds(ctx, t, c, topic)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	seen, at := map[attempt]int{}, map[int32]int64{}
	for whole := false; !whole; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %s: %v", topic, ctx.Err())
		}
		fs.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			var a attempt
			if r.Attrs.IsControl() {
				return
			}
			if _, err := fmt.Sscanf(string(r.Value), "%d %d", &a.producer, &a.number); err != nil {
				t.Fatalf("%s/%d@%d: %q", topic, r.Partition, r.Offset, r.Value)
			}
			seen[a]++
		})
		whole = true
		for i := range partitions {
			s, _ := stable.Lookup(topic, i)
			whole = whole && at[i] >= s.Offset
		}
	}
	return seen
}
