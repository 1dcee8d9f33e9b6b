package tally

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// Pair is a number of records and something about their values: the last, or the sum.
type Pair struct{ N, Value int64 }

type pairCodec struct{}

func (pairCodec) Name() string { return "tally-pair" }

func (pairCodec) Append(dst []byte, p Pair) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.N))
	return binary.BigEndian.AppendUint64(dst, uint64(p.Value)), nil
}

func (pairCodec) Decode(src []byte) (Pair, error) {
	if len(src) != 16 {
		return Pair{}, fmt.Errorf("pair of %d bytes, want 16", len(src))
	}
	return Pair{int64(binary.BigEndian.Uint64(src)), int64(binary.BigEndian.Uint64(src[8:]))}, nil
}

// Tally is one run of the topology under its own names.
type Tally struct {
	App        string // also the prefix of the topics
	Keys       int
	Groups     int
	Partitions int32
	Kafka      []kgo.Opt               // for the clients that load and check: dialers, TLS
	Timeline   uint32                  // to be looked at; 0: the first
	Source     string                  // topic of the input; "": one of its own
	First      func(*topology.Builder) // what the plan has before the rest of it; nil: nothing

	inner int32                    // partitions of the repartition topic, and
	ahead func(group []byte) int64 // how far a group was before: see Rescaled
}

func (t Tally) client(brokers []string, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, t.Kafka...), opts...)...)
}

// WindowSize is the size of the windows in event time.
const WindowSize = time.Second

// Base is the time of the first record.
var Base = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (t Tally) In() string      { return cmp.Or(t.Source, t.App+"-in") }
func (t Tally) Seen() string    { return t.App + "-seen" }
func (t Tally) GroupsT() string { return t.App + "-groups" }
func (t Tally) Windows() string { return t.App + "-windows" }

func (t Tally) key(i int) string { return fmt.Sprintf("key-%06d", i%t.Keys) }

func (t Tally) group(key string) string {
	var n int
	if _, err := fmt.Sscanf(key, "key-%d", &n); err != nil {
		return "other"
	}
	return fmt.Sprintf("group-%03d", n%t.Groups)
}

// Plan builds the topology.
func (t Tally) Plan() (*topology.Plan, error) {
	b := topology.New(t.App)
	if t.First != nil {
		t.First(b)
	}
	in := topology.From(b, topology.NewTopic(t.In(), codec.String, codec.Int64))
	seen := topology.Aggregate(in, "seen", codec.Codec[Pair](pairCodec{}), func(_ string, v int64, p Pair) (Pair, error) {
		return Pair{p.N + 1, v}, nil
	})
	seen.To(topology.NewTopic(t.Seen(), codec.String, codec.Codec[Pair](pairCodec{})))
	byGroup := topology.KeyBy(in, "by-group", codec.String, func(k string, _ int64) (string, error) { return t.group(k), nil })
	groups := topology.Aggregate(byGroup, "groups", codec.Codec[Pair](pairCodec{}), func(_ string, v int64, p Pair) (Pair, error) {
		return Pair{p.N + 1, p.Value + v}, nil
	})
	groups.To(topology.NewTopic(t.GroupsT(), codec.String, codec.Codec[Pair](pairCodec{})))
	windows := topology.Window(byGroup, window.Tumbling(WindowSize).EmitFinal()).Count("windows")
	windows.To(topology.NewTopic(t.Windows(), topology.WindowedKey(codec.String), codec.Int64))
	return b.Build()
}
