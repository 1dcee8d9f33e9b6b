package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// rig is a broker with topics in and out of two partitions.
type rig struct {
	t   *testing.T
	ctx context.Context
	c   *kfake.Cluster
	cl  *kgo.Client
	adm *kadm.Client
	dir string
}

func newRig(t *testing.T, opts ...kfake.Opt) *rig {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(2, "in", "out")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &rig{t, ctx, c, cl, kadm.NewClient(cl), t.TempDir()}
}

func (r *rig) options(more ...processor.Option) []processor.Option {
	return append([]processor.Option{
		processor.Brokers(r.c.ListenAddrs()...), processor.StateDir(r.dir), processor.Lanes(1),
		processor.CommitInterval(10 * time.Millisecond), processor.Logger(zerolog.Nop()),
	}, more...)
}

// refused runs a worker that must end by itself and returns its error.
func (r *rig) refused(plan *topology.Plan, opts ...processor.Option) error {
	r.t.Helper()
	err := processor.Run(r.ctx, plan, r.options(opts...)...)
	if err == nil || r.ctx.Err() != nil {
		r.t.Fatalf("the worker was not refused: %v", err)
	}
	return err
}

// says wants a message with what is wrong, where, and what to do.
func says(t *testing.T, err, class error, parts ...string) {
	t.Helper()
	if class != nil && !errors.Is(err, class) {
		t.Errorf("%v: want it to be %q", err, class)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

// ran runs a worker until the condition holds, then stops it.
func (r *rig) ran(plan *topology.Plan, until func() bool, opts ...processor.Option) {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- processor.Run(ctx, plan, r.options(opts...)...) }()
	for !until() {
		select {
		case err := <-done:
			r.t.Fatalf("the worker ended: %v", err)
		case <-r.ctx.Done():
			r.t.Fatal("out of time")
		case <-time.After(5 * time.Millisecond):
		}
	}
	stop()
	if err := <-done; err != nil {
		r.t.Fatalf("stop: %v", err)
	}
}

func (r *rig) send(partition int32, key string, value []byte) {
	r.t.Helper()
	rec := &kgo.Record{Topic: "in", Partition: partition, Key: []byte(key), Value: value}
	if err := r.cl.ProduceSync(r.ctx, rec).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// out is what read_committed readers see, as "key=value" with int64 values.
func (r *rig) out(n int) []string {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	var got []string
	for len(got) < n {
		fs := cl.PollFetches(r.ctx)
		if r.ctx.Err() != nil {
			r.t.Fatalf("read %v, want %d records", got, n)
		}
		for _, rec := range fs.Records() {
			got = append(got, fmt.Sprintf("%s=%d", rec.Key, int64(binary.BigEndian.Uint64(rec.Value))))
		}
	}
	return got
}

func (r *rig) committed() (sum int64) {
	got, err := r.adm.FetchOffsets(r.ctx, "bad.1")
	if err != nil {
		return 0
	}
	got.Each(func(o kadm.OffsetResponse) {
		if o.Topic == "in" {
			sum += o.At
		}
	})
	return sum
}

func i64(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }

var (
	badIn  = topology.NewTopic("in", codec.String, codec.Int64)
	badOut = topology.NewTopic("out", codec.String, codec.Int64)
)

// sums adds values per key; f sees each value before and may refuse it.
func sums(t *testing.T, f func(k string, v int64) ([]int64, error)) *topology.Plan {
	t.Helper()
	b := topology.New("bad")
	parts := topology.FlatMapValues(topology.From(b, badIn), f)
	topology.Aggregate(parts, "sums", codec.Int64, func(_ string, v, sum int64) (int64, error) {
		if v == 666 {
			return 0, errors.New("the aggregate refuses 666")
		}
		return sum + v, nil
	}).To(badOut)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func same(_ string, v int64) ([]int64, error) { return []int64{v}, nil }

// A record that cannot be processed has no effect at all, everything before it is
// committed, its task stops with a typed error, and the other task goes on.
func TestFailedRecordHasNoEffect(t *testing.T) {
	for name, c := range map[string]struct {
		f    func(string, int64) ([]int64, error)
		poor []byte
		text string
	}{
		"undecodable": {same, []byte("short"), "int64"},
		"user error": {func(_ string, v int64) ([]int64, error) {
			if v == 13 {
				return nil, errors.New("thirteen is refused")
			}
			return []int64{v}, nil
		}, i64(13), "thirteen is refused"},
		"panic": {func(_ string, v int64) ([]int64, error) {
			if v == 13 {
				panic("thirteen panics")
			}
			return []int64{v}, nil
		}, i64(13), "thirteen panics"},
		"behind the third of five outputs": {func(_ string, v int64) ([]int64, error) {
			if v == 13 {
				return []int64{1, 1, 666, 1, 1}, nil
			}
			return []int64{v}, nil
		}, i64(13), "the aggregate refuses 666"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.send(0, "a", i64(1))
			}
			r.send(0, "a", c.poor)
			r.send(0, "a", i64(1))
			failed := make(chan processor.FailedInfo, 100)
			listener := &processor.Listener{TaskFailed: func(i processor.FailedInfo) {
				select {
				case failed <- i:
				default:
				}
			}}
			plan := sums(t, c.f)
			r.ran(plan, func() bool { return len(failed) > 0 && r.committed() >= 3 }, processor.Events(listener))
			info := <-failed
			var oe *task.OperatorError
			if !errors.As(info.Err, &oe) {
				t.Fatalf("%v (%T), want an OperatorError", info.Err, info.Err)
			}
			if oe.Topic != "in" || oe.Partition != 0 || oe.Offset != 3 || oe.Node == "" || !strings.Contains(oe.Site, "badinput_test.go:") {
				t.Errorf("%+v: want node, source line and in/0@3", oe)
			}
			says(t, info.Err, nil, c.text)
			// The other task works on, and so does this one up to the record.
			for range 2 {
				r.send(1, "b", i64(5))
			}
			r.ran(plan, func() bool { return r.committed() == 5 })
			got := fmt.Sprint(r.out(5))
			for _, want := range []string{"a=1 a=2 a=3", "b=5 b=10"} {
				if !strings.Contains(got, want) {
					t.Errorf("outputs %s, want %s among them", got, want)
				}
			}
			if strings.Contains(got, "a=4") || len(r.out(5)) != 5 {
				t.Errorf("outputs %s: the failed record, or one behind it, had an effect", got)
			}
			// Mended, it goes on where it stopped.
			if name == "undecodable" {
				return
			}
			r.ran(sums(t, same), func() bool { return r.committed() == 7 })
			if got := r.out(7); !strings.Contains(fmt.Sprint(got), "a=16 a=17") {
				t.Errorf("after the repair: %v, want a=16 a=17 at the end", got)
			}
		})
	}
}

func TestMissingTopicsAreListed(t *testing.T) {
	r := newRig(t)
	b := topology.New("bad")
	topology.From(b, topology.NewTopic("nowhere", codec.String, codec.Int64)).To(topology.NewTopic("neither", codec.String, codec.Int64))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	says(t, r.refused(plan), processor.ErrTopic, "source topic nowhere does not exist", "sink topic neither does not exist", "create it")
}

func TestMergedSourcesNeedEqualPartitions(t *testing.T) {
	r := newRig(t, kfake.SeedTopics(3, "wide"))
	b := topology.New("bad")
	merged := topology.From(b, badIn).Merge(topology.From(b, topology.NewTopic("wide", codec.String, codec.Int64)))
	merged.Count("n").To(badOut)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	says(t, r.refused(plan), processor.ErrTopic, "in has 2 partitions", "wide has 3", "Repartition")
}

func TestRecreatedSourceIsRefused(t *testing.T) {
	r := newRig(t)
	plan := sums(t, same)
	r.send(0, "a", i64(1))
	r.ran(plan, func() bool { return r.committed() == 1 })
	if _, err := r.adm.DeleteTopics(r.ctx, "in"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.adm.CreateTopic(r.ctx, 2, 1, nil, "in"); err != nil {
		t.Fatal(err)
	}
	says(t, r.refused(plan), processor.ErrTopic, "topic in was deleted and created again", "new application name")
}

func TestGrownSourceIsRefused(t *testing.T) {
	r := newRig(t)
	plan := sums(t, same)
	r.send(0, "a", i64(1))
	r.ran(plan, func() bool { return r.committed() == 1 })
	if _, err := r.adm.UpdatePartitions(r.ctx, 4, "in"); err != nil {
		t.Fatal(err)
	}
	says(t, r.refused(plan), processor.ErrTopic, "topic in has 4 partitions, had 2")
}

func TestExpiredPositionsAreRefused(t *testing.T) {
	r := newRig(t)
	plan := sums(t, same)
	r.send(0, "a", i64(1))
	r.ran(plan, func() bool { return r.committed() == 1 }, processor.LeaveOnStop())
	if _, err := r.adm.DeleteGroup(r.ctx, "bad.1"); err != nil {
		t.Fatal(err)
	}
	r.givesUp(plan, processor.ErrPosition, "no position for ", "expired")
}

// givesUp wants the worker to end by itself: what is gone does not come back by trying again.
func (r *rig) givesUp(plan *topology.Plan, class error, parts ...string) {
	r.t.Helper()
	tried := 0
	err := r.refused(plan, processor.Events(&processor.Listener{TaskFailed: func(processor.FailedInfo) { tried++ }}))
	says(r.t, err, class, append(parts, "given up, as trying again does not help")...)
	if !errors.Is(err, processor.ErrGaveUp) || tried > 0 {
		r.t.Errorf("tried again %d times, then %v", tried, err)
	}
}

// failsWith wants a task to fail with the error.
func (r *rig) failsWith(plan *topology.Plan, class error, parts ...string) {
	r.t.Helper()
	failed := make(chan error, 100)
	listener := &processor.Listener{TaskFailed: func(i processor.FailedInfo) {
		select {
		case failed <- i.Err:
		default:
		}
	}}
	ctx, stop := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- processor.Run(ctx, plan, r.options(processor.Events(listener))...) }()
	defer func() { stop(); <-done }()
	select {
	case err := <-failed:
		says(r.t, err, class, parts...)
	case err := <-done:
		done <- err
		says(r.t, err, class, parts...)
	case <-r.ctx.Done():
		r.t.Fatal("no task failed")
	}
}

func TestPositionBelowTheLogIsRefused(t *testing.T) {
	r := newRig(t)
	plan := sums(t, same)
	r.send(0, "a", i64(1))
	r.ran(plan, func() bool { return r.committed() == 1 })
	for range 5 {
		r.send(0, "a", i64(1))
	}
	var o kadm.Offsets
	o.AddOffset("in", 0, 4, -1)
	if _, err := r.adm.DeleteRecords(r.ctx, o); err != nil {
		t.Fatal(err)
	}
	r.givesUp(plan, processor.ErrPosition, "position 1 of in/0 is outside the log [4, 6]")
}

func TestOtherPlanIsRefused(t *testing.T) {
	r := newRig(t)
	r.send(0, "a", i64(1))
	r.ran(sums(t, same), func() bool { return r.committed() == 1 })
	b := topology.New("bad")
	topology.From(b, badIn).Count("counts").To(badOut)
	other, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	says(t, r.refused(other), processor.ErrPlan, "sums", "counts", "new application name")
}

func TestStateDirectoryOfAnotherApplicationIsRefused(t *testing.T) {
	r := newRig(t)
	r.send(0, "a", i64(1))
	r.ran(sums(t, same), func() bool { return r.committed() == 1 })
	b := topology.New("other")
	topology.From(b, badIn).To(badOut)
	other, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	says(t, r.refused(other), changelog.ErrForeign, "bad", "other", r.dir)
}

func TestStateDirectoryInUseIsRefused(t *testing.T) {
	r := newRig(t)
	db, err := changelog.Open(changelog.DBOptions{Dir: r.dir, Application: "bad"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	says(t, r.refused(sums(t, same)), changelog.ErrLocked, r.dir)
}

// At the start the worker is refused; a disk that fills up later is in disk_linux_test.go.
func TestFullDiskIsRefused(t *testing.T) {
	r := newRig(t)
	says(t, r.refused(sums(t, same), processor.MinFreeDisk(math.MaxInt64)), changelog.ErrDiskFull, "state directory "+r.dir, "MiB free", "free some space")
}

func TestTooLargeRecordFailsItsTask(t *testing.T) {
	r := newRig(t)
	b := topology.New("bad")
	big := topology.MapValues(topology.From(b, badIn), func(string, int64) ([]byte, error) { return make([]byte, 8<<20), nil })
	big.WithValueCodec(codec.Bytes).To(topology.NewTopic("out", codec.String, codec.Bytes))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	r.send(0, "a", i64(1))
	r.failsWith(plan, nil, "record", "out", "large")
}

func TestAuthenticationFailureIsClear(t *testing.T) {
	r := newRig(t, kfake.EnableSASL(), kfake.User("PLAIN", "right", "right"))
	err := processor.Run(r.ctx, sums(t, same), r.options(processor.SASL(plain.Auth{User: "wrong", Pass: "wrong"}.AsMechanism()))...)
	says(t, err, processor.ErrUnreachable, "password")
}

func TestOldBrokersAreRefused(t *testing.T) {
	r := newRig(t, kfake.MaxVersions(kversion.V3_6_0()))
	says(t, r.refused(sums(t, same)), processor.ErrBroker, "transaction.version", "AllowOldBrokers")
}
