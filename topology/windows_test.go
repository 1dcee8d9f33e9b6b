package topology_test

import (
	"bytes"
	"math/rand/v2"
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

var (
	tumbling10 = window.Tumbling(10 * time.Second)
	panes      = topology.NewTopic("panes", codec.Codec[topology.Windowed[string]](windowedText{}), codec.Codec[int64](decimal{}))
	tooLate    = topology.NewTopic("late", codec.String, codec.Codec[int64](decimal{}))
)

func sum(_ string, a, b int64) (int64, error) { return a + b, nil }

// sums is a plan with one windowed sum.
func sums(spec window.Spec, opts ...topology.SourceOption) func(b *topology.Builder) {
	return func(b *topology.Builder) {
		w := topology.Window(topology.From(b, in, opts...), spec)
		w.Reduce("sum", sum).To(panes)
		w.Late().To(tooLate)
	}
}

func TestEveryUpdate(t *testing.T) {
	r := start(t, sums(tumbling10))
	send(r, in, "a", 1, 1*second)
	send(r, in, "a", 2, 9*second)
	send(r, in, "b", 4, 12*second) // closes [0,10)
	send(r, in, "a", 8, 9*second)
	r.want("panes a[0,10)=1 @9999", "panes a[0,10)=3 @9999", "panes b[10,20)=4 @19999", "late a=8 @9000")
	if n := r.tasks[0].Late(); n != 1 {
		t.Error(n, "late")
	}
	if n := r.envs[0].stores[0].user(); n != 1 {
		t.Error(n, "rows")
	}
}

func TestFinalFiresOnceAfterGrace(t *testing.T) {
	r := start(t, sums(tumbling10.Grace(5*time.Second).EmitFinal()))
	send(r, in, "b", 1, 1*second)
	send(r, in, "a", 2, 12*second)
	send(r, in, "a", 3, 2*second) // within grace
	send(r, in, "a", 4, 14*second+999)
	r.want()
	send(r, in, "a", 5, 15*second)
	r.want("panes a[0,10)=3 @9999", "panes b[0,10)=1 @9999")
	send(r, in, "b", 6, 3*second)
	r.want("late b=6 @3000")
}

func TestTimeJumpsOverSeveralWindows(t *testing.T) {
	r := start(t, sums(tumbling10.EmitFinal(), topology.MaxDisorder(time.Hour)))
	for _, at := range []int64{25, 5, 15, 45, 6} {
		send(r, in, "a", 1, at*second)
	}
	send(r, in, "b", 1, 15*second)
	send(r, in, "z", 1, 100_000*second)
	r.want("panes a[0,10)=2 @9999", "panes a[10,20)=1 @19999", "panes b[10,20)=1 @19999", "panes a[20,30)=1 @29999", "panes a[40,50)=1 @49999")
}

func TestWindowsOfManyKeysCloseInSlices(t *testing.T) {
	const keys = 1000
	r := start(t, sums(tumbling10.EmitFinal()))
	for i := range int64(keys) {
		send(r, in, string([]byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676)}), 1, 5*second)
	}
	before := r.envs[0].stores[0].ranges
	send(r, in, "next", 1, 10*second)
	if len(r.out) != keys || !slices.IsSorted(r.out) {
		t.Errorf("%d results, sorted: %v", len(r.out), slices.IsSorted(r.out))
	}
	if n := r.envs[0].stores[0].ranges - before; n != keys/256+1+1 {
		t.Error(n, "ranges")
	}
}

// As long as no window can close, time moves without reading the store.
func TestNothingIsScannedWhileAllWindowsAreOpen(t *testing.T) {
	r := start(t, sums(tumbling10.Grace(time.Hour)))
	before := r.envs[0].stores[0].ranges
	for at := range int64(1000) {
		send(r, in, "a", 1, at*second)
	}
	if n := r.envs[0].stores[0].ranges - before; n != 0 {
		t.Error(n, "ranges")
	}
}

func TestOnCommitEmitsTheLastOfEach(t *testing.T) {
	r := start(t, sums(tumbling10.EmitOnCommit()))
	send(r, in, "b", 1, 1*second)
	send(r, in, "a", 2, 1*second)
	send(r, in, "b", 3, 2*second)
	r.want()
	r.commit()
	r.want("panes b[0,10)=4 @9999", "panes a[0,10)=2 @9999")
	r.commit()
	r.want()
	send(r, in, "b", 5, 3*second)
	send(r, in, "c", 6, 11*second) // closes [0,10): of its rows, b changed since
	r.want("panes b[0,10)=9 @9999")
	r.commit()
	r.want("panes c[10,20)=6 @19999")
}

func TestRollbackAndRestart(t *testing.T) {
	for _, spec := range []window.Spec{tumbling10, tumbling10.EmitFinal(), tumbling10.EmitOnCommit(), tumbling10.Grace(7 * time.Second).EmitFinal()} {
		t.Run(spec.String(), func(t *testing.T) {
			plain, hurt := start(t, sums(spec)), start(t, sums(spec))
			rng := rand.New(rand.NewPCG(1, 2))
			type record struct {
				key string
				at  int64
			}
			var now int64
			for range 60 {
				var epoch []record
				for range rng.IntN(6) {
					now += rng.Int64N(6)
					epoch = append(epoch, record{string(rune('a' + rng.IntN(3))), max(now-rng.Int64N(12), 0) * second})
				}
				run := func(r *rig) {
					for _, e := range epoch {
						send(r, in, e.key, 1, e.at)
					}
				}
				run(plain)
				plain.commit()
				before := len(hurt.out)
				if rng.IntN(2) == 0 { // an epoch that dies, by abort or by crash
					run(hurt)
					hurt.flush()
					hurt.abort()
					if rng.IntN(2) == 0 {
						hurt.open(0)
					}
					hurt.out = hurt.out[:before]
				}
				run(hurt)
				hurt.commit()
				if !slices.Equal(plain.out, hurt.out) {
					t.Fatalf("after epochs that died:\n%s\nwithout:\n%s", strings.Join(hurt.out, "\n"), strings.Join(plain.out, "\n"))
				}
				if plain.tasks[0].Watermark() != hurt.tasks[0].Watermark() {
					t.Fatal("watermarks", plain.tasks[0].Watermark(), hurt.tasks[0].Watermark())
				}
			}
			if len(plain.out) < 50 {
				t.Error("only", len(plain.out), "results: the test shows nothing")
			}
		})
	}
}

// Ten-second windows with grace, then minutes of their results behind a repartition topic:
// the results come up to 5 s after the end of their window, and none of them is late.
func TestWindowsBehindWindowsLoseNothing(t *testing.T) {
	for name, spec := range map[string]window.Spec{
		"final": tumbling10.Grace(5 * time.Second).EmitFinal(), "on commit": tumbling10.Grace(5 * time.Second).EmitOnCommit(),
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(b *topology.Builder) {
				tens := topology.Window(topology.From(b, in), spec).Reduce("tens", sum).ToStream()
				back := topology.KeyBy(tens, "back", codec.String, func(w topology.Windowed[string], _ int64) (string, error) { return w.Key, nil })
				minutes := topology.Window(back, window.Tumbling(time.Minute).EmitFinal())
				minutes.Reduce("minutes", sum).To(panes)
				minutes.Late().To(tooLate)
			})
			for at := range int64(200) {
				send(r, in, "a", 1, at*second)
				r.heartbeat()
				if at%7 == 0 {
					r.commit()
					r.heartbeat()
				}
			}
			if name == "final" {
				r.want("panes a[0,60)=60 @59999", "panes a[60,120)=60 @119999", "panes a[120,180)=60 @179999")
			}
			if n := r.tasks[1].Late(); n != 0 {
				t.Error(n, "results of windows were late at the next")
			}
			if hold := r.tasks[0].Watermark(); hold != 194*second {
				t.Error("watermark shown", hold)
			}
		})
	}
}

// The same in one sub-topology, where both windows follow one clock.
func TestWindowsBehindWindowsInOneTask(t *testing.T) {
	nested := topology.NewTopic("panes", codec.Codec[topology.Windowed[topology.Windowed[string]]](nestedText{}), codec.Codec[int64](decimal{}))
	r := start(t, func(b *topology.Builder) {
		tens := topology.Window(topology.From(b, in), tumbling10.Grace(5*time.Second).EmitFinal()).Reduce("tens", sum).ToStream()
		same := topology.Window(tens, tumbling10.EmitFinal())
		topology.Aggregate(same, "same", codec.Codec[int64](decimal{}), func(_ topology.Windowed[string], v, acc int64) (int64, error) {
			return acc + v, nil
		}).To(nested)
	})
	for at := range int64(31) {
		send(r, in, "a", 1, at*second)
	}
	send(r, in, "a", 1, 1000*second)
	r.want("panes a[0,10)[0,10)=10 @9999", "panes a[10,20)[10,20)=10 @19999", "panes a[20,30)[20,30)=10 @29999", "panes a[30,40)[30,40)=1 @39999")
	if n := r.tasks[0].Late(); n != 0 {
		t.Error(n, "late")
	}
}

// While a window closes, the watermark shown is one that its results are not behind.
func TestWatermarkIsCurrentWhileWindowsClose(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		topology.Window(topology.From(b, in), tumbling10.EmitFinal()).Reduce("sum", sum).ToStream().
			WithKeyCodec(topology.WindowedKey(codec.String)).Repartition("hop")
	})
	for _, at := range []int64{5, 3, 8} {
		send(r, in, "a", 1, at*second)
	}
	sub, input := r.input("in", false)
	raw := &task.Raw{Key: []byte("a"), Value: []byte("1"), Time: 500 * second}
	if err := r.tasks[sub].Process(input, raw); err != nil {
		t.Fatal(err)
	}
	raw = &task.Raw{Key: []byte("a"), Value: []byte("1"), Time: 2000 * second}
	if err := r.tasks[sub].Process(input, raw); err != nil {
		t.Fatal(err)
	}
	var marks []int64
	for _, h := range r.queue {
		marks = append(marks, h.stamp.Watermark)
		if h.raw.Time < h.stamp.Watermark {
			t.Errorf("result of %d stamped %d", h.raw.Time, h.stamp.Watermark)
		}
	}
	if want := []int64{9_999, 509_999}; !slices.Equal(marks, want) {
		t.Errorf("stamps %v, want %v", marks, want)
	}
}

func TestNegativeTimes(t *testing.T) {
	r := start(t, sums(tumbling10.EmitFinal()))
	send(r, in, "a", 1, -15*second)
	send(r, in, "a", 2, -5*second)
	send(r, in, "a", 3, 10*second)
	r.want("panes a[-20,-10)=1 @-10001", "panes a[-10,0)=2 @-1")
}

func TestTwoAggregatesOnOneWindow(t *testing.T) {
	counts := topology.NewTopic("counts", panes.KeyCodec(), codec.Codec[int64](decimal{}))
	r := start(t, func(b *topology.Builder) {
		w := topology.Window(topology.From(b, in), tumbling10.EmitFinal())
		w.Count("n").ToStream().To(counts)
		w.Reduce("sum", sum).To(panes)
	})
	send(r, in, "a", 5, 1)
	send(r, in, "a", 6, 2)
	send(r, in, "a", 7, 10*second)
	r.want("counts a[0,10)=2 @9999", "panes a[0,10)=11 @9999")
	send(r, in, "a", 6, 2)
	if n := r.tasks[0].Late(); n != 1 {
		t.Error(n, "late, of one record")
	}
}

func TestStreamTime(t *testing.T) {
	build := func(b *topology.Builder) {
		s := topology.From(b, in).Merge(topology.From(b, in2))
		topology.Window(s, tumbling10.EmitFinal()).Reduce("sum", sum).To(panes)
	}
	for want, opts := range map[int64][]topology.BuilderOption{offsets.NoTime: nil, 50 * second: {topology.StreamTime()}} {
		b := topology.New("app", opts...)
		build(b)
		p, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		e := &env{r: &rig{show: text}, sub: &p.Graph().Subs[0], stores: []*memory{{}}}
		tk := p.Graph().Start(0, 0, e)
		if err := tk.Process(0, &task.Raw{Key: []byte("a"), Value: []byte("1"), Time: 50 * second}); err != nil {
			t.Fatal(err)
		}
		if got := tk.Watermark(); got != want {
			t.Errorf("watermark %d, want %d", got, want)
		}
	}
}

func TestWindowedKey(t *testing.T) {
	c := topology.WindowedKey(codec.String)
	w := topology.Windowed[string]{Key: "ann", Start: time.UnixMilli(-10_000).UTC(), End: time.UnixMilli(0).UTC()}
	b, err := c.Append(nil, w)
	if err != nil {
		t.Fatal(err)
	}
	if want := []byte("ann\xff\xff\xff\xff\xff\xff\xd8\xf0\x00\x00\x00\x00\x00\x00\x00\x00"); !bytes.Equal(b, want) {
		t.Errorf("%x, want %x", b, want)
	}
	if got, err := c.Decode(b); err != nil || got != w {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Decode(b[:10]); err == nil {
		t.Error("10 bytes were read as a windowed key")
	}
	if c.Name() != "windowed string" {
		t.Error(c.Name())
	}
}

// nestedText shows windows of windows.
type nestedText struct{}

func (nestedText) Name() string { return "nested" }
func (nestedText) Append(dst []byte, w topology.Windowed[topology.Windowed[string]]) ([]byte, error) {
	dst, _ = windowedText{}.Append(dst, w.Key)
	return windowedText{}.Append(dst, topology.Windowed[string]{Start: w.Start, End: w.End})
}

func (nestedText) Decode([]byte) (w topology.Windowed[topology.Windowed[string]], err error) {
	return w, nil
}

// A task without windows has its time from the metadata beside its offsets, until its
// channels are heard again; one with windows has a row.
func TestRestoreTakesTheRowOrTheFloor(t *testing.T) {
	stateless := start(t, func(b *topology.Builder) { topology.From(b, in).Merge(topology.From(b, in2)).To(out) })
	tk := stateless.plan.Graph().Start(0, 0, stateless.envs[0])
	if err := tk.Restore(77, nil); err != nil {
		t.Fatal(err)
	}
	if got := tk.Watermark(); got != 77 {
		t.Error("watermark", got)
	}
	stateless.tasks[0] = tk
	send(stateless, in, "a", 1, 500)
	if got, own := tk.Watermark(), tk.InputWatermark(0); got != 77 || own != 500 {
		t.Error("watermark", got, "of in", own)
	}

	timed := start(t, sums(tumbling10))
	send(timed, in, "a", 1, 500)
	timed.commit()
	tk = timed.plan.Graph().Start(0, 0, timed.envs[0])
	if err := tk.Restore(77, nil); err != nil {
		t.Fatal(err)
	}
	if got := tk.Watermark(); got != 500 {
		t.Error("watermark", got)
	}
	timed.envs[0].stores[0].rows[0].value = "\x09"
	if err := timed.plan.Graph().Start(0, 0, timed.envs[0]).Restore(0, nil); err == nil || !strings.Contains(err.Error(), "restore time of task 0-0") {
		t.Error(err)
	}
}
