package topology_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
	"github.com/weir-stream/weir/topology/window"
)

// hashed is a store that allocates for new keys only, so that what is measured is the chain.
type hashed struct {
	rows map[string]*[]byte
}

func (h *hashed) Get(key []byte) ([]byte, bool, error) {
	if v, ok := h.rows[string(key)]; ok {
		return *v, true, nil
	}
	return nil, false, nil
}

func (h *hashed) Put(key, value []byte) error {
	v, ok := h.rows[string(key)]
	if !ok {
		v = new([]byte)
		h.rows[string(key)] = v
	}
	*v = append((*v)[:0], value...)
	return nil
}

func (h *hashed) Delete(key []byte) error {
	delete(h.rows, string(key))
	return nil
}

func (h *hashed) Range(_, _ []byte, _ func(key, value []byte) bool) error { return nil }

type discard struct {
	stores  []*hashed
	emitted int
}

func (d *discard) Store(i int) task.Store        { return d.stores[i] }
func (d *discard) Emit(_ int, o *task.Out) error { d.emitted += len(o.Key) + len(o.Value); return nil }
func (d *discard) Headers() []task.Header        { return nil }
func begin(t testing.TB, p *topology.Plan) *task.Task {
	t.Helper()
	d := &discard{}
	for range p.Graph().Subs[0].Stores {
		d.stores = append(d.stores, &hashed{rows: map[string]*[]byte{}})
	}
	tk := p.Graph().Start(0, 0, d)
	if err := tk.Restore(task.NoTime, nil); err != nil {
		t.Fatal(err)
	}
	return tk
}

type order struct {
	Customer, Region, Item string
	Cents, Tax, At         int64
	Flags                  [4]int64
}

// preset stands for a codec of no cost: it hands out a ready value.
type preset[T any] struct{ v *T }

func (p preset[T]) Name() string                           { return "preset" }
func (p preset[T]) Append(dst []byte, _ T) ([]byte, error) { return dst, nil }
func (p preset[T]) Decode([]byte) (T, error)               { return *p.v, nil }

// presetKey writes the key, and reads a ready one.
type presetKey struct{ v *string }

func (p presetKey) Name() string                                { return "preset" }
func (p presetKey) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (p presetKey) Decode([]byte) (string, error)               { return *p.v, nil }

const customers = 10_000

var names = func() (s [customers]string) {
	for i := range s {
		s[i] = fmt.Sprintf("customer-%06d", i)
	}
	return s
}()

// chains are the measured programs. step runs one record.
func chains(t testing.TB) map[string]struct {
	allocs float64
	step   func()
} {
	add := func(_ string, v, acc int64) (int64, error) { return acc + v, nil }
	ints := topology.NewTopic("ints", codec.String, codec.Int64)
	sink := topology.NewTopic("sums", codec.String, codec.Int64)
	windows := topology.NewTopic("windows", topology.WindowedKey(codec.String), codec.Int64)

	k, v := names[0], order{Cents: 5, Tax: 1}
	orders := topology.NewTopic[string, order]("orders", presetKey{&k}, preset[order]{&v})

	decoded := func(build func(s topology.Stream[string, int64])) func() {
		tk := begin(t, plan(t, func(b *topology.Builder) { build(topology.From(b, ints)) }))
		raws := make([]task.Raw, customers)
		for i := range raws {
			raws[i] = task.Raw{Key: []byte(names[i]), Value: binary.BigEndian.AppendUint64(nil, uint64(i)), Time: 1, Topic: "ints"}
		}
		i := 0
		step := func() {
			if err := tk.Process(0, &raws[i*7919%customers]); err != nil {
				t.Fatal(err)
			}
			i++
		}
		for range customers { // every key is in the store
			step()
		}
		return step
	}
	noCodec := func() func() {
		tk := begin(t, plan(t, func(b *topology.Builder) {
			paid := topology.From(b, orders).Filter(func(_ string, o order) (bool, error) { return o.Cents > 0, nil })
			gross := topology.MapValues(paid, func(_ string, o order) (int64, error) { return o.Cents + o.Tax, nil })
			topology.Aggregate(gross, "sum", codec.Int64, add).To(sink)
		}))
		raw, i := &task.Raw{Key: []byte{}, Value: []byte{}, Time: 1}, 0
		step := func() {
			k = names[i*7919%customers]
			if err := tk.Process(0, raw); err != nil {
				t.Fatal(err)
			}
			i++
		}
		for range customers {
			step()
		}
		return step
	}
	return map[string]struct {
		allocs float64
		step   func()
	}{
		"no codec": {0, noCodec()},
		"string and int64": {1, decoded(func(s topology.Stream[string, int64]) {
			up := topology.MapValues(s.Filter(func(_ string, v int64) (bool, error) { return v >= 0, nil }), func(_ string, v int64) (int64, error) { return v + 1, nil })
			topology.Aggregate(up, "sum", codec.Int64, add).To(sink)
		})},
		"count": {1, decoded(func(s topology.Stream[string, int64]) { s.Count("n").To(sink) })},
		"window": {1, decoded(func(s topology.Stream[string, int64]) {
			topology.Window(s, window.Tumbling(10*time.Second)).Count("n").To(windows)
		})},
		"merge and branch": {1, decoded(func(s topology.Stream[string, int64]) {
			br := s.Merge(s).Branch()
			br.Case("odd", func(_ string, v int64) (bool, error) { return v%2 == 1, nil }).To(sink)
			br.Default("even").Repartition("hop")
		})},
	}
}

func TestAllocationsPerRecord(t *testing.T) {
	for name, c := range chains(t) {
		if got := testing.AllocsPerRun(10_000, c.step); got > c.allocs {
			t.Errorf("%s: %v allocations per record, want at most %v", name, got, c.allocs)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	for name, c := range chains(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.step()
			}
		})
	}
}

// A repartition input with many producers: what a stamp costs.
func BenchmarkStamped(b *testing.B) {
	const producers = 64
	p := plan(b, func(b *topology.Builder) { topology.From(b, in).Repartition("hop").Filter(even) })
	tk := p.Graph().Start(1, 0, &discard{})
	from := stampers(producers)
	tk.SetUpstream(0, from)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := tk.Stamped(0, from[i%producers], int64(i), 0); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func stampers(n int) (all []offsets.Task) {
	for i := range n {
		all = append(all, offsets.Task{Partition: int32(i)})
	}
	return all
}
