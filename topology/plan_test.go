package topology_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
	"github.com/weir-stream/weir/topology/window"
)

var update = flag.Bool("update", false, "write the golden files")

// shop has a node of nearly every kind.
func shop(b *topology.Builder) {
	orders := topology.From(b, topology.NewTopic("orders", codec.String, codec.Int64), topology.MaxDisorder(5*time.Second))
	refunds := topology.From(b, topology.NewTopic("refunds", codec.String, codec.Int64), topology.StartAt(topology.Latest()))
	negative := topology.MapValues(refunds, func(_ string, v int64) (int64, error) { return -v, nil }, topology.Named("negate"))
	all := orders.Filter(even, topology.Named("paid")).Merge(negative)
	all.Count("orders-per-customer").To(topology.NewTopic("orders-per-customer", codec.String, codec.Int64))

	byRegion := topology.KeyBy(all, "by-region", codec.String, func(k string, _ int64) (string, error) { return k[:2], nil }, topology.Partitions(4))
	hours := topology.Window(byRegion, window.Tumbling(time.Hour).Grace(5*time.Minute).EmitFinal())
	hours.Reduce("revenue", sum).To(topology.NewTopic("revenue-per-hour", topology.WindowedKey(codec.String), codec.Int64))
	hours.Late().To(topology.NewTopic("late", codec.String, codec.Int64))

	sorted := byRegion.Branch(topology.Named("by size"))
	large, small := topology.NewTopic("large", codec.String, codec.Int64), topology.NewTopic("small", codec.String, codec.Int64)
	sorted.Case("large", func(_ string, v int64) (bool, error) { return v > 1000, nil }).To(large)
	sorted.Default("small").Route(func(string, int64) (topology.Topic[string, int64], error) { return small, nil }, small, large)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it):\n%s", path, got)
	}
}

func TestGolden(t *testing.T) {
	p := plan(t, shop)
	golden(t, "shop.txt", p.String())
	golden(t, "shop.mmd", p.Mermaid())
	d := p.Describe()
	for i := range d.Subs {
		for j := range d.Subs[i].Nodes {
			n := &d.Subs[i].Nodes[j]
			if !strings.HasPrefix(n.Site, "plan_test.go:") {
				t.Errorf("node %d was made at %q", n.ID, n.Site)
			}
			n.Site = ""
		}
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "shop.json", string(text)+"\n")
}

func TestGraphOfThePlan(t *testing.T) {
	p := plan(t, shop)
	g := p.Graph()
	if len(g.Subs) != 2 {
		t.Fatal(len(g.Subs), "sub-topologies")
	}
	first, second := g.Subs[0], g.Subs[1]
	if first.HasTime || first.Hold != 0 || len(first.Stores) != 1 || first.Stores[0].Kind != task.StoreKeyed {
		t.Errorf("%+v", first)
	}
	if in := first.Inputs[1]; in.Topic != "refunds" || in.Start.Kind != task.Latest || in.IdleAfter != time.Minute {
		t.Errorf("%+v", in)
	}
	if !second.HasTime || second.Hold != 0 || second.Stores[0].Retention != 65*time.Minute {
		t.Errorf("%+v", second)
	}
	if in := second.Inputs[0]; !in.Internal || in.Topic != "by-region" || len(in.Upstream) != 1 || in.Upstream[0] != 0 {
		t.Errorf("%+v", in)
	}
	if n := len(second.Outputs); n != 4 {
		t.Errorf("%d outputs: a topic that two sinks write is one", n)
	}
}

// Whatever changes the fingerprint is in the diff, and only that.
func TestFingerprintAndDiff(t *testing.T) {
	type change struct {
		spec  window.Spec
		value codec.Codec[int64]
		uid   string
		extra bool
		name  string
		parts int
		order bool
		newer bool // a release with other functions, names, stateless operators and sinks
	}
	build := func(c change) *topology.Plan {
		b := topology.New(c.name)
		if c.newer {
			b = topology.New(c.name, topology.InternalPartitions(7), topology.StreamTime())
		}
		s := topology.From(b, in, topology.MaxDisorder(c.spec.GracePeriod()))
		other := topology.From(b, in2)
		if c.order {
			s, other = topology.From(b, topology.NewTopic("a", in.KeyCodec(), in.ValueCodec())), s
		}
		if c.newer {
			s.To(topology.NewTopic("audit", in.KeyCodec(), in.ValueCodec()))
			s = topology.MapValues(s.Peek(func(string, int64) error { return nil }), func(_ string, v int64) (int64, error) { return 2 * v, nil }, topology.Named("twice"))
			sorted := other.Branch(topology.Named("all"))
			sorted.Default("rest").To(topology.NewTopic("rest", in2.KeyCodec(), in2.ValueCodec()))
		}
		hopped := s.Filter(even).WithValueCodec(c.value).Repartition("hop", topology.Partitions(c.parts))
		topology.Window(hopped, c.spec).Count(c.uid).ToStream()
		if c.extra {
			other.Count("extra")
		}
		p, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	base := change{spec: tumbling10, value: codec.Int64, uid: "n", name: "app", parts: 2}
	old := build(base)
	for name, c := range map[string]struct {
		change func(*change)
		want   []string
	}{
		"nothing":     {func(*change) {}, nil},
		"newer":       {func(c *change) { c.newer = true }, nil},
		"grace":       {func(c *change) { c.spec = c.spec.Grace(time.Hour).EmitFinal() }, nil},
		"window size": {func(c *change) { c.spec = window.Tumbling(time.Hour) }, []string{`rows of n`}},
		"codec":       {func(c *change) { c.value = decimal{} }, []string{`records of hop was "key string, value int64, partitions 2", is "key string, value decimal, partitions 2"; give it a new uid`}},
		"partitions":  {func(c *change) { c.parts = 3 }, []string{`records of hop`}},
		"uid":         {func(c *change) { c.uid = "m" }, []string{`store of n is gone (sub-topology 2, store 0)`, `rows of n`, `store of m is new`, `rows of m`}},
		"new store":   {func(c *change) { c.extra = true }, []string{`store of extra`, `rows of extra`}},
		"new source":  {func(c *change) { c.order = true }, []string{`source of a`, `reading end of hop`, `store of n`, `writing end of hop`, `number of sub-topologies`}},
		"application": {func(c *change) { c.name = "ppa" }, []string{`application was "app"`}},
	} {
		t.Run(name, func(t *testing.T) {
			changed := base
			c.change(&changed)
			p := build(changed)
			diff := p.Diff(old.Describe())
			if same := p.Fingerprint() == old.Fingerprint(); same != (len(diff) == 0) || same != (c.want == nil) {
				t.Errorf("same fingerprint: %v, differences: %v", same, diff)
			}
			for _, want := range c.want {
				found := false
				for _, d := range diff {
					found = found || strings.HasPrefix(d.String(), want)
				}
				if !found {
					t.Errorf("%s is not in %v", want, diff)
				}
			}
			if len(diff) != len(c.want) {
				t.Errorf("differences: %v", diff)
			}
		})
	}
}

// A description survives JSON: that is how it is stored.
func TestDescriptionSurvivesJSON(t *testing.T) {
	p := plan(t, shop)
	text, err := json.Marshal(p.Describe())
	if err != nil {
		t.Fatal(err)
	}
	var d topology.Description
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if diff := p.Diff(d); len(diff) != 0 {
		t.Error(diff)
	}
}

// The fingerprint is compared between versions of the program and of this library.
func TestFingerprintIsStable(t *testing.T) {
	golden(t, "shop.fingerprint", plan(t, shop).Fingerprint()+"\n")
}
