package topology_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

func one(k string, v int64) (string, int64, error) { return k, v, nil }

func newLoop(b *topology.Builder) topology.Loop[string, int64] {
	return topology.NewLoop(b, "again", codec.String, codec.Codec[int64](decimal{}))
}

func length(k string, _ int64) (int, error) { return len(k), nil }

// Every mistake that Build finds, with a piece of what it says and of how to mend it.
func TestBuildErrors(t *testing.T) {
	type builder = topology.Builder
	for _, c := range []struct {
		name, node, what, fix string
		build                 func(b *builder)
	}{
		{"no source", "application app", "reads no topic", "topology.From", func(*builder) {}},
		{"stateful behind Map", "count n", "may be changed by map build_test.go:", `.Repartition("<uid>")`, func(b *builder) {
			topology.Map(topology.From(b, in), one).Filter(even).Count("n")
		}},
		{"stateful behind MapRecord, merged", "reduce n", "may be changed by map-record again", "KeyBy", func(b *builder) {
			s := topology.From(b, in)
			s.Merge(topology.MapRecord(s, func(r topology.Record[string, int64]) (topology.Record[string, int64], error) { return r, nil }, topology.Named("again"))).
				Reduce("n", sum)
		}},
		{"window behind FlatMap", "count n", "may be changed by flat-map", "Repartition", func(b *builder) {
			s := topology.FlatMap(topology.From(b, in), func(string, int64) ([]topology.KV[string, int64], error) { return nil, nil })
			topology.Window(s, tumbling10).Count("n")
		}},
		{"topic read twice", "source in", "is read already by build_test.go:", "use the stream", func(b *builder) {
			topology.From(b, in)
			topology.From(b, in)
		}},
		{"topic read and written", "sink in", "is read by build_test.go:", "another topic", func(b *builder) { topology.From(b, in).To(in) }},
		{"topic read and written, for a loop", "sink in", "would feed itself", "NewLoop", func(b *builder) { topology.From(b, in).Filter(even).To(in) }},
		{"topic read and routed", "route", "topic in is read by", "another topic", func(b *builder) {
			topology.From(b, in).Route(func(string, int64) (topology.Topic[string, int64], error) { return in, nil }, out, in)
		}},
		{"uid twice", "key-by n", "taken by count n", "of its own", func(b *builder) {
			s := topology.From(b, in)
			s.Count("n")
			topology.KeyBy(s, "n", codec.String, func(k string, _ int64) (string, error) { return k, nil })
		}},
		{"uid empty", "count build_test.go:", `uid ""`, "a-z", func(b *builder) { topology.From(b, in).Count("") }},
		{"uid with a dot", "repartition a.b", `uid "a.b"`, "a-z", func(b *builder) { topology.From(b, in).Repartition("a.b") }},
		{"no key codec", "count n", "the int of flat-map", "put .WithKeyCodec(...) behind flat-map", func(b *builder) {
			s := topology.FlatMap(topology.From(b, in), func(string, int64) ([]topology.KV[int, int64], error) { return nil, nil })
			s.Count("n")
		}},
		{"no value codec", "repartition n", "the int of map-values", "put .WithValueCodec(...) behind map-values", func(b *builder) {
			topology.MapValues(topology.From(b, in), length).Filter(func(string, int) (bool, error) { return true, nil }).Repartition("n")
		}},
		{"no value codec, reduced", "reduce n", "the int of map-values", "WithValueCodec", func(b *builder) {
			topology.MapValues(topology.From(b, in), length).Reduce("n", func(_ string, a, _ int) (int, error) { return a, nil })
		}},
		{"no value codec, keyed", "key-by n", "the int of map-values", "WithValueCodec", func(b *builder) {
			topology.KeyBy(topology.MapValues(topology.From(b, in), length), "n", codec.String, func(k string, _ int) (string, error) { return k, nil })
		}},
		{"codec taken away", "count n", "no codec for it", "put .WithKeyCodec(...) before it", func(b *builder) { topology.From(b, in).WithKeyCodec(nil).Count("n") }},
		{"nil key codec", "key-by n", "codec of the key is nil", "codec.String", func(b *builder) {
			topology.KeyBy(topology.From(b, in), "n", nil, func(k string, _ int64) (string, error) { return k, nil })
		}},
		{"nil state codec", "aggregate n", "codec of the value is nil", "pass one", func(b *builder) {
			topology.Aggregate(topology.From(b, in), "n", nil, func(string, int64, int64) (int64, error) { return 0, nil })
		}},
		{"topic without codecs", "source raw", "no codec for keys", "codec.Bytes", func(b *builder) {
			topology.From(b, topology.NewTopic[string, string]("raw", nil, nil))
		}},
		{"sink without codecs", "sink raw", "no codec for values", "codec.Bytes", func(b *builder) {
			topology.From(b, in).To(topology.NewTopic[string, int64]("raw", codec.String, nil))
		}},
		{"topic name", "source a b", `' ' is not allowed`, "249", func(b *builder) { topology.From(b, topology.NewTopic("a b", codec.String, codec.String)) }},
		{"topic name empty", "source build_test.go:", `topic name ""`, "249", func(b *builder) { topology.From(b, topology.NewTopic("", codec.String, codec.String)) }},
		{"internal topic", "source app.1.n.repartition", "internal topic", "the stream itself", func(b *builder) {
			topology.From(b, topology.NewTopic("app.1.n.repartition", codec.String, codec.String))
		}},
		{"control topic", "sink app.control", "internal topic", "the stream itself", func(b *builder) {
			topology.From(b, in).To(topology.NewTopic("app.control", in.KeyCodec(), in.ValueCodec()))
		}},
		{"negative disorder", "source in", "MaxDisorder is -1s", "0 or more", func(b *builder) { topology.From(b, in, topology.MaxDisorder(-time.Second)) }},
		{"negative idleness", "source in", "IdleAfter is -1s", "0 for never", func(b *builder) { topology.From(b, in, topology.IdleAfter(-time.Second)) }},
		{"start at zero", "source in", "zero time.Time", "Earliest()", func(b *builder) { topology.From(b, in, topology.StartAt(topology.At(time.Time{}))) }},
		{"no partitions", "repartition n", "number of partitions is 0", "1 or more", func(b *builder) { topology.From(b, in).Repartition("n", topology.Partitions(0)) }},
		{"nil filter", "filter even", "function is nil", "pass a function", func(b *builder) { topology.From(b, in).Filter(nil, topology.Named("even")) }},
		{"nil map", "map-values", "function is nil", "pass a function", func(b *builder) {
			topology.MapValues[string, int64, int64](topology.From(b, in), nil)
		}},
		{"nil aggregate", "aggregate n", "function is nil", "pass a function", func(b *builder) {
			topology.Aggregate[string, int64, string, int64](topology.From(b, in), "n", codec.Int64, nil)
		}},
		{"nil reduce", "reduce n", "function is nil", "pass a function", func(b *builder) { topology.From(b, in).Reduce("n", nil) }},
		{"nil case", "case x", "function is nil", "pass a function", func(b *builder) { topology.From(b, in).Branch().Case("x", nil) }},
		{"case without name", "case", "no name", "a name of its own", func(b *builder) { topology.From(b, in).Branch().Case("", even) }},
		{"case twice", "case x", "of this name already, build_test.go:", "a name of its own", func(b *builder) {
			br := topology.From(b, in).Branch()
			br.Case("x", even)
			br.Case("x", even)
		}},
		{"two defaults", "default y", "a default already, build_test.go:", "keep one", func(b *builder) {
			br := topology.From(b, in).Branch()
			br.Default("x")
			br.Default("y")
		}},
		{"route to nothing", "route", "declares no topic", "every topic", func(b *builder) {
			topology.From(b, in).Route(func(string, int64) (topology.Topic[string, int64], error) { return out, nil })
		}},
		{"route twice", "route", "topic out is declared twice", "once", func(b *builder) {
			topology.From(b, in).Route(func(string, int64) (topology.Topic[string, int64], error) { return out, nil }, out, out)
		}},
		{"zero window", "window", "size is 0s", "Tumbling", func(b *builder) { topology.Window(topology.From(b, in), window.Spec{}) }},
		{"negative grace", "window", "grace is -1s", "whole milliseconds", func(b *builder) {
			topology.Window(topology.From(b, in), tumbling10.Grace(-time.Second))
		}},
		{"two builders", "merge", `source in2 of another Builder (application "other")`, "one Builder", func(b *builder) {
			topology.From(b, in).Merge(topology.From(topology.New("other"), in2))
		}},
		{"merged with itself", "from-repartition n", "it is merged with a stream that it comes from", "the other side", func(b *builder) {
			s := topology.From(b, in)
			s.Merge(s.Repartition("n"))
		}},
		{"merged with itself, further on", "from-repartition n2", "it is merged with a stream that it comes from", "the other side", func(b *builder) {
			s := topology.From(b, in)
			s.Merge(s.Repartition("n").Repartition("n2"))
		}},
		{"merged with itself, for a loop", "from-repartition n", "its time would wait for itself", "NewLoop", func(b *builder) {
			s := topology.From(b, in)
			s.Merge(s.Repartition("n"))
		}},
		{"merged with itself, beside a loop", "from-repartition n", "it is merged with a stream that it comes from", "the other side", func(b *builder) {
			l := newLoop(b)
			s := topology.From(b, in).Merge(l.Stream())
			s.ToLoop(l)
			s.Merge(s.Repartition("n"))
		}},
		{"loop never fed", "loop again", "nothing is fed to it", ".ToLoop", func(b *builder) {
			topology.From(b, in).Merge(newLoop(b).Stream()).To(out)
		}},
		{"loop never read", "loop again", "nothing reads it", "merge its Stream", func(b *builder) { topology.From(b, in).ToLoop(newLoop(b)) }},
		{"loop without time", "loop again", "nothing but loops", "through a Repartition", func(b *builder) {
			l := newLoop(b)
			topology.From(b, in).ToLoop(l)
			l.Stream().Filter(even).ToLoop(l)
		}},
		{"loops that meet without time", "loop again2", "nothing but loops", "through a Repartition", func(b *builder) {
			first, second := newLoop(b), topology.NewLoop(b, "again2", codec.String, codec.Int64)
			s := first.Stream().Merge(second.Stream())
			s.ToLoop(first)
			s.ToLoop(second)
		}},
		{"loop that is none", "to-loop again", "nothing comes to it from loop again (build_test.go:", "Repartition, which carries time", func(b *builder) {
			l := newLoop(b)
			topology.From(b, in).ToLoop(l)
			topology.From(b, in2).Merge(l.Stream()).To(out)
		}},
		{"loop with one feeder from elsewhere", "to-loop again", "nothing comes to it from loop again (build_test.go:", "Repartition, which carries time", func(b *builder) {
			l := newLoop(b)
			topology.From(b, in2).Merge(l.Stream()).ToLoop(l)
			topology.From(b, in).ToLoop(l)
		}},
		{"uid of a loop taken", "count again", "taken by loop again", "of its own", func(b *builder) {
			l := newLoop(b)
			s := topology.From(b, in).Merge(l.Stream())
			s.Count("again")
			s.ToLoop(l)
		}},
		{"two loops of one uid", "loop again", "taken by loop again", "of its own", func(b *builder) {
			newLoop(b)
			newLoop(b)
		}},
		{"loop without uid", "loop build_test.go:", `uid ""`, "a-z", func(b *builder) { topology.NewLoop(b, "", codec.String, codec.Int64) }},
		{"loop without key codec", "loop again", "codec of the key is nil", "codec.String", func(b *builder) {
			topology.NewLoop[string](b, "again", nil, codec.Int64)
		}},
		{"loop without value codec", "loop again", "codec of the value is nil", "pass one", func(b *builder) {
			topology.NewLoop[string, int64](b, "again", codec.String, nil)
		}},
		{"loop without partitions", "loop again", "number of partitions is 0", "1 or more", func(b *builder) {
			topology.NewLoop(b, "again", codec.String, codec.Int64, topology.Partitions(0))
		}},
		{"loop of another builder", "to-loop again", `it feeds loop again of another Builder (application "other")`, "the Builder of the stream", func(b *builder) {
			topology.From(b, in).ToLoop(newLoop(topology.New("other")))
		}},
		{"stream of another builder's loop", "merge", `it takes loop again of another Builder (application "other")`, "one Builder", func(b *builder) {
			topology.From(b, in).Merge(newLoop(topology.New("other")).Stream())
		}},
		{"partitions of a loop at a merge", "loop again", "it meets from-repartition n", "the same Partitions", func(b *builder) {
			hopped := topology.From(b, in).Repartition("n", topology.Partitions(3))
			l := newLoop(b)
			hopped.Merge(l.Stream()).ToLoop(l)
		}},
		{"key codecs of a loop at a merge", "merge", "different codecs (string, json)", "one key codec", func(b *builder) {
			l := topology.NewLoop(b, "again", codec.JSON[string](), codec.Int64)
			topology.From(b, in).Merge(l.Stream()).ToLoop(l)
		}},
		{"key codecs at a merge", "merge", "different codecs (string, json)", "one key codec", func(b *builder) {
			topology.From(b, in).Merge(topology.From(b, topology.NewTopic("in2", codec.JSON[string](), in.ValueCodec())))
		}},
		{"partitions at a merge", "from-repartition n2", "it meets from-repartition n", "the same Partitions", func(b *builder) {
			topology.From(b, in).Repartition("n", topology.Partitions(3)).Merge(topology.From(b, in2).Repartition("n2"))
		}},
		{"too many stores", "count n200", "store number 201", "keep to 200", func(b *builder) {
			s := topology.From(b, in)
			for i := range 201 {
				s.Count(fmt.Sprint("n", i))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := topology.New("app")
			c.build(b)
			p, err := b.Build()
			if err == nil || p != nil {
				t.Fatalf("Build() = %v, %v", p, err)
			}
			found := false
			for _, e := range buildErrors(t, err) {
				if strings.HasPrefix(e.Node, c.node) && strings.Contains(e.What, c.what) && strings.Contains(e.Fix, c.fix) {
					found = true
				}
				if !strings.HasPrefix(e.Site, "build_test.go:") || e.Fix == "" {
					t.Errorf("site %q, fix %q", e.Site, e.Fix)
				}
			}
			if !found {
				t.Errorf("not found among:\n%v", err)
			}
		})
	}
}

func buildErrors(t *testing.T, err error) (all []*topology.BuildError) {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined", err)
	}
	for _, e := range joined.Unwrap() {
		var be *topology.BuildError
		if !errors.As(e, &be) {
			t.Fatalf("%T among the mistakes", e)
		}
		all = append(all, be)
	}
	return all
}

func TestApplicationOptionsAreChecked(t *testing.T) {
	b := topology.New("My App", topology.InternalPartitions(0))
	topology.From(b, in)
	_, err := b.Build()
	if all := buildErrors(t, err); len(all) != 2 {
		t.Fatal(err)
	}
	for _, want := range []string{"internal partitions is 0", `"My App" cannot be part`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

func TestAllMistakesComeAtOnceInTheOrderOfTheProgram(t *testing.T) {
	b := topology.New("app")
	s := topology.From(b, in, topology.MaxDisorder(-1))
	s.To(in)
	s.Filter(nil)
	topology.Map(s, one).Count("A")
	_, err := b.Build()
	var last int
	all := buildErrors(t, err)
	for _, e := range all {
		var line int
		if _, err := fmt.Sscanf(e.Site, "build_test.go:%d", &line); err != nil || line < last {
			t.Errorf("%s after line %d", e.Site, last)
		}
		last = line
	}
	if len(all) != 5 {
		t.Errorf("%d mistakes: %v", len(all), err)
	}
	if _, again := b.Build(); again == nil || again.Error() != err.Error() {
		t.Errorf("the second Build says %v", again)
	}
}

func TestNothingIsAddedAfterBuild(t *testing.T) {
	b := topology.New("app")
	l := newLoop(b)
	s := topology.From(b, in).Merge(l.Stream())
	s.Filter(even).ToLoop(l)
	s.To(out)
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	before := p.String()
	s.Filter(nil)
	s.Merge(s)
	s.ToLoop(l)
	s.Branch().Case("x", even)
	topology.Window(s, tumbling10).Late()
	if p.String() != before {
		t.Error("the plan changed")
	}
	if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), "added after Build") {
		t.Error(err)
	}
	p.Graph().Start(0, 0, &env{sub: &p.Graph().Subs[0]})
}
