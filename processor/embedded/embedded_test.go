package embedded_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/processor/embedded"
)

func start(t *testing.T, o embedded.Options) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func client(t *testing.T, s *embedded.Server, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(s.Addrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func withTimeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// begin opens a transaction and writes a value in it.
func begin(t *testing.T, ctx context.Context, cl *kgo.Client, value string) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func end(t *testing.T, ctx context.Context, cl *kgo.Client, how kgo.TransactionEndTry) {
	t.Helper()
	if err := cl.EndTransaction(ctx, how); err != nil {
		t.Fatal(err)
	}
}

// committed reads the values of topic t that a read_committed reader sees. It reads up to
// the end of the log, so nothing may be open.
func committed(t *testing.T, ctx context.Context, s *embedded.Server) (values []string) {
	t.Helper()
	cl := client(t, s, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup("t", 0)
	for next := int64(0); next < end.Offset; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		})
	}
	return values
}

func TestTopicsAreCreatedByRequestOnly(t *testing.T) {
	ctx := withTimeout(t)
	s := start(t, embedded.Options{Topics: map[string]int32{"given": 3}})
	cl := client(t, s, kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(ctx, "given")
	if err != nil || len(topics["given"].Partitions) != 3 {
		t.Fatalf("given topic: %v, %v", topics, err)
	}
	err = cl.ProduceSync(ctx, &kgo.Record{Topic: "absent", Value: []byte("x")}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatalf("produce to an absent topic: %v", err)
	}
	if _, err := adm.CreateTopic(ctx, 2, -1, nil, "asked"); err != nil {
		t.Fatal(err)
	}
}

// A broker that is closed goes on where it stopped: what was committed is there, what was
// aborted is not, and a transaction that was open can still be committed.
func TestCloseKeepsTransactions(t *testing.T) {
	ctx := withTimeout(t)
	dir := t.TempDir()
	s := start(t, embedded.Options{Dir: dir, Topics: map[string]int32{"t": 1}})
	a := client(t, s, kgo.TransactionalID("a"))
	begin(t, ctx, a, "committed")
	end(t, ctx, a, kgo.TryCommit)
	begin(t, ctx, a, "aborted")
	end(t, ctx, a, kgo.TryAbort)
	begin(t, ctx, a, "open")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	again := start(t, embedded.Options{Dir: dir})
	if !slices.Equal(again.Addrs(), s.Addrs()) {
		t.Fatalf("restarted at %v, was at %v: clients would not find it", again.Addrs(), s.Addrs())
	}
	end(t, ctx, a, kgo.TryCommit)
	begin(t, ctx, a, "later")
	end(t, ctx, a, kgo.TryCommit)
	if got, want := committed(t, ctx, again), []string{"committed", "open", "later"}; !slices.Equal(got, want) {
		t.Fatalf("committed %q, want %q", got, want)
	}
}

// A broker that is killed keeps what it wrote; transactions that were open are aborted and
// their producers fenced.
func TestKillAbortsOpenTransactions(t *testing.T) {
	ctx := withTimeout(t)
	dir := t.TempDir()
	s := start(t, embedded.Options{Dir: dir, Topics: map[string]int32{"t": 1}})
	a := client(t, s, kgo.TransactionalID("a"))
	begin(t, ctx, a, "committed")
	end(t, ctx, a, kgo.TryCommit)
	begin(t, ctx, a, "open")

	// What a killed process leaves is what is in its files at that moment.
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	after := start(t, embedded.Options{Dir: copied})
	b := client(t, after, kgo.TransactionalID("a"))
	begin(t, ctx, b, "after")
	end(t, ctx, b, kgo.TryCommit)
	if got, want := committed(t, ctx, after), []string{"committed", "after"}; !slices.Equal(got, want) {
		t.Fatalf("committed %q, want %q", got, want)
	}
}

func TestGroupPositionsSurviveRestart(t *testing.T) {
	ctx := withTimeout(t)
	dir := t.TempDir()
	s := start(t, embedded.Options{Dir: dir, Topics: map[string]int32{"t": 1}})
	os := kadm.Offsets{}
	os.Add(kadm.Offset{Topic: "t", Partition: 0, At: 7, Metadata: "beside"})
	if err := kadm.NewClient(client(t, s)).CommitAllOffsets(ctx, "g", os); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := kadm.NewClient(client(t, start(t, embedded.Options{Dir: dir}))).FetchOffsets(ctx, "g")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := got.Lookup("t", 0); !ok || o.At != 7 || o.Metadata != "beside" {
		t.Fatalf("offset after restart: %+v", o)
	}
}

func TestOneBrokerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	s := start(t, embedded.Options{Dir: dir})
	if _, err := embedded.Start(embedded.Options{Dir: dir}); !errors.Is(err, embedded.ErrInUse) {
		t.Fatalf("second broker: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, embedded.Options{Dir: dir})
}

// What weir demands of brokers: transaction.version 2.
func TestTransactionVersion(t *testing.T) {
	s := start(t, embedded.Options{})
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(withTimeout(t), client(t, s))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" && f.MaxVersionLevel >= 2 {
			return
		}
	}
	t.Fatalf("features %+v", resp.FinalizedFeatures)
}
