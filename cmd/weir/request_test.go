package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// A transaction is open in the control topic when somebody asks for a checkpoint, or a
// savepoint: the coordinator's, mostly. What was asked for lies behind it and cannot be read
// yet, and is not taken for something else.
func TestRequestBehindAnOpenTransaction(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"in": 2, "out": 2})
	running, stop := context.WithCancel(ctx)
	done := startRekey(t, running, b, processor.CheckpointInto(processor.Checkpoints{Dir: t.TempDir(), Interval: -1}))
	cl, err := admin.New("bench", kgo.SeedBrokers(b))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for { // until it runs
		if _, err = cl.TriggerCheckpoint(ctx, admin.CheckpointOptions{ID: "first"}, nil); err == nil {
			break
		}
		if !errors.Is(err, admin.ErrNotBorn) && !errors.Is(err, admin.ErrNotRunning) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	topic := offsets.Names{Application: "bench"}.Control()
	open, err := kgo.NewClient(kgo.SeedBrokers(b), kgo.TransactionalID("somebody"), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	end := func() int64 {
		t.Helper()
		ends, err := kadm.NewClient(open).ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		at, _ := ends.Lookup(topic, 0)
		return at.Offset
	}
	for _, ask := range []func() (string, error){
		func() (string, error) {
			k, err := cl.RequestCheckpoint(ctx, admin.CheckpointOptions{ID: "c"})
			return k.Request, err
		},
		func() (string, error) {
			s, err := cl.RequestSavepoint(ctx, admin.SavepointOptions{ID: "s"})
			return s.ID, err
		},
	} {
		if err := open.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := open.ProduceSync(ctx, kgo.StringRecord("never committed")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		before := end()
		type answer struct {
			id  string
			err error
		}
		answered := make(chan answer, 1)
		go func() {
			id, err := ask()
			answered <- answer{id, err}
		}()
		for end() == before && ctx.Err() == nil { // until it is asked for
			select {
			case a := <-answered:
				t.Fatalf("%+v before it was asked for", a)
			case <-time.After(10 * time.Millisecond):
			}
		}
		if err := open.EndTransaction(ctx, kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		if a := <-answered; a.err != nil || a.id == "" {
			t.Errorf("%+v", a)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
