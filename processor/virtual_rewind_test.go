//go:build synctests

package processor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
)

// opts are for what is no worker.
func (v *virtualTally) opts() []processor.Option {
	return []processor.Option{processor.Brokers(v.brokers...), processor.Kafka(v.Kafka...), processor.TransactionTimeout(10 * time.Second),
		processor.Logger(zerolog.New(io.MultiWriter(v.log)).Level(zerolog.InfoLevel).With().Str("worker", "rewind").Logger())}
}

// rewind carries one out.
func (v *virtualTally) rewind(o processor.RewindOptions) (processor.RewindReport, error) {
	plan, err := v.Plan()
	if err != nil {
		v.Fatal(err)
	}
	return processor.Rewind(v.ctx, plan, o, v.opts()...)
}

// manifests are those of all checkpoints, oldest first.
func (v *virtualTally) manifests() (names []string, all []*snapshot.Manifest) {
	b, err := snapshot.Open(v.ctx, filepath.Join(v.checkpoints(), v.App), snapshot.Options{})
	if err != nil {
		v.Fatal(err)
	}
	defer b.Close()
	found, err := b.Manifests(v.ctx)
	if err != nil || len(found) == 0 {
		v.Fatalf("manifests: %v, %v", found, err)
	}
	for _, f := range found {
		m, err := b.Load(v.ctx, f.Name, v.App)
		v.must(err)
		names, all = append(names, filepath.Join(v.checkpoints(), v.App, f.Name)), append(all, m)
	}
	return names, all
}

// every takes checkpoints that often, and keeps them.
func (v *virtualTally) every(interval time.Duration) processor.Option {
	return processor.CheckpointInto(processor.Checkpoints{Dir: v.checkpoints(), Interval: interval, Retained: 1000, Compression: "none"})
}

func (v *virtualTally) seldom() processor.Option { return v.every(2 * time.Second) }

func (v *virtualTally) must(err error) {
	v.Helper()
	if err != nil {
		v.Fatalf("%v\n%s", err, v.log)
	}
}

// ends are those of a report.
func endsOf(r processor.RewindReport) map[tally.Partition]int64 {
	out := map[tally.Partition]int64{}
	for _, s := range r.Superseded {
		out[tally.Partition{Topic: s.Topic, Number: s.Partition}] = s.End
	}
	return out
}

// ran has a worker process records as they come, with many checkpoints meanwhile, and gives the
// manifest of one in the first half: that with the most in flight.
func (v *virtualTally) ran(records int) string {
	v.Helper()
	v.start("a", v.every(100*time.Millisecond))
	_, err := v.completed()
	v.must(err)
	for at := 0; at < records; at += 10 {
		v.must(v.Load(v.ctx, v.brokers, at, at+10, false))
		time.Sleep(15 * time.Millisecond) // virtual
	}
	_, err = v.completed()
	v.must(err)
	v.must(v.stop("a"))
	names, all := v.manifests()
	most, from := int64(0), ""
	for i, m := range all[:(len(all)+1)/2] {
		n := int64(0)
		for _, part := range m.InFlight {
			n += part.To - part.From
		}
		if n >= most {
			most, from = n, names[i]
		}
	}
	if most == 0 {
		v.Fatal("no checkpoint has anything in flight")
	}
	return from
}

// After more records have been processed an application goes back to a checkpoint, and again to
// the same one: each time what follows is exact.
func TestVirtualRewind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const records = 600
		from := v.ran(records)
		for i, id := range []string{"", "again"} {
			report, err := v.rewind(processor.RewindOptions{From: from, ID: id})
			v.must(err)
			if report.Done || report.Timeline != uint32(2+i) || report.Previous != uint32(1+i) || report.Cut == 0 || report.Rows == 0 {
				t.Fatalf("%+v", report)
			}
			t.Logf("%d records were in flight", report.Records) // sometimes all in the range were sent behind the cut
			same, err := v.rewind(processor.RewindOptions{From: from, ID: id})
			v.must(err)
			if !same.Done || same.Timeline != report.Timeline || !slices.Equal(same.Superseded, report.Superseded) {
				t.Fatalf("the second time it is %+v", same)
			}
			v.start("a", v.seldom())
			last := i == 1
			at := records + 100*i
			v.must(v.Load(v.ctx, v.brokers, at, at+100, last))
			if !last {
				_, err = v.completed() // checkpoints of the new timeline
				v.must(err)
				v.must(v.stop("a"))
				continue
			}
			out, err := v.AwaitRewound(v.ctx, v.brokers, at+100, tally.Outputs{}, endsOf(report))
			v.must(err)
			again := v.CheckRewound(out, at+100, endsOf(report))
			v.must(again.Err())
			if again.Again == 0 {
				t.Error("nothing was processed again: the test shows nothing")
			}
			_, err = v.completed()
			v.must(err)
			v.must(v.stop("a"))
			v.Timeline = report.Timeline
			v.must(v.audit("a"))
		}
	})
}

// A rewind dies at any step: until its commit the old timeline is there, and it is run again or
// taken back.
func TestVirtualRewindDies(t *testing.T) {
	for _, step := range []string{"verify", "intent", "fence", "topics", "state", "in-flight", "commit", "done"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtualTally(t)
				const records = 300
				from := v.ran(records)
				died := errors.New("died")
				func() {
					defer func() {
						if r := recover(); r != died { //nolint:errorlint // the very same
							t.Fatalf("it was to die at %s: %v", step, r)
						}
					}()
					_, err := v.rewind(processor.RewindOptions{From: from, Progress: func(at string) {
						if at == step {
							panic(died)
						}
					}})
					t.Fatalf("it did not come to %s: %v", step, err)
				}()
				intended := step != "verify" && step != "intent" && step != "done"
				plan, err := v.Plan()
				v.must(err)
				if intended {
					// Workers of the old timeline say why they do not start, and do after a cancellation.
					v.start("a", v.seldom())
					stopped := v.endedAlone("a")
					if !errors.Is(stopped, processor.ErrTimelineOver) || !strings.Contains(stopped.Error(), "timeline 2 is intended") {
						t.Fatalf("a worker of the old timeline ended with %v", stopped)
					}
					if step == "state" {
						cancelled, err := processor.CancelRewind(v.ctx, plan, v.opts()...)
						v.must(err)
						if !slices.Equal(cancelled, []uint32{2}) {
							t.Fatalf("cancelled were %v", cancelled)
						}
						v.start("a", v.seldom())
						v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
						out, err := v.Await(v.ctx, v.brokers, records+100)
						v.must(err)
						v.must(v.Check(out, records+100).Err())
						v.must(v.stop("a"))
						return
					}
				}
				report, err := v.rewind(processor.RewindOptions{From: from})
				v.must(err)
				if want := uint32(2); step == "done" && (!report.Done || report.Timeline != want) || step != "done" && report.Done {
					t.Fatalf("%+v", report)
				}
				v.start("a", v.seldom())
				v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
				out, err := v.AwaitRewound(v.ctx, v.brokers, records+100, tally.Outputs{}, endsOf(report))
				v.must(err)
				v.must(v.CheckRewound(out, records+100, endsOf(report)).Err())
				_, err = v.completed()
				v.must(err)
				v.must(v.stop("a"))
				v.Timeline = report.Timeline
				v.must(v.audit("a"))
			})
		})
	}
}

// Workers run when an application is rewound: it is refused, unless they may be stopped. Those
// that are told to rewind, all of them and again at each start, make one timeline.
func TestVirtualRewindOfLiveWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualTally(t)
		const records = 600
		v.start("a", v.seldom())
		v.start("b", v.seldom())
		v.must(v.Load(v.ctx, v.brokers, 0, records/2, false))
		_, err := v.completed()
		v.must(err)
		names, _ := v.manifests()
		o := processor.RewindOptions{From: names[len(names)-1]}
		if _, err := v.rewind(o); !errors.Is(err, processor.ErrRewind) || !strings.Contains(err.Error(), "alive: group virtual.1 has the members") {
			t.Fatalf("a rewind of a live application: %v", err)
		}
		o.StopWorkers = true
		flow := make(chan error, 1)
		go func() { flow <- v.Load(v.ctx, v.brokers, records/2, records, false) }()
		var reports []processor.RewindReport
		heard := make(chan processor.RewindReport, 2)
		told := processor.Events(&processor.Listener{Rewound: func(r processor.RewindReport) { heard <- r }})
		for _, name := range []string{"c", "d"} {
			v.start(name, v.seldom(), processor.StartFrom(o), told)
		}
		for range 2 {
			reports = append(reports, <-heard)
		}
		v.must(<-flow)
		for _, name := range []string{"a", "b"} {
			err := v.endedAlone(name)
			if !errors.Is(err, processor.ErrTimelineOver) || !strings.Contains(err.Error(), "is intended by") && !strings.Contains(err.Error(), "is newer") {
				t.Errorf("%s ended with %v", name, err)
			}
		}
		if reports[0].Timeline != reports[1].Timeline || reports[0].Done == reports[1].Done {
			t.Fatalf("%+v\n%+v\n%s", reports[0], reports[1], v.log)
		}
		v.must(v.stop("c"))
		v.start("c", v.seldom(), processor.StartFrom(o), told)
		if r := <-heard; !r.Done || r.Timeline != reports[0].Timeline {
			t.Fatalf("a restart has rewound again: %+v", r)
		}
		v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
		ends := endsOf(reports[0])
		out, err := v.AwaitRewound(v.ctx, v.brokers, records+100, tally.Outputs{}, ends)
		v.must(err)
		v.must(v.CheckRewound(out, records+100, ends).Err())
		_, err = v.completed()
		v.must(err)
		v.must(v.stop("c"))
		v.must(v.stop("d"))
		v.Timeline = reports[0].Timeline
		v.must(v.audit("c", "d"))
	})
}

// endedAlone waits for a worker that ends by itself.
func (v *virtualTally) endedAlone(name string) error {
	stop := v.stops[name]
	delete(v.stops, name)
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(v.ctx, time.Minute) // virtual
	defer cancel()
	go func() { done <- v.waits[name]() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("it did not end by itself: %w", stop())
	}
}

// Brokers fail while an application is rewound: it is tried again within the rewind, or by whoever
// runs it again, and what follows is exact.
func TestVirtualRewindThroughFaults(t *testing.T) {
	keys := []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.InitProducerID, kmsg.Fetch, kmsg.FindCoordinator, kmsg.ListOffsets}
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 3))
				v := newVirtualTally(t)
				const records = 200
				from := v.ran(records)
				var faults []*kfake.FaultHandle
				for range 3 + rnd.IntN(6) {
					k := keys[rnd.IntN(len(keys))]
					e := faultsOf[k][rnd.IntN(len(faultsOf[k]))]
					toss := rand.New(rand.NewPCG(seed, rnd.Uint64()))
					fmt.Fprintf(v.log, "fault %s %v\n", k.Name(), e)
					faults = append(faults, v.c.Fault(kfake.Fault{Keys: []kmsg.Key{k}, Err: e, Count: 1 + rnd.IntN(3), TopLevel: rnd.IntN(2) == 0,
						When: func(r kmsg.Request) bool { return ours(r, e) && toss.IntN(3) == 0 }}))
				}
				o := processor.RewindOptions{From: from}
				report, err := v.rewind(o)
				if err != nil {
					fmt.Fprintf(v.log, "the first try: %v\n", err)
				}
				for _, f := range faults {
					f.Remove()
				}
				if err != nil {
					report, err = v.rewind(o)
				}
				v.must(err)
				v.start("a", v.seldom())
				v.must(v.Load(v.ctx, v.brokers, records, records+100, true))
				out, err := v.AwaitRewound(v.ctx, v.brokers, records+100, tally.Outputs{}, endsOf(report))
				v.must(err)
				v.must(v.CheckRewound(out, records+100, endsOf(report)).Err())
				_, err = v.completed()
				v.must(err)
				v.must(v.stop("a"))
				v.Timeline = report.Timeline
				v.must(v.audit("a"))
			})
		})
	}
}
