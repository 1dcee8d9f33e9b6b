package topologytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
)

// orders is how many interleavings SameUnderAnyOrder plays.
const orders = 50

// SameUnderAnyOrder feeds the topology again and again, with three partitions, in many
// legal interleavings: records wait in source and repartition topics while tasks take
// turns, and crash between records. It wants the same last value per key in every output
// and the same rows in every store. Whatever feed does but Send lets the tasks catch up
// first; when windows are to close, let it end with AdvanceEventTime.
func SameUnderAnyOrder(t testing.TB, build func() (*topology.Plan, error), feed func(d *Driver)) {
	t.Helper()
	var first string
	for seed := range uint64(orders) {
		d := New(t, build, Partitions(3), Seed(seed))
		d.lagging = seed > 0
		feed(d)
		d.settle()
		got := d.results()
		if seed == 0 {
			first = got
		} else if got != first {
			t.Fatalf("topologytest: results under seed %d differ.\nfirst:\n%s\nnow:\n%s", seed, first, got)
		}
	}
}

// crashOdds is how many turns there are to one crash while records lag.
const crashOdds = 12

// post is send while records lag: the record waits, and some tasks have a turn.
func (d *Driver) post(rec record) error {
	if err := d.append(rec); err != nil {
		return err
	}
	d.posted++
	for d.pick(4) > 0 {
		if d.pick(crashOdds) == 0 {
			r := d.runners[d.order[d.pick(len(d.order))]]
			r.start()
			r.heartbeat()
		}
		if err := d.turn(); err != nil {
			return err
		}
	}
	return nil
}

// turn processes one record and commits it.
func (d *Driver) turn() error {
	return d.unit(func() error { _, err := d.step(); return err })
}

// settle lets tasks that lag catch up.
func (d *Driver) settle() {
	d.t.Helper()
	d.looped = 0
	for d.lagging && slices.ContainsFunc(d.order, func(id offsets.Task) bool { return d.runners[id].waits() }) {
		d.must(d.turn())
		d.must(d.ending(max(d.posted, 1)))
	}
	d.posted = 0
}

func (r *runner) waits() bool {
	return slices.ContainsFunc(r.inbox, func(box []record) bool { return len(box) > 0 })
}

// results are the last values per key and the rows of the stores.
func (d *Driver) results() string {
	last := map[string]string{}
	for topic, recs := range d.outputs {
		for _, r := range recs {
			last[topic+" "+quoted(r.key)] = quoted(r.value)
		}
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(last)) {
		fmt.Fprintf(&b, "%s = %s\n", k, last[k])
	}
	for _, id := range d.order {
		r := d.runners[id]
		for i, spec := range r.sub.Stores {
			for _, k := range r.stores[i].keys() {
				if k[0] != 0 { // system rows hold time, which depends on the order
					fmt.Fprintf(&b, "%s %s %x = %x\n", spec.UID, id, k, r.stores[i].rows[k])
				}
			}
		}
	}
	return b.String()
}
