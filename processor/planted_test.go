//go:build synctests && failpoints

package processor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
)

// mistakes that the engine makes when it is built for it and told to: see planted.
var mistakes = []string{
	"commit before the flush",
	"ignore fencing",
	"restore without the tail",
	"drop a key on restore",
	"process a record twice",
	"take an unknown end for a commit",
	"trust the disk after a crash",
}

// The checks are worth something only if they notice when the engine is wrong. It is made wrong in one place at a time,
// and lives through a day with everything in it that the place is for; without a mistake the same day passes.
func TestVirtualPlantedMistakes(t *testing.T) {
	if plant, set := os.LookupEnv("WEIR_PLANT"); set {
		synctest.Test(t, func(t *testing.T) { day(t, plant) })
		return
	}
	var g errgroup.Group
	g.SetLimit(2)
	for _, plant := range append([]string{""}, mistakes...) {
		g.Go(func() error {
			cmd := exec.Command(os.Args[0], "-test.run=^TestVirtualPlantedMistakes$", "-test.count=1", "-test.timeout="+(3*realLimit).String())
			cmd.Env = append(os.Environ(), "WEIR_PLANT="+plant)
			began := time.Now()
			out, err := cmd.CombinedOutput()
			took := time.Since(began).Round(time.Millisecond)
			found := regexp.MustCompile(`(?m)^ +(I\d+).*`).FindAllStringSubmatch(string(out), -1)
			switch {
			case plant == "" && err != nil:
				t.Errorf("without a mistake: %v\n%s", err, out)
			case plant == "":
				t.Logf("without a mistake: right, in %s", took)
			case err == nil || len(found) == 0:
				t.Errorf("%s: not noticed (%v)\n%s", plant, err, out)
			default:
				t.Logf("%s: noticed in %s: %s", plant, took, strings.TrimSpace(found[0][0]))
			}
			return nil
		})
	}
	_ = g.Wait()
}

// mistakes about cuts, and the tests that notice them.
var cutMistakes = map[string]string{
	"process what was sent behind the cut":       "^TestVirtualWhatIsSentBehindACutWaits$",
	"acknowledge the positions before the epoch": "^TestVirtualFaults$",
	"trim what a checkpoint needs":               "^TestVirtualTrimKeepsWhatCheckpointsNeed$",
	"copy what was sent behind the cut":          "^TestVirtualFaults$",
}

// Each is noticed, in one of the first schedules if it needs two workers and faults to show: a
// checkpoint is not what the inputs give (I8).
func TestVirtualPlantedCuts(t *testing.T) {
	const schedules = 60
	var g errgroup.Group
	g.SetLimit(2)
	for plant, test := range cutMistakes {
		g.Go(func() error {
			for seed := range schedules {
				cmd := exec.Command(os.Args[0], "-test.run="+test, "-test.count=1", "-test.timeout="+realLimit.String())
				cmd.Env = append(os.Environ(), "WEIR_PLANT="+plant, "WEIR_SEED="+strconv.Itoa(seed))
				out, err := cmd.CombinedOutput()
				if found := regexp.MustCompile(`(?m)I8 .*`).Find(out); err != nil && found != nil {
					t.Logf("%s: noticed in schedule %d: %s", plant, seed, found)
					return nil
				}
			}
			t.Errorf("%s: not noticed in %d schedules", plant, schedules)
			return nil
		})
	}
	_ = g.Wait()
}

// day is the life of an application on a fake broker: worker a has all tasks, then b, then a again with what it had on
// disk; a commit is left without an answer; a is a zombie for a while; its machine crashes.
func day(t *testing.T, plant string) {
	virtualNet := new(kfake.VirtualNetwork)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(virtualNet.Listen), kfake.Ports(9092),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dial := kgo.Dialer(slowly(virtualNet.DialContext))
	ta := tally.Tally{App: "day", Keys: 20, Groups: 5, Partitions: 2, Kafka: []kgo.Opt{dial}}
	brokers := []string{"localhost:9092"}
	if err := ta.CreateTopics(ctx, brokers, 1); err != nil {
		t.Fatal(err)
	}
	log := new(lines)
	dir := t.TempDir()
	worker := func(name string) (stop func()) {
		plan, err := ta.Plan()
		if err != nil {
			t.Fatal(err)
		}
		wctx, end := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- processor.Run(wctx, plan, processor.Brokers(brokers...), processor.Kafka(dial),
				processor.StateDir(filepath.Join(dir, name)), processor.InstanceID(name), processor.Lanes(1), processor.LeaveOnStop(),
				processor.CommitInterval(50*time.Millisecond), processor.CacheBytes(4<<20),
				processor.Logger(zerolog.New(io.MultiWriter(log)).Level(zerolog.InfoLevel).With().Str("worker", name).Logger()))
		}()
		return func() {
			end()
			if err := <-done; err != nil {
				t.Errorf("worker %s: %v", name, err)
			}
		}
	}
	loaded := 0
	load := func(n int, last bool) {
		t.Helper()
		for ; n > 0; n -= 20 { // several epochs
			if err := ta.Load(ctx, brokers, loaded, loaded+20, last && n <= 20); err != nil {
				t.Fatal(err)
			}
			loaded += 20
			time.Sleep(60 * time.Millisecond) // virtual, as all that follow
		}
		time.Sleep(3 * time.Second)
	}
	// Of the worker's commits, positions or ends, the broker refuses as many as it is told to.
	var positions, ends atomic.Int32
	c.ControlKey(kmsg.TxnOffsetCommit.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.TxnOffsetCommitRequest)
		if positions.Add(-1) < 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewTxnOffsetCommitResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, p := range rt.Partitions {
				sp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				sp.Partition, sp.ErrorCode = p.Partition, kerr.ProducerFenced.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	c.ControlKey(kmsg.EndTxn.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !kreq.(*kmsg.EndTxnRequest).Commit || ends.Add(-1) < 0 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})

	audit := func(when string, clean bool) {
		facts, err := ta.Collect(ctx, brokers, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
		if err == nil {
			if clean {
				facts.Clean = tally.Every
			}
			err = ta.Audit(facts).Err()
		}
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	defer func() {
		if t.Failed() {
			t.Logf("%s", log)
		}
	}()

	stop := worker("a")
	load(200, false)
	stop()
	audit("a has stopped", true)

	stop = worker("b")
	load(200, false)
	stop()
	audit("b has stopped", true)

	stop = worker("a")
	load(100, false)
	ends.Store(1)
	load(100, false)
	stop()
	audit("a has stopped again", true)
	if lost := crash(t, filepath.Join(dir, "a")); lost == 0 {
		t.Error("the crash lost no rows")
	}

	stop = worker("a")
	load(100, false)
	ends.Store(math.MaxInt32)
	load(20, false)
	stop()
	ends.Store(0)
	audit("a has stopped, in doubt about its last commit", false)

	stop = worker("a")
	load(100, false)
	positions.Store(math.MaxInt32)
	load(100, false)
	stop()
	positions.Store(0)
	audit("a has stopped, a zombie", false)

	stop = worker("a")
	load(100, true)
	wait, done := context.WithTimeout(ctx, 30*time.Second)
	out, late := ta.Await(wait, brokers, loaded)
	done()
	stop()
	if err := errors.Join(late, ta.Check(out, loaded).Err()); err != nil {
		t.Errorf("outputs: %v", err)
	}
	audit("the end", true)
}

// crash is what a machine leaves that lost its power: a directory that was not closed, of another life of the machine,
// where some pages of rows were not written although the marker was. It returns how many rows are lost.
func crash(t *testing.T, dir string) (lost int) {
	t.Helper()
	name := filepath.Join(dir, "STATE.json")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]any{}
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	state["boot"], state["clean"] = "the life before", false
	if text, err = json.Marshal(state); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
	db, err := badger.OpenManaged(badger.DefaultOptions(filepath.Join(dir, "rows")).WithLogger(nil).WithCompression(options.None).WithBlockCacheSize(0))
	if err != nil {
		t.Fatal(err)
	}
	txn := db.NewTransactionAt(math.MaxUint64, true)
	it := txn.NewIterator(badger.IteratorOptions{})
	for it.Rewind(); it.Valid(); it.Next() {
		// A row of a user's key, see FORMAT.md.
		if key := it.Item().KeyCopy(nil); !bytes.HasPrefix(key, make([]byte, 4)) && key[4] == 1 && lost < 8 {
			err = errors.Join(err, txn.Delete(key))
			lost++
		}
	}
	it.Close()
	if err := errors.Join(err, txn.CommitAt(db.MaxVersion()+1, nil), db.Close()); err != nil {
		t.Fatal(err)
	}
	return lost
}
