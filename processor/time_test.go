package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sendAt writes a record with an event time.
func (r *rig) sendAt(topic string, partition int32, key string, at time.Duration) {
	r.t.Helper()
	rec := &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: i64(1), Timestamp: noon.Add(at)}
	if err := r.cl.ProduceSync(r.ctx, rec).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// hours counts per hour, with final results, behind a topic of its own. through may add
// what comes in front of that topic.
func hours(t *testing.T, through func(*topology.Builder) topology.Stream[string, int64]) *topology.Plan {
	t.Helper()
	b := topology.New("bad")
	byKey := through(b).Repartition("by-key")
	topology.Window(byKey, window.Tumbling(time.Hour).EmitFinal()).Count("counts").
		To(topology.NewTopic("out", topology.WindowedKey(codec.String), codec.Int64))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// final waits for n results, as "key@hour=count".
func (r *rig) final(n int) (got []string) {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	keys := topology.WindowedKey(codec.String)
	for len(got) < n {
		fs := cl.PollFetches(r.ctx)
		if r.ctx.Err() != nil {
			r.t.Fatalf("time stands still: got %v, want %d windows", got, n)
		}
		for _, rec := range fs.Records() {
			k, err := keys.Decode(rec.Key)
			if err != nil {
				r.t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s@%d=%d", k.Key, k.Start.Sub(noon)/time.Hour, binary.BigEndian.Uint64(rec.Value)))
		}
	}
	return got
}

// timeOf is the committed time of a task that reads in, as its metadata has it.
func (r *rig) timeOf(topic string, partition int32) time.Duration {
	got, err := r.adm.FetchOffsets(r.ctx, "bad.1")
	if err != nil {
		return -1
	}
	o, ok := got.Lookup(topic, partition)
	if !ok {
		return -1
	}
	m, err := offsets.DecodeMetadata(o.Metadata)
	if err != nil || m.Time == offsets.NoTime {
		return -1
	}
	return time.UnixMilli(m.Time).Sub(noon)
}

// A task without windows merges two topics. One is ahead in time and has nothing new; it
// is never given up as idle. Time went on with the other one before a restart, and so it
// must behind it: what was heard of each input is in the metadata beside its position.
func TestTimeOfMergedSourcesGoesOnAfterARestart(t *testing.T) {
	r := newRig(t, kfake.SeedTopics(2, "ahead"))
	plan := hours(t, func(b *topology.Builder) topology.Stream[string, int64] {
		never := topology.IdleAfter(0)
		return topology.From(b, badIn, never).Merge(topology.From(b, topology.NewTopic("ahead", codec.String, codec.Int64), never))
	})
	for p := range int32(2) {
		r.sendAt("in", p, "a", 0)
		r.sendAt("ahead", p, "b", 5*time.Hour)
	}
	r.ran(plan, func() bool { return r.timeOf("in", 0) == 0 && r.timeOf("in", 1) == 0 && r.timeOf("ahead", 0) == 0 })
	for p := range int32(2) {
		r.sendAt("in", p, "c", 2*time.Hour)
	}
	ctx, stop := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- processor.Run(ctx, plan, r.options()...) }()
	if got := fmt.Sprint(r.final(1)); got != "[a@0=2]" {
		t.Errorf("got %s, want the first hour with both records", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A task says once that it is idle. It fell idle less than a second after it had spoken
// last, so the mark was put off, and then forgotten: its readers waited for it for ever. An
// aborted transaction took a mark back with the same effect.
func TestIdleMarkIsSaid(t *testing.T) {
	r := newRig(t)
	plan := hours(t, func(b *topology.Builder) topology.Stream[string, int64] {
		return topology.From(b, badIn, topology.IdleAfter(100*time.Millisecond))
	})
	r.sendAt("in", 0, "a", 0)
	r.sendAt("in", 1, "b", 0)
	ctx, stop := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- processor.Run(ctx, plan, r.options()...) }()
	for r.timeOf("in", 0) != 0 || r.timeOf("in", 1) != 0 {
		if pause(r.ctx) != nil {
			t.Fatal("out of time")
		}
	}
	r.sendAt("in", 0, "a", 2*time.Hour) // partition 1 stays silent
	got := r.final(2)
	slices.Sort(got)
	if !slices.Equal(got, []string{"a@0=1", "b@0=1"}) {
		t.Errorf("got %v, want the first hour of both keys", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}

// A task without windows in the middle keeps no row of what its producers said. Restored
// alone it hears from them again, though they have nothing new to say: one stands further
// on than the other, and one is idle.
func TestTimeIsSaidAgainToWhoForgetsIt(t *testing.T) {
	for name, silent := range map[string]struct {
		idleAfter time.Duration
		at        time.Duration // of the silent partition
		want      []string
	}{
		"ahead": {0, 5 * time.Hour, []string{"a@0=1", "break@0=1"}},
		"idle":  {300 * time.Millisecond, -time.Hour, []string{"a@0=1", "break@0=1", "silent@-1=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var broken atomic.Bool
			plan := hours(t, func(b *topology.Builder) topology.Stream[string, int64] {
				s := topology.From(b, badIn, topology.IdleAfter(silent.idleAfter)).Repartition("middle")
				return s.Peek(func(k string, _ int64) error {
					if k == "break" && broken.CompareAndSwap(false, true) {
						return errors.New("once")
					}
					return nil
				})
			})
			r.sendAt("in", 1, "silent", silent.at)
			r.sendAt("in", 0, "a", 0)
			failed, back := make(chan offsets.Task, 1), make(chan struct{}, 1)
			var which atomic.Pointer[offsets.Task]
			ctx, stop := context.WithCancel(r.ctx)
			done := make(chan error, 1)
			go func() {
				done <- processor.Run(ctx, plan, r.options(processor.RemindEvery(2*time.Second), processor.Events(&processor.Listener{
					TaskFailed: func(i processor.FailedInfo) { which.Store(&i.Task); failed <- i.Task },
					TaskRestored: func(i processor.RestoredInfo) {
						if w := which.Load(); w != nil && *w == i.Task {
							back <- struct{}{}
						}
					},
				}))...)
			}()
			for r.timeOf("bad.1.middle.repartition", 0) != 0 || r.timeOf("bad.1.middle.repartition", 1) != 0 {
				if pause(r.ctx) != nil {
					t.Fatal("the middle did not hear of noon")
				}
			}
			r.sendAt("in", 0, "break", 0)
			<-failed
			<-back
			for i := range 8 { // so that both tasks of the middle get one
				r.sendAt("in", 0, fmt.Sprint("k", i), 2*time.Hour)
			}
			got := r.final(len(silent.want))
			slices.Sort(got)
			if !slices.Equal(got, silent.want) {
				t.Errorf("got %v, want %v", got, silent.want)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
