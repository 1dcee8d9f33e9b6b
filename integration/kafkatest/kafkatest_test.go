package kafkatest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/kafkatest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// commitOne writes the values to partition 0 of the topic in one transaction.
func commitOne(ctx context.Context, client *kgo.Client, topic string, values ...string) error {
	if err := client.BeginTransaction(); err != nil {
		return err
	}
	for _, v := range values {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			return errors.Join(err, client.EndTransaction(ctx, kgo.TryAbort))
		}
	}
	return client.EndTransaction(ctx, kgo.TryCommit)
}

// readCommitted reads n values of the topic as a new read_committed consumer.
func readCommitted(ctx context.Context, t *testing.T, c *kafkatest.Cluster, topic string, n int) []string {
	t.Helper()
	client := c.Client(t, kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var got []string
	for len(got) < n {
		fs := client.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("read %s: %v, so far %q", topic, err, got)
		}
		fs.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	return got
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// Retention counts from the time of a record, and tests write those of the past: a broker that is ours deletes none. With
// the default of a week the results of one test were gone when the broker was 30 s old, which is when it looks first.
func TestOldRecordsStay(t *testing.T) {
	if os.Getenv("KAFKA_BROKERS") != "" {
		t.Skip("the broker is not ours")
	}
	c := kafkatest.Shared(t)
	topic := c.Topic(t, 1)
	configs, err := c.Admin().DescribeTopicConfigs(limit(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	retention := ""
	for _, s := range configs[0].Configs {
		if s.Key == "retention.ms" {
			retention = s.MaybeValue()
		}
	}
	if retention != "-1" {
		t.Errorf("retention.ms is %q", retention)
	}
}

func TestTransactionsAreThere(t *testing.T) {
	c := kafkatest.Shared(t)
	ctx := limit(t)
	topic := c.Topic(t, 1)
	client := c.Client(t, kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err := commitOne(ctx, client, topic, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Value: []byte("aborted")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if err := commitOne(ctx, client, topic, "c"); err != nil {
		t.Fatal(err)
	}
	want(t, readCommitted(ctx, t, c, topic, 3), "a", "b", "c")
}

// The tests of the engine rely on what KIP-890 part 2 brought.
func TestTransactionVersionIsTwo(t *testing.T) {
	c := kafkatest.Shared(t)
	versions, err := c.Admin().ApiVersions(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		var level int16
		for _, f := range v.Raw().FinalizedFeatures {
			if f.Name == "transaction.version" {
				level = f.MaxVersionLevel
			}
		}
		if level < 2 {
			t.Fatalf("broker %d finalizes transaction.version %d, want 2", v.NodeID, level)
		}
	}
}

func TestRestartKeepsData(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{})
	ctx := limit(t)
	topic := c.Topic(t, 1)
	client := c.Client(t, kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err := commitOne(ctx, client, topic, "a"); err != nil {
		t.Fatal(err)
	}
	c.Stop(t, 0)
	c.Restart(t, 0)
	if err := commitOne(ctx, client, topic, "b"); err != nil {
		t.Fatal(err)
	}
	c.Kill(t, 0)
	c.Restart(t, 0)
	if err := commitOne(ctx, client, topic, "c"); err != nil {
		t.Fatal(err)
	}
	want(t, readCommitted(ctx, t, c, topic, 3), "a", "b", "c")
}

func TestFrozenBrokerAnswersWhenThawed(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{})
	ctx := limit(t)
	topic := c.Topic(t, 1)
	client := c.Client(t, kgo.DefaultProduceTopic(topic))
	c.Freeze(t, 0)
	sent := make(chan error, 1)
	go func() { sent <- client.ProduceSync(ctx, &kgo.Record{Value: []byte("a")}).FirstErr() }()
	select {
	case err := <-sent:
		t.Fatalf("a frozen broker answered: %v", err)
	case <-time.After(200 * time.Millisecond): // long enough to notice a broker that still serves
	}
	c.Thaw(t, 0)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	want(t, readCommitted(ctx, t, c, topic, 1), "a")
}

func TestLeaderDiesAndAnotherTakesOver(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers")
	}
	begin := time.Now()
	c := kafkatest.Start(t, kafkatest.Options{Brokers: 3})
	ctx := limit(t)
	topic := c.Topic(t, 1)
	client := c.Client(t, kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err := commitOne(ctx, client, topic, "a"); err != nil {
		t.Fatal(err)
	}
	t.Logf("three brokers up and one commit after %s", time.Since(begin))
	leader := c.Leader(t, topic, 0)
	c.Kill(t, leader)
	// The transaction may meet the dead leader or a coordinator that moved: then it did not commit, and is tried again.
	for n := 1; ; n++ {
		err := commitOne(ctx, client, topic, "b")
		if err == nil {
			break
		}
		t.Logf("attempt %d after the leader died: %v", n, err)
		if ctx.Err() != nil {
			t.Fatal("no commit after the leader died")
		}
		client.Close()
		client = c.Client(t, kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	}
	for c.Leader(t, topic, 0) == leader { // a follower may learn of the change a little later
		if ctx.Err() != nil {
			t.Fatalf("broker %d still leads after its death", leader)
		}
	}
	t.Logf("a new leader after %s", time.Since(begin))
	want(t, readCommitted(ctx, t, c, topic, 2), "a", "b")
	c.Restart(t, leader)
}

func TestJavaProducerWritesKeysAndValues(t *testing.T) {
	c := kafkatest.Shared(t)
	ctx := limit(t)
	topic := c.Topic(t, 1)
	err := c.JavaProduce(ctx, topic, []kafkatest.KV{{Key: "k", Value: "v w"}, {Key: "ü", Value: ""}})
	if errors.Is(err, kafkatest.ErrNoJava) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	client := c.Client(t, kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	var got []string
	for len(got) < 2 {
		fs := client.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) { got = append(got, fmt.Sprintf("%s=%s", r.Key, r.Value)) })
	}
	if strings.Join(got, "|") != "k=v w|ü=" {
		t.Fatalf("the Java producer wrote %q", got)
	}
}

// A test binary that is killed must not leave brokers behind: two cores do not carry many.
func TestBrokersDieWithTheirStarter(t *testing.T) {
	if os.Getenv("KAFKATEST_ORPHAN") != "" {
		c := kafkatest.Start(t, kafkatest.Options{})
		fmt.Printf("orphan %s\n", c.Addrs()[0])
		select {} // until killed by the test below
	}
	if found, err := kafkatest.Find(limit(t)); err != nil || found == "KAFKA_BROKERS" {
		t.Skip("brokers of our own are needed")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestBrokersDieWithTheirStarter$", "-test.v")
	cmd.Env = append(os.Environ(), "KAFKATEST_ORPHAN=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr := ""
	for buf := []byte(nil); addr == ""; {
		chunk := make([]byte, 4096)
		n, err := out.Read(chunk)
		if err != nil {
			t.Fatalf("no broker came up: %v\n%s", err, buf)
		}
		buf = append(buf, chunk[:n]...)
		if _, rest, ok := strings.Cut(string(buf), "orphan "); ok {
			addr, _, _ = strings.Cut(rest, "\n")
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	waitClosed(t, addr)
}
