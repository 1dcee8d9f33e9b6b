package topology_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// unusable is a codec that knows that it cannot work.
type unusable struct {
	decimal
	why string
}

func (u unusable) Check() error { return errors.New(u.why) }

// Build tells of codecs that cannot work, each once, at the node that brings it in.
func TestUnusableCodecsAreMistakes(t *testing.T) {
	type c = codec.Codec[int64]
	key, value, stored := unusable{why: "bad key"}, unusable{why: "bad value"}, unusable{why: "bad store"}
	b := topology.New("app")
	s := topology.From(b, topology.NewTopic("in", codec.String, c(value)))
	byKey := topology.KeyBy(s, "by-key", c(key), func(string, int64) (int64, error) { return 0, nil })
	sums := topology.Aggregate(topology.Window(byKey, tumbling10), "sums", codec.Nullable(c(stored)), func(int64, int64, *int64) (*int64, error) { return nil, nil })
	sums.To(topology.NewTopic("out", topology.WindowedKey(c(key)), codec.Nullable(c(stored))))
	_, err := b.Build()
	if err == nil {
		t.Fatal("it was built")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{
		"source in (codecs_test.go:28): its codec decimal of the value cannot be used: bad value; correct what the codec is made of: its schema, or its Go type",
		"key-by by-key (codecs_test.go:29): its codec decimal of the key cannot be used: bad key; ",
		"aggregate sums (codecs_test.go:30): its codec nullable decimal of the value cannot be used: bad store; ",
	}
	if len(lines) != len(want) {
		t.Errorf("got %d mistakes, want %d:\n%v", len(lines), len(want), err)
	}
	for _, w := range want {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, w) }) {
			t.Errorf("%q is not in:\n%v", w, err)
		}
	}
}

// topical is decimal with the name of its topic in front.
type topical struct {
	decimal
	topic string
}

func (c topical) ForTopic(_ context.Context, topic string, key bool) (codec.Codec[int64], error) {
	if topic == "broken" {
		return nil, errors.New("no such subject")
	}
	if topic == "nothing" {
		return nil, nil
	}
	if key {
		topic = "key of " + topic
	}
	return topical{topic: topic}, nil
}

func (c topical) Append(dst []byte, v int64) ([]byte, error) {
	return c.decimal.Append(append(dst, c.topic+":"...), v)
}

func (c topical) Decode(src []byte) (int64, error) {
	rest, ok := strings.CutPrefix(string(src), c.topic+":")
	if !ok {
		return 0, errors.New(string(src) + " is not of " + c.topic)
	}
	return c.decimal.Decode([]byte(rest))
}

// The codecs of a plan are bound per run, all of them or none; the plan does not change.
func TestBoundCodecs(t *testing.T) {
	c := codec.Codec[int64](topical{})
	p := plan(t, func(b *topology.Builder) {
		s := topology.From(b, topology.NewTopic("in", c, c))
		s.To(topology.NewTopic("out", c, codec.Int64))
		s.To(topology.NewTopic("out", codec.Int64, c))
		s.Repartition("hop").Count("n")
	})
	names := map[task.TopicKind]string{task.SourceTopic: "source ", task.SinkTopic: "sink ", task.RepartitionTopic: "repartition ", task.ChangelogTopic: "changelog "}
	var asked []string
	bind := func(rename func(string) string) (*task.Graph, error) {
		return p.Bind(t.Context(), func(use task.CodecUse) string {
			name := rename(names[use.Kind] + use.Topic)
			asked = append(asked, name)
			return name
		})
	}
	g, err := bind(func(s string) string { return s })
	if err != nil || g == p.Graph() || len(g.Nodes) != len(p.Graph().Nodes) {
		t.Fatal(g, err)
	}
	want := []string{"changelog n", "repartition hop", "repartition hop", "sink out", "sink out", "source in", "source in"}
	if slices.Sort(asked); !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	_, err = bind(func(s string) string {
		return map[string]string{"sink out": "broken", "changelog n": "nothing"}[s]
	})
	var ce *task.CodecError
	if !errors.As(err, &ce) || ce.Topic != "broken" {
		t.Fatal(err)
	}
	for _, want := range []string{
		"sink out (codecs_test.go:88): codec decimal of the key of topic broken: no such subject",
		"sink out (codecs_test.go:89): codec decimal of the value of topic broken: no such subject",
		"count n (codecs_test.go:90): codec decimal of the key of topic nothing: decimal: ForTopic gave no codec for topic nothing",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}

	// A plan without such codecs is used as it is.
	p = plan(t, func(b *topology.Builder) { topology.From(b, in).To(out) })
	if g, err := bind(func(s string) string { return s }); err != nil || g != p.Graph() {
		t.Errorf("%v, %v", g, err)
	}
}
