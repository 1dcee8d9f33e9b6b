package topology_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

var errBad = errors.New("bad day")

// picky fails to encode 13.
type picky struct{ decimal }

func (picky) Append(dst []byte, v int64) ([]byte, error) {
	if v == 13 {
		return dst, errBad
	}
	return decimal{}.Append(dst, v)
}

// The node that fails is named, with its line and the record, whatever is before or behind.
func TestOperatorErrors(t *testing.T) {
	fail := func(bool) error { return errBad }
	die := func(panics bool) error {
		if panics {
			panic(errBad)
		}
		return errBad
	}
	type stream = topology.Stream[string, int64]
	pickyOut := topology.NewTopic("picky", codec.String, codec.Codec[int64](picky{}))
	for node, build := range map[string]func(b *topology.Builder, s stream, err func(panics bool) error){
		"filter x": func(_ *topology.Builder, s stream, err func(bool) error) {
			s.Filter(func(string, int64) (bool, error) { return false, err(true) }, topology.Named("x")).To(out)
		},
		"peek x": func(_ *topology.Builder, s stream, err func(bool) error) {
			s.Peek(func(string, int64) error { return err(true) }, topology.Named("x")).To(out)
		},
		"for-each x": func(_ *topology.Builder, s stream, err func(bool) error) {
			s.ForEach(func(string, int64) error { return err(true) }, topology.Named("x"))
		},
		"map x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.Map(s, func(k string, v int64) (string, int64, error) { return k, v, err(true) }, topology.Named("x"))
		},
		"map-values x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.MapValues(s, func(_ string, v int64) (int64, error) { return v, err(true) }, topology.Named("x"))
		},
		"flat-map x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.FlatMap(s, func(string, int64) ([]topology.KV[string, int64], error) { return nil, err(true) }, topology.Named("x"))
		},
		"flat-map-values x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.FlatMapValues(s, func(string, int64) ([]int64, error) { return nil, err(true) }, topology.Named("x"))
		},
		"map-record x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.MapRecord(s, func(r topology.Record[string, int64]) (topology.Record[string, int64], error) { return r, err(true) }, topology.Named("x"))
		},
		"case x": func(_ *topology.Builder, s stream, err func(bool) error) {
			s.Branch().Case("x", func(string, int64) (bool, error) { return false, err(true) })
		},
		"route": func(_ *topology.Builder, s stream, err func(bool) error) {
			s.Route(func(string, int64) (topology.Topic[string, int64], error) { return out, err(true) }, out)
		},
		"key-by x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.KeyBy(s, "x", codec.String, func(string, int64) (string, error) { return "", err(true) })
		},
		"aggregate x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.Aggregate(s, "x", codec.Int64, func(string, int64, int64) (int64, error) { return 0, err(true) })
		},
		"reduce x": func(_ *topology.Builder, s stream, err func(bool) error) {
			topology.Window(s, tumbling10).Reduce("x", func(string, int64, int64) (int64, error) { return 0, err(true) })
		},
		"sink picky": func(_ *topology.Builder, s stream, _ func(bool) error) { s.To(pickyOut) },
		"repartition x": func(_ *topology.Builder, s stream, _ func(bool) error) {
			s.WithValueCodec(picky{}).Repartition("x")
		},
	} {
		for how, err := range map[string]func(bool) error{"error": fail, "panic": die} {
			t.Run(node+" "+how, func(t *testing.T) {
				bad := false
				r := start(t, func(b *topology.Builder) {
					s := topology.From(b, in).Peek(func(string, int64) error { return nil })
					build(b, s, func(p bool) error {
						if bad {
							return err(p)
						}
						return nil
					})
					s.Peek(func(string, int64) error { return nil }, topology.Named("behind"))
				})
				send(r, in, "k", 12, 1)
				bad = true
				got := trySend(r, in, "k", 13, 2)
				var oe *topology.OperatorError
				if !errors.As(got, &oe) || !errors.Is(got, errBad) {
					t.Fatal(got)
				}
				if !strings.HasPrefix(oe.Node, node) || !strings.HasPrefix(oe.Site, "errors_test.go:") || oe.Topic != "in" || oe.Offset != 1 {
					t.Errorf("%+v", oe)
				}
				var pe *topology.PanicError
				if errors.As(got, &pe) && !strings.Contains(string(pe.Stack), "errors_test.go") {
					t.Errorf("stack: %s", pe.Stack)
				}
			})
		}
	}
}

func TestDecodeError(t *testing.T) {
	r := start(t, func(b *topology.Builder) { topology.From(b, in).To(out) })
	err := r.try("in", []byte("k"), []byte("x"), 1)
	if err == nil || !strings.Contains(err.Error(), "source in (errors_test.go:") || !strings.Contains(err.Error(), "in/0@0: decode value as decimal: ") {
		t.Error(err)
	}
}

// Time that moves without a record may fail in an operator as well.
func TestErrorBehindAClosingWindow(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		topology.Window(topology.From(b, in), tumbling10.EmitFinal()).Reduce("sum", sum).ToStream().
			ForEach(func(topology.Windowed[string], int64) error { panic("no") })
	})
	send(r, in, "a", 1, 1)
	err := r.tasks[0].Stamped(0, offsets.Task{}, 20*second, 0)
	var oe *topology.OperatorError
	if !errors.As(err, &oe) || !strings.HasPrefix(oe.Node, "for-each") || oe.Topic != "" || oe.Offset != -1 {
		t.Error(err)
	}
}

// What the surroundings return is no operator's error, and keeps its type.
func TestEnvErrors(t *testing.T) {
	for name, build := range map[string]func(b *topology.Builder){
		"keyed":  func(b *topology.Builder) { topology.From(b, in).Count("n") },
		"window": func(b *topology.Builder) { topology.Window(topology.From(b, in), tumbling10).Count("n") },
		"sink":   func(b *topology.Builder) { topology.From(b, in).To(out) },
		"hop":    func(b *topology.Builder) { topology.From(b, in).Repartition("n") },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, build)
			r.envs[0].fail = errBad
			for _, m := range r.envs[0].stores {
				m.fail = errBad
			}
			err := trySend(r, in, "k", 1, 1)
			var oe *topology.OperatorError
			var ee *task.EnvError
			if errors.As(err, &oe) || !errors.As(err, &ee) || !errors.Is(err, errBad) || !strings.Contains(err.Error(), "errors_test.go:") {
				t.Error(err)
			}
		})
	}
}

// A source that is silent lets time go on after its IdleAfter.
func TestIdleSourceIsNotWaitedFor(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		s := topology.From(b, in).Merge(topology.From(b, in2, topology.IdleAfter(30*time.Second)))
		topology.Window(s, tumbling10.EmitFinal()).Reduce("sum", sum).To(panes)
	})
	tick := func(now int64) {
		t.Helper()
		if err := r.tasks[0].Tick(now * second); err != nil {
			t.Fatal(err)
		}
	}
	tick(1000)
	send(r, in, "a", 1, 1*second)
	send(r, in, "a", 2, 20*second)
	tick(1029)
	r.want()
	tick(1030)
	r.want("panes a[0,10)=1 @9999")
	if r.tasks[0].Idle() {
		t.Error("idle, but one source is not")
	}
	tick(1089)
	if !r.tasks[0].Idle() {
		t.Error("both are silent, and the task is not idle")
	}
	send(r, in2, "b", 4, 5*second) // comes back behind time
	r.want()
	if n := r.tasks[0].Late(); n != 1 {
		t.Error(n, "late")
	}
	if w := r.tasks[0].Watermark(); w != 20*second {
		t.Error("time went back to", w)
	}
}
