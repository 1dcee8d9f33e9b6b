//go:build synctests

package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// Records go round while requests fail, lanes are fenced and workers come and go: a lane reads
// back what it has written itself, and must read it once. One schedule for thirty of
// TestVirtualFaults.
func TestVirtualLoop(t *testing.T) {
	for seed := range max(seeds(t)/30, 1) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { virtualLoop(t, seed) })
		})
	}
}

func virtualLoop(t *testing.T, seed uint64) {
	const (
		starts = 30
		rounds = 12
		passes = rounds + 1 // of one start
		total  = (starts + 1) * passes
		closed = starts + 1 + rounds // windows, one per key
	)
	rnd := rand.New(rand.NewPCG(seed, 3))
	b := newBubble(t)
	if r, err := kadm.NewClient(b.cl).CreateTopic(b.ctx, 2, 1, nil, "passed"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	b.cl.AddConsumeTopics("passed")
	plan, dir := countdown(t), t.TempDir()
	worker := func(name string) func() error {
		ctx, cancel := context.WithCancel(b.ctx)
		done := make(chan error, 1)
		go func() {
			done <- processor.Run(ctx, plan, processor.Brokers("localhost:9092"), processor.Kafka(b.dial), processor.StateDir(filepath.Join(dir, name)),
				processor.InstanceID(name), processor.Lanes(1), processor.CommitInterval(50*time.Millisecond), processor.CacheBytes(4<<20),
				processor.Logger(zerolog.New(io.MultiWriter(b.log)).Level(zerolog.InfoLevel).With().Str("worker", name).Logger()))
		}()
		return func() error { cancel(); return <-done }
	}
	stops := map[string]func() error{"a": worker("a"), "b": worker("b")}
	end := func(name string) {
		stop := stops[name]
		delete(stops, name)
		if err := stop(); err != nil && !undecided(err) {
			t.Errorf("stop %s: %v", name, err)
		}
	}
	defer func() { // all goroutines of a bubble must have ended when it ends
		for name := range stops {
			end(name)
		}
		if t.Failed() {
			t.Log(b.log)
		}
	}()
	put := func(partition int32, key string, value int64, at time.Time) {
		rec := &kgo.Record{Topic: "in", Partition: partition, Key: []byte(key), Value: i64(value), Timestamp: at}
		if err := b.cl.ProduceSync(b.ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	names := offsets.Names{Application: "bad", Timeline: 1}
	kinds := make([]kmsg.Key, 0, len(faultsOf))
	for k := range kmsg.Key(100) {
		if faultsOf[k] != nil {
			kinds = append(kinds, k)
		}
	}
	for i := range starts {
		put(int32(i%2), fmt.Sprint("s", i), rounds, noon)
		name := []string{"a", "b"}[rnd.IntN(2)]
		switch rnd.IntN(8) {
		case 0:
			end(name)
			stops[name] = worker(name)
		case 1:
			id := names.TransactionalID(name, 0)
			fmt.Fprintf(b.log, "fence %s: %v\n", id, processor.InitProducerID(b.ctx, b.cl, id))
		case 2:
			_, err := kadm.NewClient(b.cl).LeaveGroup(b.ctx, kadm.LeaveGroup(names.Group()).InstanceIDs(names.GroupInstance(name, 0)))
			fmt.Fprintf(b.log, "kick %s out of the group: %v\n", name, err)
		default:
			k := kinds[rnd.IntN(len(kinds))]
			e := faultsOf[k][rnd.IntN(len(faultsOf[k]))]
			fmt.Fprintf(b.log, "fault %s %v\n", k.Name(), e)
			f := b.c.Fault(kfake.Fault{Keys: []kmsg.Key{k}, Err: e, Count: 1 + rnd.IntN(3), TopLevel: rnd.IntN(2) == 0,
				When: func(r kmsg.Request) bool { return ours(r, e) }})
			defer f.Remove()
		}
		time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond) // virtual
	}
	counts, windows, passed := map[string]int64{}, map[string]int64{}, 0
	keys := topology.WindowedKey(codec.String)
	read := func(until func() bool) {
		for !until() && b.ctx.Err() == nil {
			b.cl.PollFetches(b.ctx).EachRecord(func(r *kgo.Record) {
				n := int64(binary.BigEndian.Uint64(r.Value))
				if r.Topic == "out" {
					w, err := keys.Decode(r.Key)
					if err != nil {
						t.Fatal(err)
					}
					windows[w.Key] += n
					return
				}
				if passed++; n != counts[string(r.Key)]+1 {
					t.Errorf("%s is counted as %d after %d", r.Key, n, counts[string(r.Key)])
				}
				counts[string(r.Key)] = n
			})
		}
	}
	read(func() bool { return passed >= starts*passes })
	// Behind its reader a loop is trimmed like any repartition topic, and goes on.
	for trimmed := false; !trimmed && b.ctx.Err() == nil; {
		time.Sleep(time.Second) // virtual
		first, err := kadm.NewClient(b.cl).ListStartOffsets(b.ctx, names.Repartition("rest"))
		if err != nil {
			t.Fatal(err)
		}
		first.Each(func(o kadm.ListedOffset) { trimmed = trimmed || o.Offset > 0 })
	}
	put(0, "s again", rounds, noon)
	read(func() bool { return passed >= total })
	for p := range int32(2) {
		put(p, fmt.Sprint("end", p), 0, noon.Add(2*time.Hour))
	}
	read(func() bool { return passed >= total+2 && len(windows) >= closed })
	if err := b.ctx.Err(); err != nil {
		t.Fatal(errors.Join(err, fmt.Errorf("%d of %d records passed, %d of %d windows closed", passed, total+2, len(windows), closed)))
	}
	for key, n := range windows {
		if n != counts[key] {
			t.Errorf("%s passed %d times, its window has %d", key, counts[key], n)
		}
		want := int64(1)
		if key[0] == 'k' {
			want = starts + 1
		}
		if n != want {
			t.Errorf("%s passed %d times, want %d", key, n, want)
		}
	}
}
