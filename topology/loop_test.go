package topology_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
	"github.com/weir-stream/weir/topology/window"
)

// search has a loop of its own sub-topology, and one through two that is fed in both.
func search(b *topology.Builder) {
	near := topology.NewLoop(b, "near", codec.String, codec.Int64)
	far := topology.NewLoop(b, "far", codec.String, codec.Int64, topology.Named("the long way"))
	s := topology.From(b, in).Merge(near.Stream(), far.Stream())
	s.Filter(even).ToLoop(near)
	s.Filter(even, topology.Named("far")).ToLoop(far)
	closed := topology.Window(s, tumbling10.Grace(5*time.Second).EmitFinal()).Count("seen").ToStream()
	behind := topology.Map(closed, func(w topology.Windowed[string], n int64) (string, int64, error) { return w.Key, n, nil }).
		WithKeyCodec(codec.String).Repartition("by-key")
	behind.Filter(even).ToLoop(far)
	behind.To(out)
}

func TestGoldenLoops(t *testing.T) {
	p := plan(t, search)
	golden(t, "search.txt", p.String())
	golden(t, "search.mmd", p.Mermaid())
}

func TestGraphOfLoops(t *testing.T) {
	g := plan(t, search).Graph()
	if len(g.Subs) != 2 {
		t.Fatal(len(g.Subs), "sub-topologies")
	}
	first, second := g.Subs[0], g.Subs[1]
	var got []string
	for i, in := range first.Inputs {
		got = append(got, in.Topic)
		if in.Internal != in.Loop || in.Loop != (in.Topic != "in") {
			t.Errorf("input %d: %+v", i, in)
		}
	}
	if !slices.Equal(got, []string{"near", "far", "in"}) {
		t.Errorf("inputs %v", got)
	}
	if near, far := first.Inputs[0].Upstream, first.Inputs[1].Upstream; !slices.Equal(near, []int{0}) || !slices.Equal(far, []int{0, 1}) {
		t.Errorf("near is written by %v, far by %v", near, far)
	}
	// Results of a window go out behind its grace, through the repartition topic alone.
	if first.Hold != 5*time.Second || second.Hold != 0 {
		t.Errorf("hold %v and %v", first.Hold, second.Hold)
	}
	for _, o := range slices.Concat(first.Outputs, second.Outputs) {
		if o.Loop != (o.Topic == "near" || o.Topic == "far") {
			t.Errorf("%+v", o)
		}
	}
}

// A result of a window that is fed back does not keep the time of other readers behind: its
// own is not looked at.
func TestLoopBehindAWindowDoesNotHold(t *testing.T) {
	g := plan(t, func(b *topology.Builder) {
		l := newLoop(b)
		s := topology.From(b, in).Merge(l.Stream())
		closed := topology.Window(s, tumbling10.Grace(5*time.Second)).Count("seen").ToStream()
		topology.Map(closed, func(w topology.Windowed[string], n int64) (string, int64, error) { return w.Key, n, nil }).ToLoop(l)
		s.Repartition("by-key").To(out)
	}).Graph()
	if g.Subs[0].Hold != 0 {
		t.Errorf("hold %v", g.Subs[0].Hold)
	}
}

// Loops are in the fingerprint, and in what differs: what they hold, where they are read and
// where fed.
func TestLoopsInFingerprintAndDiff(t *testing.T) {
	type change struct {
		twice, first bool
		value        codec.Codec[int64]
	}
	build := func(c change) *topology.Plan {
		return plan(t, func(b *topology.Builder) {
			value := codec.Int64
			if c.value != nil {
				value = c.value
			}
			var s topology.Stream[string, int64]
			if !c.first {
				s = topology.From(b, in2)
			}
			l := topology.NewLoop(b, "again", codec.String, value)
			if c.first {
				s = topology.From(b, in2)
			}
			s = s.Merge(l.Stream())
			s.ToLoop(l)
			next := s.Repartition("next")
			next.To(out)
			if c.twice {
				next.ToLoop(l)
			}
		})
	}
	same := func(p, old *topology.Plan, want ...string) {
		t.Helper()
		diff := p.Diff(old.Describe())
		if same := p.Fingerprint() == old.Fingerprint(); same != (len(diff) == 0) || same != (want == nil) || len(diff) != len(want) {
			t.Errorf("same fingerprint: %v, differences: %v", same, diff)
		}
		for _, w := range want {
			if !slices.ContainsFunc(diff, func(d topology.Difference) bool { return strings.HasPrefix(d.String(), w) }) {
				t.Errorf("%s is not in %v", w, diff)
			}
		}
	}
	base := build(change{})
	same(build(change{}), base)
	same(build(change{value: decimal{}}), base, "records of again")
	same(build(change{first: true}), base, "source of in2 was", "loop of again was")
	twice := build(change{twice: true})
	same(twice, build(change{twice: true}))
	same(twice, base, "writing end 2 of again is new")
	same(base, twice, "writing end 2 of again is gone")
	same(build(change{twice: true, value: decimal{}}), twice, "records of again")
}

// A plan that was a repartition and is a loop of the same name is another plan, though topics
// and positions could be the same.
func TestLoopIsNoRepartition(t *testing.T) {
	p := plan(t, func(b *topology.Builder) {
		l := newLoop(b)
		topology.From(b, in).Merge(l.Stream()).ToLoop(l)
	})
	d := p.Describe()
	d.Subs[0].Inputs[0].Loop = false
	diff := p.Diff(d)
	if len(diff) != 2 || !strings.HasPrefix(diff[0].String(), "reading end of again is gone") || !strings.HasPrefix(diff[1].String(), "loop of again is new") {
		t.Errorf("%v", diff)
	}
}

// A loop neither holds time back nor moves it. What comes out of it when its window has
// closed is late, like any other record.
func TestLoopHasNoTime(t *testing.T) {
	late := topology.NewTopic("late", codec.String, codec.Codec[int64](decimal{}))
	r := start(t, func(b *topology.Builder) {
		l := newLoop(b)
		s := topology.From(b, in).Merge(l.Stream())
		topology.MapValues(s.Filter(func(_ string, v int64) (bool, error) { return v > 0, nil }), func(_ string, v int64) (int64, error) { return v - 1, nil }).
			ToLoop(l)
		w := topology.Window(s, window.Tumbling(10*time.Second).EmitFinal())
		w.Count("seen").To(topology.NewTopic("out", topology.WindowedKey(codec.String), codec.Codec[int64](decimal{})))
		w.Late().To(late)
	})
	r.show = func(topic string, o *task.Out) string {
		if topic == "late" {
			return text(topic, o)
		}
		k, err := topology.WindowedKey(codec.String).Decode(o.Key)
		if err != nil {
			t.Fatal(err)
		}
		return string(k.Key) + "=" + string(o.Value)
	}
	send(r, in, "ann", 3, 5*second)
	r.want()
	send(r, in, "bob", 0, 10*second) // the loop is silent, and nobody waits for it
	r.want("out ann=4")
	if got := r.tasks[0].Watermark(); got != 10*second {
		t.Errorf("watermark %d", got)
	}
	// Two rounds begin while their window is open; a record of the source closes it in between.
	sub, input := r.input("again", true)
	key, value, err := in.Encode("ann", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.tasks[sub].Stamped(input, offsets.Task{}, 99*second, offsets.Data); err != nil {
		t.Fatal(err)
	}
	if got := r.tasks[0].Watermark(); got != 10*second {
		t.Errorf("a stamp in a loop moved time to %d", got)
	}
	if err := r.tasks[sub].Process(input, &task.Raw{Key: key, Value: value, Time: 15 * second, Topic: "again"}); err != nil {
		t.Fatal(err)
	}
	waiting := r.queue
	r.queue = nil
	send(r, in, "bob", 0, 20*second)
	r.want("out ann=1", "out bob=1")
	r.queue = waiting
	if err := r.drain(); err != nil {
		t.Fatal(err)
	}
	r.want("late ann=0 @15000")
}

// A source that is idle makes its task idle, whatever goes round in it.
func TestLoopDoesNotKeepATaskAwake(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		l := newLoop(b)
		topology.From(b, in, topology.IdleAfter(time.Second)).Merge(l.Stream()).ToLoop(l)
	})
	tk := r.tasks[0]
	key, value, err := in.Encode("ann", 1)
	if err != nil {
		t.Fatal(err)
	}
	_, loop := r.input("again", true)
	for now := range int64(3) {
		if err := tk.Tick(now * 1000); err != nil {
			t.Fatal(err)
		}
		if err := tk.Process(loop, &task.Raw{Key: key, Value: value, Topic: "again"}); err != nil {
			t.Fatal(err)
		}
		if idle := tk.Idle(); idle != (now > 0) {
			t.Errorf("after %d s: idle %v", now, idle)
		}
	}
	if len(r.queue) != 3 {
		t.Errorf("%d records went round", len(r.queue))
	}
}
