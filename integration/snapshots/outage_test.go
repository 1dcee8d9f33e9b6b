package snapshots

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// The object store is not there: the checkpoint is declined with an error that says so and what
// to do, and records are processed. When the store comes up the next checkpoint completes,
// without a restart; and the same when it goes away and comes again.
func TestObjectStoreThatComesAndGoes(t *testing.T) {
	credentials(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	backend := s3mem.New()
	if err := backend.CreateBucket("state"); err != nil {
		t.Fatal(err)
	}
	up := func() (down func()) {
		t.Helper()
		l, err := net.Listen("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: gofakes3.New(backend).Server(), ReadHeaderTimeout: time.Minute}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		return func() {
			if err := errors.Join(s.Close(), <-ended); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}
	}

	top := topology.New("away")
	topology.From(top, topology.NewTopic("in", codec.String, codec.String)).Count("counts").To(topology.NewTopic("out", codec.String, codec.Int64))
	plan, err := top.Build()
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	dir := t.TempDir()
	go func() {
		done <- processor.Run(running, plan, processor.Brokers(c.ListenAddrs()...), processor.StateDir(dir), processor.Lanes(1), processor.CommitInterval(20*time.Millisecond),
			processor.CheckpointInto(processor.Checkpoints{Dir: location(host, "state", "prod"), Interval: -1}))
	}()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	works := func() {
		t.Helper()
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for n := 0; n == 0; n += cl.PollFetches(ctx).NumRecords() {
			if ctx.Err() != nil {
				t.Fatal("nothing is processed")
			}
		}
	}
	adm, err := admin.New("away", kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	declined := func() {
		t.Helper()
		_, err := adm.TriggerCheckpoint(ctx, admin.CheckpointOptions{Full: true}, nil)
		if !errors.Is(err, admin.ErrDeclined) {
			t.Fatal(err)
		}
		for _, want := range []string{"upload-failed", "connection refused", "s3://state/prod/away/", "check the endpoint, the network and the credentials", "the application goes on"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v lacks %q", err, want)
			}
		}
		works()
	}
	completes := func() {
		t.Helper()
		works()
		k, err := adm.TriggerCheckpoint(ctx, admin.CheckpointOptions{Full: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		found, err := admin.InspectSavepoint(ctx, location(host, "state", "prod/away/"+k.Manifest), true)
		if err != nil || found.Cut != k.ID || found.Bytes != k.Bytes {
			t.Errorf("%+v, %v", found, err)
		}
	}
	works()
	declined()
	down := up()
	completes()
	down()
	declined()
	down = up()
	completes()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	down()
}
