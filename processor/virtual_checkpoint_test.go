//go:build synctests

package processor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// bases notes what tasks were restored from.
type bases struct {
	sync.Mutex
	of map[offsets.Task]string
}

func (b *bases) listen() processor.Option {
	return processor.Events(&processor.Listener{TaskRestored: func(i processor.RestoredInfo) {
		b.Lock()
		defer b.Unlock()
		b.of[i.Task] = i.Base
	}})
}

// plain writes objects without compression: its workers are shared by all bubbles of a process,
// which may not be.
func (v *virtualTally) plain() processor.Option {
	return processor.CheckpointInto(processor.Checkpoints{Dir: v.checkpoints(), Interval: 300 * time.Millisecond, Timeout: 20 * time.Second, TolerableFailures: -1, Compression: "none"})
}

// A worker that has lost its disk reads the newest checkpoint and the changelog behind it, not
// the whole changelog.
func TestVirtualRestoreFromCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const half, whole = 300, 600
		v.start("a", v.plain())
		load := func(from, to int) {
			if err := v.Load(v.ctx, v.brokers, from, to, to == whole); err != nil {
				t.Fatal(err)
			}
		}
		for at := 0; at < half; at += 50 {
			load(at, at+50)
			if _, err := v.completed(); err != nil { // some increments on each other
				t.Fatalf("%v\n%s", err, v.log)
			}
		}
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(v.dir, "a")); err != nil {
			t.Fatal(err)
		}
		b := bases{of: map[offsets.Task]string{}}
		v.start("a", v.plain(), b.listen())
		load(half, whole)
		out, err := v.Await(v.ctx, v.brokers, whole)
		if err == nil {
			err = v.Check(out, whole).Err()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		if _, err := v.completed(); err != nil {
			t.Fatal(err)
		}
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		if err := v.audit("a"); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		b.Lock()
		defer b.Unlock()
		fromCheckpoint := 0
		for task, base := range b.of {
			if base == "checkpoint" {
				fromCheckpoint++
			} else if base == "changelog" {
				t.Errorf("task %s was rebuilt from its changelog", task)
			}
		}
		if fromCheckpoint == 0 {
			t.Errorf("no task was restored from a checkpoint: %v", b.of)
		}
	})
}

// What is damaged or missing in the store is said, and the checkpoint before it, or the
// changelog, is used: the results are as ever.
func TestVirtualRestoreFromDamagedCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const half, whole = 300, 600
		v.start("a", v.plain())
		if err := v.Load(v.ctx, v.brokers, 0, half, false); err != nil {
			t.Fatal(err)
		}
		if _, err := v.completed(); err != nil {
			t.Fatal(err)
		}
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		objects, err := filepath.Glob(filepath.Join(v.checkpoints(), v.App, "objects", "*.weir"))
		if err != nil || len(objects) == 0 {
			t.Fatalf("objects: %v, %v", objects, err)
		}
		for i, name := range objects {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			switch i % 3 {
			case 0:
				data[len(data)/2] ^= 1
			case 1:
				data = data[:len(data)/2]
			case 2:
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(v.dir, "a")); err != nil {
			t.Fatal(err)
		}
		b := bases{of: map[offsets.Task]string{}}
		v.start("a", v.plain(), b.listen())
		if err := v.Load(v.ctx, v.brokers, half, whole, true); err != nil {
			t.Fatal(err)
		}
		out, err := v.Await(v.ctx, v.brokers, whole)
		if err == nil {
			err = v.Check(out, whole).Err()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		b.Lock()
		defer b.Unlock()
		for task, base := range b.of {
			if base == "checkpoint" {
				t.Errorf("task %s was restored from a damaged checkpoint", task)
			}
		}
	})
}

// Repartition topics are trimmed behind their readers, but not what a checkpoint that is kept
// has in flight.
func TestVirtualTrimKeepsWhatCheckpointsNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", processor.CheckpointInto(processor.Checkpoints{Dir: v.checkpoints(), Interval: 7 * time.Second, Compression: "none"}))
		at := 0
		for range 120 {
			if err := v.Load(v.ctx, v.brokers, at, at+20, false); err != nil {
				t.Fatal(err)
			}
			at += 20
			time.Sleep(500 * time.Millisecond) // virtual
		}
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		if err := v.audit("a"); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		starts, err := kadm.NewClient(v.adm).ListStartOffsets(v.ctx, offsets.Names{Application: v.App, Timeline: 1}.Repartition("by-group"))
		if err != nil {
			t.Fatal(err)
		}
		trimmed := false
		starts.Each(func(o kadm.ListedOffset) { trimmed = trimmed || o.Offset > 0 })
		if !trimmed {
			t.Error("nothing was trimmed in a minute")
		}
	})
}

// Only so many checkpoints are kept, and nothing lies in the store but what they need.
func TestVirtualCheckpointsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		v.start("a", v.plain())
		last := uint64(0)
		for i := range 12 {
			if err := v.Load(v.ctx, v.brokers, 20*i, 20*i+20, false); err != nil {
				t.Fatal(err)
			}
			n, err := v.completed()
			if err != nil {
				t.Fatalf("%v\n%s", err, v.log)
			}
			last = n
		}
		b, err := snapshot.Open(v.ctx, v.checkpoints(), snapshot.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		b = b.Under(v.App)
		settled := func() (bool, string) {
			found, err := b.Manifests(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, m := range found {
				names = append(names, m.Name)
			}
			return len(found) <= 4, fmt.Sprint(names) // three, and one that is being dropped or written
		}
		if last < 12 {
			t.Fatalf("the last checkpoint is %d", last)
		}
		for v.ctx.Err() == nil {
			if ok, _ := settled(); ok {
				break
			}
			time.Sleep(100 * time.Millisecond) // virtual
		}
		if ok, names := settled(); !ok {
			t.Fatalf("manifests that are left: %s", names)
		}
		if err := v.stop("a"); err != nil {
			t.Fatal(err)
		}
		if err := v.audit("a"); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
	})
}

// One worker hears of cuts later than the other one, which has taken the cut and sends records
// behind it. They wait: the state of the late one at the cut must not hold them.
func TestVirtualWhatIsSentBehindACutWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		held := 0
		v.c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: offsets.Names{Application: v.App}.Control(), Err: kerr.NotLeaderForPartition, Count: -1,
			When: func(r kmsg.Request) bool {
				f := r.(*kmsg.FetchRequest)
				slow := f.Rack == "late" && len(f.Topics) == 1 && time.Now().UnixMilli()/700%2 == 0
				if slow {
					held++
				}
				return slow
			}})
		v.start("a", v.plain())
		v.start("b", v.plain(), processor.Kafka(append(v.Kafka, kgo.Rack("late"), kgo.DisableFetchSessions())...))
		const records = 1200
		for at := 0; at < records; at += 20 {
			if err := v.Load(v.ctx, v.brokers, at, at+20, at+20 == records); err != nil {
				t.Fatal(err)
			}
			time.Sleep(60 * time.Millisecond) // virtual
		}
		out, err := v.Await(v.ctx, v.brokers, records)
		if err == nil {
			err = v.Check(out, records).Err()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		if err := errors.Join(v.stop("a"), v.stop("b"), v.audit("a", "b")); err != nil {
			t.Fatalf("%v\n%s", err, v.log)
		}
		if held == 0 {
			t.Error("nobody was late")
		}
	})
}
