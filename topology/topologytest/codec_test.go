package topologytest_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/topologytest"
	"github.com/weir-stream/weir/topology/window"
)

// subject is a codec of strings with the name of its topic in front, as a schema registry's
// has an id there. Without a topic it refuses everything.
type subject struct{ prefix []byte }

func (subject) Name() string { return "subject" }

func (subject) ForTopic(_ context.Context, topic string, key bool) (codec.Codec[string], error) {
	return subject{fmt.Appendf(nil, "%s %t:", topic, key)}, nil
}

func (s subject) Append(dst []byte, v string) ([]byte, error) {
	if s.prefix == nil {
		return dst, fmt.Errorf("subject: of no topic")
	}
	return append(append(dst, s.prefix...), v...), nil
}

func (s subject) Decode(src []byte) (string, error) {
	v, ok := bytes.CutPrefix(src, s.prefix)
	if !ok || s.prefix == nil {
		return "", fmt.Errorf("subject: %q is not of %q", src, s.prefix)
	}
	return string(v), nil
}

// A codec that depends on its topic sees the name of each: of sources, sinks, repartition
// topics and changelogs, alone and inside of Nullable and WindowedKey.
func TestCodecsKnowTheirTopics(t *testing.T) {
	var (
		c      = codec.Codec[string](subject{})
		words  = topology.NewTopic("words", c, codec.Nullable(c))
		last   = topology.NewTopic("last", topology.WindowedKey(c), c)
		left   = topology.NewTopic("left", c, c)
		right  = topology.NewTopic("right", c, c)
		copied = topology.NewTopic("copied", c, codec.Nullable(c))
	)
	d := topologytest.New(t, func() (*topology.Plan, error) {
		b := topology.New("subjects")
		in := topology.From(b, words)
		in.To(copied)
		some := topology.MapValues(in.Filter(func(_ string, v *string) (bool, error) { return v != nil, nil }), func(_ string, v *string) (string, error) { return *v, nil }).
			WithValueCodec(c)
		hopped := topology.KeyBy(some, "by-first", c, func(_, v string) (string, error) { return v[:1], nil })
		hours := topology.Window(hopped, window.Tumbling(time.Hour).EmitFinal())
		topology.Aggregate(hours, "last", c, func(_, v, _ string) (string, error) { return v, nil }).To(last)
		hopped.Route(func(k, _ string) (topology.Topic[string, string], error) {
			if k < "m" {
				return left, nil
			}
			return right, nil
		}, left, right)
		return b.Build()
	}, topologytest.Partitions(2))
	in := topologytest.Input(d, words)
	send := func(v string) { in.SendAt(noon, "key", &v) }
	send("apple")
	send("avocado")
	d.Restart()
	send("plum")
	in.SendAt(noon, "key", nil)
	if v, ok := topologytest.StoreOf(d, "last", topology.WindowedKey(c), c).Get(hour("a", 0)); !ok || v != "avocado" {
		t.Errorf("store has %q, %t", v, ok)
	}
	d.AdvanceEventTime(noon.Add(time.Hour))
	topologytest.Output(d, last).WantLast(topologytest.KV(hour("a", 0), "avocado"), topologytest.KV(hour("p", 0), "plum"))
	topologytest.Output(d, left).Want(topologytest.KV("a", "apple"), topologytest.KV("a", "avocado"))
	topologytest.Output(d, right).Want(topologytest.KV("p", "plum"))
	if got := topologytest.Output(d, copied).Take(); len(got) != 4 || got[3].Value != nil || *got[0].Value != "apple" {
		t.Errorf("copied %v", got)
	}
}
