//go:build synctests

package processor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// seeds is how many schedules are played; WEIR_SEEDS says otherwise.
func seeds(t *testing.T) uint64 {
	n := uint64(300)
	if s := os.Getenv("WEIR_SEEDS"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("WEIR_SEEDS: %v", err)
		}
		n = v
	}
	return n
}

// realLimit is real time for one schedule, which takes a fraction of a second, or some with
// the race detector.
const realLimit = 40 * time.Second

// faultsOf lists, for each request of the cycle, the errors that a broker may answer. With
// REQUEST_TIMED_OUT kfake does what was asked and says that it does not know.
var faultsOf = map[kmsg.Key][]*kerr.Error{
	kmsg.Produce:         {kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.OutOfOrderSequenceNumber, kerr.InvalidProducerEpoch, kerr.InvalidRecord},
	kmsg.TxnOffsetCommit: {kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.UnknownServerError, kerr.ProducerFenced, kerr.FencedInstanceID},
	kmsg.EndTxn:          {kerr.RequestTimedOut, kerr.UnknownServerError, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState},
	kmsg.InitProducerID:  {kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress},
	kmsg.OffsetFetch:     {kerr.UnstableOffsetCommit, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress},
	kmsg.Heartbeat:       {kerr.RebalanceInProgress, kerr.NotCoordinator, kerr.UnknownMemberID},
	kmsg.JoinGroup:       {kerr.UnknownMemberID, kerr.NotCoordinator},
	kmsg.SyncGroup:       {kerr.RebalanceInProgress, kerr.UnknownMemberID},
	kmsg.Fetch:           {kerr.NotLeaderForPartition, kerr.UnknownServerError},
	kmsg.FindCoordinator: {kerr.CoordinatorNotAvailable},
	kmsg.ListOffsets:     {kerr.NotLeaderForPartition},
}

// A schedule of faults, restarts and moves in virtual time: whatever happens, once it has
// stopped happening every record has its effect exactly once.
//
// Each schedule is a process of its own, so that one in which time stands still fails alone
// and says where everybody was.
func TestVirtualFaults(t *testing.T) {
	if s := os.Getenv("WEIR_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("WEIR_SEED: %v", err)
		}
		synctest.Test(t, func(t *testing.T) { virtual(t, seed) })
		return
	}
	n := seeds(t)
	var g errgroup.Group
	g.SetLimit(2)
	for seed := range n {
		g.Go(func() error {
			cmd := exec.Command(os.Args[0], "-test.run=^TestVirtualFaults$", "-test.count=1", "-test.timeout="+realLimit.String())
			cmd.Env = append(os.Environ(), fmt.Sprintf("WEIR_SEED=%d", seed))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("seed %d of commit %s: %v; again with: WEIR_SEED=%d go test -tags synctests -run TestVirtualFaults ./processor\n%s", seed, tally.Commit(), err, seed, out)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func virtual(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	virtualNet := new(kfake.VirtualNetwork)
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.ListenFn(virtualNet.Listen), kfake.Ports(9092, 9093, 9094),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dial := kgo.Dialer(slowly(virtualNet.DialContext))
	ta := tally.Tally{App: "virtual", Keys: 20, Groups: 5, Partitions: 3, Kafka: []kgo.Opt{dial}}
	brokers := []string{"localhost:9092", "localhost:9093", "localhost:9094"}
	if err := ta.CreateTopics(ctx, brokers, 1); err != nil {
		t.Fatal(err)
	}
	const records = 900
	log := new(lines)
	dir := t.TempDir()
	worker := func(name string) func() error {
		plan, err := ta.Plan()
		if err != nil {
			t.Fatal(err)
		}
		wctx, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- processor.Run(wctx, plan, processor.Brokers(brokers...), processor.Kafka(dial),
				processor.StateDir(filepath.Join(dir, name)), processor.InstanceID(name), processor.Lanes(1),
				processor.CommitInterval(50*time.Millisecond), processor.CacheBytes(4<<20),
				processor.Logger(zerolog.New(io.MultiWriter(log)).Level(zerolog.InfoLevel).With().Str("worker", name).Logger()))
		}()
		return func() error { stop(); return <-done }
	}
	adm, err := kgo.NewClient(kgo.SeedBrokers(brokers...), dial)
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	names := offsets.Names{Application: ta.App, Timeline: 1}
	stops := map[string]func() error{"a": worker("a"), "b": worker("b")}
	// All goroutines of a bubble must have ended when it ends, also when it fails.
	defer func() {
		for _, stop := range stops {
			_ = stop()
		}
	}()
	again := func(name string) {
		stop := stops[name]
		delete(stops, name)
		if err := stop(); err != nil && !undecided(err) {
			t.Fatalf("stop %s: %v\n%s", name, err, log)
		}
		stops[name] = worker(name)
	}
	var faults []*kfake.FaultHandle
	keys := make([]kmsg.Key, 0, len(faultsOf))
	for k := range kmsg.Key(100) {
		if faultsOf[k] != nil {
			keys = append(keys, k)
		}
	}
	for at := 0; at < records; at += 30 {
		if err := ta.Load(ctx, brokers, at, at+30, at+30 == records); err != nil {
			t.Fatalf("load: %v\n%s", err, log)
		}
		name := []string{"a", "b"}[rnd.IntN(2)]
		switch rnd.IntN(16) {
		case 0:
			c.RehashCoordinators()
		case 1:
			c.ShufflePartitionLeaders()
		case 2:
			again(name)
		case 3: // a storm
			for range 2 + rnd.IntN(4) {
				again([]string{"a", "b"}[rnd.IntN(2)])
				time.Sleep(time.Duration(rnd.IntN(50)) * time.Millisecond) // virtual
			}
		case 4: // as a successor does who thinks that the lane is gone
			id := names.TransactionalID(name, 0)
			fmt.Fprintf(log, "fence %s: %v\n", id, processor.InitProducerID(ctx, adm, id))
		case 5: // the group gives its place away
			_, err := kadm.NewClient(adm).LeaveGroup(ctx, kadm.LeaveGroup(names.Group()).InstanceIDs(names.GroupInstance(name, 0)))
			fmt.Fprintf(log, "kick %s out of the group: %v\n", name, err)
		default:
			k := keys[rnd.IntN(len(keys))]
			e := faultsOf[k][rnd.IntN(len(faultsOf[k]))]
			f := kfake.Fault{Keys: []kmsg.Key{k}, Err: e, Count: 1 + rnd.IntN(3), TopLevel: rnd.IntN(2) == 0,
				When: func(r kmsg.Request) bool { return ours(r, e) }}
			fmt.Fprintf(log, "fault %s %v x%d\n", k.Name(), f.Err, f.Count)
			faults = append(faults, c.Fault(f))
		}
		time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond) // virtual
	}
	out, err := ta.Await(ctx, brokers, records)
	if err == nil {
		err = ta.Check(out, records).Err()
	}
	for name, stop := range stops {
		delete(stops, name)
		if serr := stop(); serr != nil && !undecided(serr) {
			err = errors.Join(err, fmt.Errorf("stop %s: %w", name, serr))
		}
	}
	for _, f := range faults {
		f.Remove()
	}
	// Not Clean: a fault may have taken a task from both when they were stopped.
	facts, ferr := ta.Collect(ctx, brokers, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	err = errors.Join(err, ferr, ta.Audit(facts).Err())
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
}

// undecided: the faults of a schedule outlasted the patience of a stop. That is said, and
// whoever comes next asks Kafka; what becomes of it is in the results.
func undecided(err error) bool { return errors.Is(err, processor.ErrUnreachable) }

// slowly gives a network its latency. Without any, virtual time can stand still for ever:
// on NOT_LEADER_OR_FOLLOWER with a hint at the new leader the client fetches again at once,
// until its metadata loop, asleep for 10 ms, has carried out the move. A real network ends
// that in some hundred requests; in a bubble the 10 ms pass only when everybody waits.
func slowly(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return slowConn{c}, nil
	}
}

type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(100 * time.Microsecond) // virtual
	return c.Conn.Write(b)
}

// ours keeps faults away from the loader's plain produces, and from a first start the one
// that only a person can mend.
func ours(r kmsg.Request, e *kerr.Error) bool {
	p, ok := r.(*kmsg.ProduceRequest)
	return !ok || p.TransactionID != nil && (e != kerr.InvalidRecord || !strings.HasSuffix(*p.TransactionID, ".birth"))
}

// lines is a log that is shown when a schedule fails.
type lines struct {
	mu sync.Mutex
	b  []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b...)
	return len(b), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
