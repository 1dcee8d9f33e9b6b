package processor_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// nullableSums adds values per key; 0 deletes the key.
func nullableSums(t *testing.T, opts ...topology.StoreOption) *topology.Plan {
	t.Helper()
	b := topology.New("bad")
	s := topology.From(b, badIn)
	topology.Aggregate(s, "sums", codec.Nullable(codec.Int64), func(_ string, v int64, sum *int64) (*int64, error) {
		if v == 0 {
			return nil, nil
		}
		if sum != nil {
			v += *sum
		}
		return &v, nil
	}, opts...).To(topology.NewTopic("out", codec.String, codec.Nullable(codec.Int64)))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// phase runs the plan until n records are committed in all and its three tasks were restored, and gives the base of each
// with the number of changelog records that its restore read.
func (r *rig) phase(plan *topology.Plan, n int64) string {
	r.t.Helper()
	var mu sync.Mutex
	bases := map[string]string{}
	all := func() bool { // the one of checkpoints may come after the last record
		mu.Lock()
		defer mu.Unlock()
		return len(bases) == 3
	}
	r.ran(plan, func() bool { return r.committed() == n && all() }, processor.Events(&processor.Listener{TaskRestored: func(i processor.RestoredInfo) {
		mu.Lock()
		defer mu.Unlock()
		bases[i.Task.String()] = fmt.Sprint(i.Base, " ", i.Records)
	}}))
	return fmt.Sprint(bases)
}

// State in memory is rebuilt from the changelog at each start, and never on disk. Switched to
// it and back, the rows that were on disk before are the base, and what was changed and
// deleted meanwhile comes from the changelog: nothing stale comes back.
func TestInMemoryStore(t *testing.T) {
	r := newRig(t)
	memory, disk := nullableSums(t, topology.InMemory()), nullableSums(t)
	want := func(step, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: bases %s, want %s", step, got, want)
		}
	}
	send := func(values map[string]int64) {
		for _, k := range []string{"a", "b", "c"} {
			if v, ok := values[k]; ok {
				r.send(0, k, i64(v))
			}
		}
	}
	send(map[string]int64{"a": 1, "b": 10, "c": 100})
	want("first start", r.phase(memory, 3), "map[0-0:empty 0 0-1:empty 0 1-0:none 0]")
	send(map[string]int64{"a": 2, "b": 0})
	want("restart", r.phase(memory, 5), "map[0-0:changelog 3 0-1:empty 0 1-0:none 0]")
	if n := r.stored(); n != 0 {
		t.Errorf("%d stores are on disk", n)
	}
	send(map[string]int64{"b": 20})
	want("to disk", r.phase(disk, 6), "map[0-0:changelog 5 0-1:empty 0 1-0:none 0]")
	if n := r.stored(); n != 1 {
		t.Errorf("%d stores are on disk", n)
	}
	send(map[string]int64{"a": 0, "b": 1})
	want("to memory", r.phase(memory, 8), "map[0-0:changelog 6 0-1:empty 0 1-0:none 0]")
	send(map[string]int64{"a": 5, "c": 1})
	want("to disk again", r.phase(disk, 10), "map[0-0:local 2 0-1:local 0 1-0:none 0]")

	cl, err := kgo.NewClient(kgo.SeedBrokers(r.c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got := map[string][]int64{}
	for n := 0; n < 10; {
		fs := cl.PollFetches(r.ctx)
		if r.ctx.Err() != nil {
			t.Fatalf("read %v", got)
		}
		for _, rec := range fs.Records() {
			n++
			v := int64(-1) // deleted
			if rec.Value != nil {
				v = int64(binary.BigEndian.Uint64(rec.Value))
			}
			got[string(rec.Key)] = append(got[string(rec.Key)], v)
		}
	}
	if got := fmt.Sprint(got); got != "map[a:[1 3 -1 5] b:[10 -1 20 21] c:[100 101]]" {
		t.Errorf("results %s", got)
	}
}

// stored is the number of stores with rows on disk.
func (r *rig) stored() int {
	r.t.Helper()
	db, err := changelog.Open(changelog.DBOptions{Dir: r.dir, Application: "bad"})
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	list, err := db.Stored()
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, s := range list {
		if s.Marker.End > 0 {
			n++
		}
	}
	return n
}
