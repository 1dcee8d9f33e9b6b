package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// The group's part of the traps in traps_test.go: who may commit, and when.

// While a lane processes, the group has to wait: a task given away in the middle of an epoch
// would be processed by two, the second one from the position before. A turn with records in
// memory once did not poll, and so did not hold the group.
func TestGroupWaitsForTheEpoch(t *testing.T) {
	r := newRig(t)
	var (
		mu        sync.Mutex
		joined    = map[string]int{} // JoinGroup requests by instance
		beats     int                // heartbeats of one since two asked to join
		condition = sync.NewCond(&mu)
	)
	instance := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	r.c.ControlKey(kmsg.JoinGroup.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.c.KeepControl()
		mu.Lock()
		joined[instance(kreq.(*kmsg.JoinGroupRequest).InstanceID)]++
		mu.Unlock()
		return nil, nil, false
	})
	r.c.ControlKey(kmsg.Heartbeat.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.c.KeepControl()
		mu.Lock()
		if joined["two.0"] > 0 && instance(kreq.(*kmsg.HeartbeatRequest).InstanceID) == "one.0" {
			beats++
			condition.Broadcast()
		}
		mu.Unlock()
		return nil, nil, false
	})
	stuck, goOn := make(chan struct{}), make(chan struct{})
	var at atomic.Int64
	plan := func() *topology.Plan {
		b := topology.New("held")
		in := topology.From(b, topology.NewTopic("in", codec.String, codec.String))
		in.Peek(func(string, string) error {
			// Deep in what one poll has brought: some epochs have ended since.
			if at.Add(1) == 3000 {
				close(stuck)
				<-goOn
			}
			return nil
		}).To(topology.NewTopic("out", codec.String, codec.String))
		p, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const n = 8000
	for i := range n {
		r.cl.Produce(r.ctx, &kgo.Record{Topic: "in", Partition: int32(i % 2), Key: binary.BigEndian.AppendUint32(nil, uint32(i)), Value: []byte("v")}, nil)
	}
	if err := r.cl.Flush(r.ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	done := make(chan error, 2)
	run := func(name string) {
		dir := t.TempDir()
		p := plan()
		go func() {
			done <- processor.Run(ctx, p, r.options(processor.InstanceID(name), processor.StateDir(dir), processor.CommitBytes(4<<10),
				processor.HeartbeatInterval(30*time.Millisecond), processor.Logger(zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)))...)
		}()
	}
	run("one")
	select {
	case <-stuck:
	case <-r.ctx.Done():
		t.Fatal("the first worker did not come to its record")
	}
	mu.Lock()
	before := joined["one.0"]
	mu.Unlock()
	run("two")
	unlock := context.AfterFunc(r.ctx, condition.Broadcast)
	defer unlock()
	mu.Lock()
	for beats < 10 && joined["one.0"] == before && r.ctx.Err() == nil {
		condition.Wait()
	}
	if joined["one.0"] != before {
		t.Error("the group took its turn while an epoch was open")
	}
	if r.ctx.Err() != nil {
		t.Error("the first worker was not told of the second")
	}
	mu.Unlock()
	close(goOn)
	seen := map[string]int{}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(seen) < n && r.ctx.Err() == nil {
		cl.PollFetches(r.ctx).EachRecord(func(rec *kgo.Record) { seen[string(rec.Key)]++ })
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for k, c := range seen {
		if c != 1 {
			t.Fatalf("record %x came out %d times", k, c)
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d records came out", len(seen), n)
	}
}

// The client can lose its membership without a word: a JoinGroup is answered with
// UNKNOWN_MEMBER_ID, it joins anew under another id, and reads on. It knows that id before any
// callback has said what became of the tasks; a commit under it would be accepted for tasks
// that others have by now. So nothing is committed between the two.
func TestNothingIsCommittedBetweenJoinAndAssignment(t *testing.T) {
	tr := newTrap(t)
	var (
		mu      sync.Mutex
		changed = sync.NewCond(&mu)
		member  string // of the worker, as it last committed
		refused bool   // its JoinGroup was, once
		holding bool   // its SyncGroup is not answered
		fetches int    // of its input, while held
		stolen  string
	)
	wait := func(what string, f func() bool) {
		t.Helper()
		unlock := context.AfterFunc(tr.ctx, changed.Broadcast)
		defer unlock()
		mu.Lock()
		defer mu.Unlock()
		for !f() {
			if tr.ctx.Err() != nil {
				t.Fatalf("waited in vain: %s", what)
			}
			changed.Wait()
		}
	}
	ours := func(instance *string) bool { return instance != nil && strings.HasPrefix(*instance, "one.") }
	on := func(kind kmsg.Key, f func(kmsg.Request) kmsg.Response) {
		tr.c.ControlKey(kind.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			tr.c.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			defer changed.Broadcast()
			resp := f(req)
			return resp, nil, resp != nil
		})
	}
	on(kmsg.JoinGroup, func(kreq kmsg.Request) kmsg.Response {
		req := kreq.(*kmsg.JoinGroupRequest)
		if !ours(req.InstanceID) || member == "" || refused || req.MemberID == "" {
			return nil
		}
		refused = true
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.UnknownMemberID.Code
		return resp
	})
	on(kmsg.SyncGroup, func(kreq kmsg.Request) kmsg.Response {
		req := kreq.(*kmsg.SyncGroupRequest)
		if !ours(req.InstanceID) || !refused || fetches >= 3 {
			return nil
		}
		holding = true
		changed.Broadcast()
		mu.Unlock()
		// Others are answered meanwhile.
		tr.c.SleepControl(func() {
			mu.Lock()
			defer mu.Unlock()
			for fetches < 3 && stolen == "" && tr.ctx.Err() == nil {
				changed.Wait()
			}
		})
		mu.Lock()
		holding = false
		return nil
	})
	on(kmsg.Fetch, func(kmsg.Request) kmsg.Response {
		if holding {
			fetches++
		}
		return nil
	})
	on(kmsg.TxnOffsetCommit, func(kreq kmsg.Request) kmsg.Response {
		req := kreq.(*kmsg.TxnOffsetCommitRequest)
		if !ours(req.InstanceID) {
			return nil
		}
		if holding && req.MemberID != member && stolen == "" {
			stolen = req.MemberID
		}
		if !holding {
			member = req.MemberID
		}
		return nil
	})
	const n = 40_000
	load := func(from, to int) {
		t.Helper()
		if err := tr.ta.Load(tr.ctx, tr.c.ListenAddrs(), from, to, to == n); err != nil {
			t.Fatal(err)
		}
	}
	load(0, n/4)
	opts := []processor.Option{processor.Lanes(1), processor.HeartbeatInterval(30 * time.Millisecond), processor.CommitInterval(10 * time.Millisecond)}
	stopOne := start(t, tr.c, tr.ta, t.TempDir(), append(opts, processor.InstanceID("one"))...)
	wait("a first commit", func() bool { return member != "" })
	stopTwo := start(t, tr.c, tr.ta, t.TempDir(), append(opts, processor.InstanceID("two"))...)
	wait("the second joining", func() bool { return holding || fetches >= 3 })
	load(n/4, n/2) // so that there is something to commit
	wait("the group's answer", func() bool { return !holding })
	load(n/2, n)
	out, err := tr.ta.Await(tr.ctx, tr.c.ListenAddrs(), n)
	if err == nil {
		err = tr.ta.Check(out, n).Err()
	}
	if err := errors.Join(err, stopOne(), stopTwo()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if stolen != "" {
		t.Errorf("positions were committed as %s, a member whose assignment was not known yet", stolen)
	}
	if !refused {
		t.Error("the membership was never lost")
	}
}
