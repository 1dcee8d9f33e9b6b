package topologytest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// Driver is a plan at work. It belongs to the test's goroutine.
type Driver struct {
	t          testing.TB
	plan       *topology.Plan
	graph      *task.Graph
	partitions int32
	rand       *rand.Rand
	now        time.Time // processing time
	runners    map[offsets.Task]*runner
	order      []offsets.Task
	ends       map[topicPartition]int64
	waiting    map[topicPartition][]record // what repartition topics hold unread
	outputs    map[string][]record
	lastHeard  map[heard]offsets.Stamp
	crashes    bool // restart at random between records
}

// heard names a channel: who reads, by which input, from whom.
type heard struct {
	reader offsets.Task
	input  int
	from   offsets.Task
}

type topicPartition struct {
	topic     string
	partition int32
}

// Option is a setting of a driver.
type Option func(*Driver)

// Partitions is the number of partitions of every topic. Default: 1. Repartition topics
// with a number of their own keep it.
func Partitions(n int) Option { return func(d *Driver) { d.partitions = int32(n) } }

// Seed makes the partitions of repartition topics take turns in another order. Each seed
// is one legal interleaving. Default: 0.
func Seed(s uint64) Option { return func(d *Driver) { d.rand = rand.New(rand.NewPCG(s, 0)) } }

// New builds and starts the topology. Any error it meets, now or later, fails the test.
// Processing time starts at 2026-01-01 UTC and moves by AdvanceProcessingTime only.
func New(t testing.TB, build func() (*topology.Plan, error), opts ...Option) *Driver {
	t.Helper()
	plan, err := build()
	if err != nil {
		t.Fatalf("topologytest: build: %v", err)
	}
	d := &Driver{
		t: t, plan: plan, graph: plan.Graph(), partitions: 1, rand: rand.New(rand.NewPCG(0, 0)),
		now:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		runners: map[offsets.Task]*runner{}, ends: map[topicPartition]int64{}, waiting: map[topicPartition][]record{}, outputs: map[string][]record{}, lastHeard: map[heard]offsets.Stamp{},
	}
	for _, o := range opts {
		o(d)
	}
	for s := range d.graph.Subs {
		sub := &d.graph.Subs[s]
		for p := range d.tasksOf(s) {
			r := &runner{d: d, id: offsets.Task{Sub: int32(s), Partition: p}, sub: sub, floor: offsets.NoTime}
			for range sub.Stores {
				r.stores = append(r.stores, newStore())
			}
			d.runners[r.id] = r
		}
	}
	d.order = slices.SortedFunc(maps.Keys(d.runners), offsets.Task.Compare)
	d.Restart()
	return d
}

// tasksOf is the number of tasks of a sub-topology: its inputs' partitions.
func (d *Driver) tasksOf(sub int) int32 {
	in := d.graph.Subs[sub].Inputs[0]
	if !in.Internal {
		return d.partitions
	}
	for s := range d.graph.Subs {
		for i := range d.graph.Subs[s].Outputs {
			if o := &d.graph.Subs[s].Outputs[i]; o.Internal && o.Topic == in.Topic {
				return d.partitionsOf(o)
			}
		}
	}
	return d.partitions
}

func (d *Driver) partitionsOf(o *task.Output) int32 {
	if o.Internal {
		return cmp.Or(int32(o.Partitions), d.partitions)
	}
	return d.partitions
}

func (d *Driver) upstream(in task.Input) (out []offsets.Task) {
	for _, s := range in.Upstream {
		for p := range d.tasksOf(s) {
			out = append(out, offsets.Task{Sub: int32(s), Partition: p})
		}
	}
	return out
}

// Restart is a crash of all tasks: what they had in memory is gone, and they come back
// from their stores.
func (d *Driver) Restart() {
	d.t.Helper()
	clear(d.lastHeard)
	for _, id := range d.order {
		d.runners[id].start()
	}
}

// AdvanceEventTime moves the time of every source to at least to, as if each of its
// partitions had got there, and lets everything that is due fire.
func (d *Driver) AdvanceEventTime(to time.Time) {
	d.t.Helper()
	for _, id := range d.order {
		r := d.runners[id]
		for i, in := range r.sub.Inputs {
			if in.Internal {
				continue
			}
			if err := r.epoch(func() error { return r.task.Stamped(i, offsets.Task{}, to.UnixMilli(), offsets.Heartbeat) }); err != nil {
				d.t.Fatalf("topologytest: advance event time: %v", err)
			}
		}
	}
	d.must(d.drain())
}

// AdvanceProcessingTime moves the wall clock, which makes silent sources idle.
func (d *Driver) AdvanceProcessingTime(by time.Duration) {
	d.t.Helper()
	for _, at := range []time.Time{d.now, d.now.Add(by)} {
		for _, id := range d.order {
			r := d.runners[id]
			if err := r.epoch(func() error { return r.task.Tick(at.UnixMilli()) }); err != nil {
				d.t.Fatalf("topologytest: advance processing time: %v", err)
			}
		}
	}
	d.now = d.now.Add(by)
	d.must(d.drain())
}

func (d *Driver) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("topologytest: %v", err)
	}
}

// send puts a record into a source topic and processes all that follows.
func (d *Driver) send(rec record) error {
	if d.crashes && d.rand.IntN(3) == 0 {
		d.Restart()
	}
	rec.offset = d.next(rec)
	found := false
	for _, id := range d.order {
		r := d.runners[id]
		for i, in := range r.sub.Inputs {
			if in.Internal || in.Topic != rec.topic || id.Partition != rec.partition {
				continue
			}
			found = true
			if err := r.process(i, &rec); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("nothing reads %s/%d: the topology's sources are %s", rec.topic, rec.partition, d.sources())
	}
	return d.drain()
}

func (d *Driver) next(rec record) int64 {
	tp := topicPartition{rec.topic, rec.partition}
	d.ends[tp]++
	return d.ends[tp] - 1
}

func (d *Driver) sources() string {
	var names []string
	for _, s := range d.graph.Subs {
		for _, in := range s.Inputs {
			if !in.Internal {
				names = append(names, in.Topic)
			}
		}
	}
	return strings.Join(names, ", ")
}

// deliver takes what a task has committed.
func (d *Driver) deliver(rec record) {
	if rec.stamp != nil {
		d.queue(rec)
		return
	}
	rec.offset = d.next(rec)
	d.outputs[rec.topic] = append(d.outputs[rec.topic], rec)
}

func (d *Driver) queue(rec record) {
	rec.offset = d.next(rec)
	tp := topicPartition{rec.topic, rec.partition}
	d.waiting[tp] = append(d.waiting[tp], rec)
}

// drain processes repartition topics until they are empty: partitions take turns at
// random, records of one partition keep their order.
func (d *Driver) drain() error {
	for {
		var ready []topicPartition
		for tp, recs := range d.waiting {
			if len(recs) > 0 {
				ready = append(ready, tp)
			}
		}
		if len(ready) == 0 {
			return nil
		}
		slices.SortFunc(ready, func(a, b topicPartition) int {
			return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
		})
		tp := ready[d.rand.IntN(len(ready))]
		rec := d.waiting[tp][0]
		d.waiting[tp] = d.waiting[tp][1:]
		for _, id := range d.order {
			r := d.runners[id]
			for i, in := range r.sub.Inputs {
				if in.Internal && in.Topic == tp.topic && id.Partition == tp.partition && d.news(r, i, &rec) {
					if err := r.process(i, &rec); err != nil {
						return err
					}
				}
			}
		}
	}
}

// news says whether a record tells its reader anything: heartbeats of a time that it has
// heard of would echo through the topology for ever.
func (d *Driver) news(r *runner, input int, rec *record) bool {
	if rec.stamp.Kind == offsets.Data {
		return true
	}
	key := heard{r.id, input, rec.stamp.Task}
	last, ok := d.lastHeard[key]
	if ok && last.Watermark == rec.stamp.Watermark && last.Kind == rec.stamp.Kind {
		return false
	}
	d.lastHeard[key] = *rec.stamp
	return true
}
