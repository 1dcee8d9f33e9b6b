//go:build synctests

package processor_test

import (
	"context"
	"encoding/json"
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
	"github.com/weir-stream/weir/processor/admin"
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

// virtualTally is the tally topology on three fake brokers, in virtual time.
type virtualTally struct {
	*testing.T
	tally.Tally
	ctx     context.Context
	c       *kfake.Cluster
	brokers []string
	dial    func(context.Context, string, string) (net.Conn, error)
	adm     *kgo.Client
	dir     string
	log     *lines
	stops   map[string]func() error
	waits   map[string]func() error // for the end of a worker that ends by itself
}

func newVirtualTally(t *testing.T) *virtualTally {
	// Runs last: a client that was closed while it asked for a producer id ends when that is answered.
	t.Cleanup(func() { time.Sleep(time.Minute) }) // virtual
	virtualNet := new(kfake.VirtualNetwork)
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.ListenFn(virtualNet.Listen), kfake.Ports(9092, 9093, 9094),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	slow := slowly(virtualNet.DialContext)
	dial := kgo.Dialer(slow)
	v := &virtualTally{
		T: t, Tally: tally.Tally{App: "virtual", Keys: 20, Groups: 5, Partitions: 3, Kafka: []kgo.Opt{dial}}, ctx: ctx, c: c, dial: slow,
		brokers: []string{"localhost:9092", "localhost:9093", "localhost:9094"}, dir: t.TempDir(), log: new(lines),
		stops: map[string]func() error{}, waits: map[string]func() error{},
	}
	if err := v.CreateTopics(ctx, v.brokers, 1); err != nil {
		t.Fatal(err)
	}
	if v.adm, err = kgo.NewClient(kgo.SeedBrokers(v.brokers...), dial); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.adm.Close)
	// All goroutines of a bubble must have ended when it ends, also when it fails.
	t.Cleanup(func() {
		for _, stop := range v.stops {
			_ = stop()
		}
	})
	return v
}

// checkpoints is where they are kept.
func (v *virtualTally) checkpoints() string { return filepath.Join(v.dir, "checkpoints") }

// start runs a worker of that name.
func (v *virtualTally) start(name string, more ...processor.Option) {
	plan, err := v.Plan()
	if err != nil {
		v.Fatal(err)
	}
	ctx, stop := context.WithCancel(v.ctx)
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(ctx, plan, append([]processor.Option{
			processor.Brokers(v.brokers...), processor.Kafka(v.Kafka...),
			processor.StateDir(filepath.Join(v.dir, name)), processor.InstanceID(name), processor.Lanes(1),
			processor.CommitInterval(50 * time.Millisecond), processor.CacheBytes(4 << 20),
			processor.CheckpointInto(processor.Checkpoints{Dir: v.checkpoints(), Interval: 300 * time.Millisecond, Timeout: 20 * time.Second, TolerableFailures: -1}),
			processor.Logger(zerolog.New(io.MultiWriter(v.log)).Level(zerolog.InfoLevel).With().Str("worker", name).Logger()),
		}, more...)...)
	}()
	wait := sync.OnceValue(func() error { return <-done })
	v.waits[name] = wait
	v.stops[name] = func() error { stop(); return wait() }
}

// stop ends a worker.
func (v *virtualTally) stop(name string) error {
	stop := v.stops[name]
	delete(v.stops, name)
	if err := stop(); err != nil && !undecided(err) {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
}

// completed waits until a checkpoint is complete that was triggered from now on.
func (v *virtualTally) completed() (uint64, error) {
	names := offsets.Names{Application: v.App, Timeline: 1}
	end, err := v.end(names.Control())
	if err != nil {
		return 0, err
	}
	cl, err := kgo.NewClient(append(v.Kafka, kgo.SeedBrokers(v.brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{names.Control(): {0: kgo.NewOffset().At(end)}}))...)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	triggered := map[string]bool{}
	for {
		fs := cl.PollFetches(v.ctx)
		if v.ctx.Err() != nil {
			return 0, fmt.Errorf("no checkpoint is completed: %w", v.ctx.Err())
		}
		for _, r := range fs.Records() {
			var said struct{ State string }
			cut, ok := strings.CutPrefix(string(r.Key), "cut.")
			if !ok || json.Unmarshal(r.Value, &said) != nil {
				continue
			}
			switch {
			case said.State == "triggered":
				triggered[cut] = true
			case said.State == "complete" && triggered[cut]:
				return strconv.ParseUint(cut, 10, 64)
			}
		}
	}
}

// end is where a topic of one partition ends, once there is one.
func (v *virtualTally) end(topic string) (int64, error) {
	for {
		// A client remembers for a while that a topic was not there.
		cl, err := kgo.NewClient(append(v.Kafka, kgo.SeedBrokers(v.brokers...))...)
		if err != nil {
			return 0, err
		}
		ends, err := kadm.NewClient(cl).ListEndOffsets(v.ctx, topic)
		cl.Close()
		if end, ok := ends.Lookup(topic, 0); err == nil && ok && end.Err == nil {
			return end.Offset, nil
		}
		if v.ctx.Err() != nil {
			return 0, fmt.Errorf("end of %s: %v, %w", topic, ends, errors.Join(err, v.ctx.Err()))
		}
		time.Sleep(50 * time.Millisecond) // virtual
	}
}

// audit judges what the stopped workers have left behind.
func (v *virtualTally) audit(workers ...string) error {
	var dirs []string
	for _, w := range workers {
		dirs = append(dirs, filepath.Join(v.dir, w))
	}
	facts, err := v.Collect(v.ctx, v.brokers, dirs...)
	if err == nil {
		err = v.CollectCheckpoints(v.ctx, &facts, v.checkpoints())
	}
	if err == nil && len(facts.Checkpoints) == 0 {
		err = errors.New("there is no checkpoint")
	}
	return errors.Join(err, v.Audit(facts).Err())
}

func virtual(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	v := newVirtualTally(t)
	if seed%2 == 1 { // a fault of a topic meets who names it, and within a session nobody does
		v.Kafka = append(v.Kafka, kgo.DisableFetchSessions())
	}
	const records = 900
	ctx, c, log, adm := v.ctx, v.c, v.log, v.adm
	names := offsets.Names{Application: v.App, Timeline: 1}
	copies := processor.Standbys(int(seed / 2 % 2))
	v.start("a", copies)
	v.start("b", copies)
	again := func(name string) {
		if err := v.stop(name); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		v.start(name, copies)
	}
	var faults []*kfake.FaultHandle
	keys := make([]kmsg.Key, 0, len(faultsOf))
	for k := range kmsg.Key(100) {
		if faultsOf[k] != nil {
			keys = append(keys, k)
		}
	}
	for at := 0; at < records; at += 30 {
		if err := v.Load(ctx, v.brokers, at, at+30, at+30 == records); err != nil {
			t.Fatalf("load: %v\n%s", err, log)
		}
		name := []string{"a", "b"}[rnd.IntN(2)]
		switch rnd.IntN(20) {
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
		case 8, 9: // a savepoint is asked for, and nobody waits for it
			id := fmt.Sprintf("sp-%d", at)
			_, err := v.admin().RequestSavepoint(ctx, admin.SavepointOptions{ID: id, Format: []string{"native", "portable"}[rnd.IntN(2)]})
			fmt.Fprintf(log, "savepoint %s: %v\n", id, err)
		case 6, 7: // some hear of what is decided later than others
			toss := rand.New(rand.NewPCG(seed, uint64(at)))
			n := 2 + rnd.IntN(12)
			fmt.Fprintf(log, "the control topic is slow x%d\n", n)
			faults = append(faults, c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: names.Control(), Err: kerr.NotLeaderForPartition, Count: n,
				When: func(kmsg.Request) bool { return toss.IntN(2) == 0 }}))
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
	out, err := v.Await(ctx, v.brokers, records)
	if err == nil {
		err = v.Check(out, records).Err()
	}
	for _, f := range faults {
		f.Remove()
	}
	if err == nil {
		_, err = v.completed()
	}
	if err == nil {
		err = v.nothingIsLeftOfDeclined()
	}
	for name := range v.stops {
		err = errors.Join(err, v.stop(name))
	}
	// Not Clean: a fault may have taken a task from both when they were stopped.
	if err = errors.Join(err, v.audit("a", "b")); err != nil {
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
