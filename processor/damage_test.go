package processor_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// What a worker relies on is damaged between two of its runs. Either it says so, and the task has not written a record
// (I12), or it can do without and the result is right. Damage to sources, positions, plans and directories as a whole is
// in badinput_test.go, to single rows of a directory in package changelog.

// halves is a tally of which the first half is processed, and the second waits to be.
type halves struct {
	*trap
	adm    *kadm.Client
	dir    string
	before tally.Facts
}

const half = 1000

func newHalves(t *testing.T) *halves {
	t.Helper()
	h := &halves{trap: newTrap(t), dir: filepath.Join(t.TempDir(), "state")}
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	h.adm = kadm.NewClient(cl)
	h.load(0, half)
	// Until nothing is left unread between the tasks, so that what comes next there is the damage.
	for read := false; !read; {
		stop := start(t, h.c, h.ta, h.dir, processor.Lanes(1), processor.LeaveOnStop())
		for !h.caughtUp() {
			time.Sleep(5 * time.Millisecond)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		read = true
		f := h.facts()
		for tp, l := range f.Logs {
			for at := range l.Shown {
				read = read && (tp.Topic != h.between() || at < f.Positions[tp].Offset)
			}
		}
	}
	h.load(half, 2*half)
	h.before = h.facts()
	h.before.Clean = tally.Every
	if err := h.ta.Audit(h.before).Err(); err != nil {
		t.Fatalf("before any damage: %v", err)
	}
	return h
}

func (h *halves) names() offsets.Names { return offsets.Names{Application: h.ta.App, Timeline: 1} }

func (h *halves) between() string { return h.names().Repartition("by-group") }

// positions are those of the group now, or none while an epoch is open.
func (h *halves) positions() kadm.OffsetResponses {
	got, err := h.adm.FetchOffsets(kadm.RequireStable(h.ctx), h.names().Group())
	if h.ctx.Err() != nil {
		h.Fatalf("positions of the first half: %v, %v", got, err)
	}
	return got
}

// caughtUp says whether all input is processed, and of the repartition topic all but the last marker.
func (h *halves) caughtUp() bool {
	ends, err := h.adm.ListEndOffsets(h.ctx, h.ta.In(), h.between())
	up, now := err == nil && len(ends) == 2, h.positions()
	ends.Each(func(o kadm.ListedOffset) {
		end := o.Offset
		if o.Topic == h.between() {
			end--
		}
		at, ok := now.Lookup(o.Topic, o.Partition)
		up = up && ok && o.Err == nil && at.At >= end
	})
	return up
}

func (h *halves) load(from, to int) {
	h.Helper()
	if err := h.ta.Load(h.ctx, h.c.ListenAddrs(), from, to, to == 2*half); err != nil {
		h.Fatal(err)
	}
}

func (h *halves) facts() tally.Facts {
	h.Helper()
	f, err := h.ta.Collect(h.ctx, h.c.ListenAddrs(), h.dir)
	if err != nil {
		h.Fatal(err)
	}
	return f
}

// run runs a worker until it has ended by itself or a task has failed, and returns what was said of each task.
func (h *halves) run() map[offsets.Task]error {
	h.Helper()
	plan, err := h.ta.Plan()
	if err != nil {
		h.Fatal(err)
	}
	failed := make(chan processor.FailedInfo, 100)
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(ctx, plan, processor.Brokers(h.c.ListenAddrs()...), processor.StateDir(h.dir), processor.Lanes(1),
			processor.CommitInterval(20*time.Millisecond), processor.Events(&processor.Listener{TaskFailed: func(i processor.FailedInfo) {
				select {
				case failed <- i:
				default:
				}
			}}))
	}()
	out := map[offsets.Task]error{}
	select {
	case i := <-failed:
		out[i.Task] = i.Err
		stop()
		<-done
	case err := <-done:
		if err == nil {
			h.Fatal("the worker ended without an error")
		}
		for sub := range int32(2) {
			for p := range h.ta.Partitions {
				out[offsets.Task{Sub: sub, Partition: p}] = err
			}
		}
	case <-h.ctx.Done():
		h.Fatal("the damage was not noticed")
	}
	close(failed)
	for i := range failed {
		out[i.Task] = i.Err
	}
	return out
}

func TestDamageStopsTheTask(t *testing.T) {
	for name, c := range map[string]struct {
		task   offsets.Task
		class  error
		says   string
		damage func(*halves)
	}{
		"changelog truncated, and no disk": {offsets.Task{Sub: 0, Partition: 2}, changelog.ErrTruncated, "seen.changelog", func(h *halves) {
			var o kadm.Offsets
			o.AddOffset(h.names().Changelog("seen"), 2, 3, -1)
			_, err := h.adm.DeleteRecords(h.ctx, o)
			h.must(err, os.RemoveAll(h.dir))
		}},
		"changelog made anew": {offsets.Task{Sub: 1, Partition: 1}, processor.ErrTopic, "was deleted and created again", func(h *halves) {
			topic := h.names().Changelog("windows")
			_, err := h.adm.DeleteTopics(h.ctx, topic)
			h.must(err)
			_, err = h.adm.CreateTopic(h.ctx, h.ta.Partitions, 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}, topic)
			h.must(err)
		}},
		"metadata altered": {offsets.Task{Sub: 1, Partition: 3}, offsets.ErrCorrupt, "metadata of trap.1.by-group.repartition/3", func(h *halves) {
			h.recommit(3, func(p *tally.Position) { p.Metadata = "B" + p.Metadata[1:] })
		}},
		"metadata of another store's end": {offsets.Task{Sub: 1, Partition: 3}, changelog.ErrLost, "trap.1.groups.changelog/3", func(h *halves) {
			h.recommit(3, func(p *tally.Position) {
				m, err := offsets.DecodeMetadata(p.Metadata)
				m.Ends[0] += 1_000_000
				text, err2 := m.Encode()
				h.must(err, err2)
				p.Metadata = text
			})
		}},
		"metadata of another timeline": {offsets.Task{Sub: 1, Partition: 3}, nil, "timeline 7", func(h *halves) {
			h.recommit(3, func(p *tally.Position) {
				m, err := offsets.DecodeMetadata(p.Metadata)
				m.Timeline = 7
				text, err2 := m.Encode()
				h.must(err, err2)
				p.Metadata = text
			})
		}},
		"a record without a stamp": {offsets.Task{Sub: 1, Partition: 0}, nil, "without a stamp", func(h *halves) {
			h.foreign(0, nil)
		}},
		"a stamp of another timeline": {offsets.Task{Sub: 1, Partition: 0}, nil, "stamp of timeline 7", func(h *halves) {
			h.foreign(0, offsets.Stamp{Timeline: 7}.Append(nil))
		}},
		"a stamp damaged": {offsets.Task{Sub: 1, Partition: 0}, offsets.ErrCorrupt, "stamp", func(h *halves) {
			h.foreign(0, []byte{1, 0, 0})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHalves(t)
			c.damage(h)
			before := h.before
			before.Positions = h.facts().Positions // a damaged one is not to be mended either
			reported := h.run()[c.task]
			if err := h.ta.FailedClosed(before, h.facts(), c.task, reported).Err(); err != nil {
				t.Error(err)
			}
			if reported != nil {
				says(t, reported, c.class, c.says)
			}
		})
	}
}

func (h *halves) must(errs ...error) {
	h.Helper()
	if err := errors.Join(errs...); err != nil {
		h.Fatal(err)
	}
}

// recommit changes the position of a task of sub-topology 1, as a tool for offsets would.
func (h *halves) recommit(p int32, change func(*tally.Position)) {
	h.Helper()
	topic := h.between()
	at := h.before.Positions[tally.Partition{Topic: topic, Number: p}]
	change(&at)
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topic, Partition: p, At: at.Offset, LeaderEpoch: -1, Metadata: at.Metadata})
	h.must(h.adm.CommitAllOffsets(h.ctx, h.names().Group(), o))
}

// foreign writes a record into the repartition topic that no task has written.
func (h *halves) foreign(p int32, stamp []byte) {
	h.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	h.must(err)
	defer cl.Close()
	rec := &kgo.Record{Topic: h.between(), Partition: p, Key: []byte("group-000"), Value: i64(1)}
	if stamp != nil {
		rec.Headers = []kgo.RecordHeader{{Key: offsets.StampHeader, Value: stamp}}
	}
	h.must(cl.ProduceSync(h.ctx, rec).FirstErr())
}

// What a disk has lost or has wrong, where that can be seen, comes from the changelog.
func TestDamagedDiskIsRebuilt(t *testing.T) {
	for name, damage := range map[string]func(*halves){
		"a byte of a row flipped": func(h *halves) {
			tables, err := filepath.Glob(filepath.Join(h.dir, "rows", "*.sst"))
			h.must(err)
			row := slices.Concat(i64(half/100), i64(half/100)) // of each of the 100 keys: how many came, and the last value
			flipped := 0
			for _, name := range tables {
				b, err := os.ReadFile(name)
				h.must(err)
				if at := bytes.Index(b, row); at >= 0 {
					b[at+7] ^= 1
					flipped++
				}
				h.must(os.WriteFile(name, b, 0o644))
			}
			if flipped == 0 {
				h.Fatalf("the row is in none of %v", tables)
			}
		},
		"markers damaged": func(h *halves) {
			h.rewrite(func(key, value []byte) []byte {
				if key[4] == 'm' {
					value[40] ^= 1
				}
				return value
			})
		},
		"markers of other stores": func(h *halves) {
			var last []byte
			h.rewrite(func(key, value []byte) []byte {
				if key[4] != 'm' {
					return value
				}
				if last == nil {
					last = value
				}
				value, last = last, value
				return value
			})
		},
		"rows removed": func(h *halves) { h.must(os.RemoveAll(filepath.Join(h.dir, "rows"))) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHalves(t)
			damage(h)
			bases := map[string]int{}
			stop := start(t, h.c, h.ta, h.dir, processor.Lanes(1), processor.Events(&processor.Listener{TaskRestored: func(i processor.RestoredInfo) { bases[i.Base]++ }}))
			out, err := h.ta.Await(h.ctx, h.c.ListenAddrs(), 2*half)
			if err := errors.Join(err, h.ta.Check(out, 2*half).Err(), stop()); err != nil {
				t.Fatal(err)
			}
			f := h.facts()
			f.Clean = tally.Every
			if err := h.ta.Audit(f).Err(); err != nil {
				t.Error(err)
			}
			if bases["changelog"] == 0 {
				t.Errorf("tasks were restored from %v: the damage was not met", bases)
			}
		})
	}
}

// rewrite changes the rows that the directory keeps about itself.
func (h *halves) rewrite(change func(key, value []byte) []byte) {
	h.Helper()
	db, err := badger.OpenManaged(badger.DefaultOptions(filepath.Join(h.dir, "rows")).WithLogger(nil).WithCompression(options.None).WithBlockCacheSize(0))
	h.must(err)
	txn := db.NewTransactionAt(math.MaxUint64, true)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: make([]byte, 4)})
	for it.Rewind(); it.Valid(); it.Next() {
		value, err := it.Item().ValueCopy(nil)
		key := it.Item().KeyCopy(nil)
		h.must(err, txn.Set(key, change(key, value)))
	}
	it.Close()
	h.must(txn.CommitAt(db.MaxVersion()+1, nil), db.Close())
}
