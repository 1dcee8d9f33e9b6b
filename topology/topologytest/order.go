package topologytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/topology"
)

// orders is how many interleavings SameUnderAnyOrder plays.
const orders = 50

// SameUnderAnyOrder feeds the topology again and again, with three partitions, in many
// legal interleavings of repartition topics and with crashes between records, and wants
// the same last value per key in every output and the same rows in every store.
func SameUnderAnyOrder(t testing.TB, build func() (*topology.Plan, error), feed func(d *Driver)) {
	t.Helper()
	var first string
	for seed := range uint64(orders) {
		d := New(t, build, Partitions(3), Seed(seed))
		d.crashes = seed > 0
		feed(d)
		got := d.results()
		if seed == 0 {
			first = got
		} else if got != first {
			t.Fatalf("topologytest: results under seed %d differ.\nfirst:\n%s\nnow:\n%s", seed, first, got)
		}
	}
}

// results are the last values per key and the rows of the stores.
func (d *Driver) results() string {
	last := map[string]string{}
	for topic, recs := range d.outputs {
		for _, r := range recs {
			last[fmt.Sprintf("%s %q", topic, r.key)] = fmt.Sprintf("%q", r.value)
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
