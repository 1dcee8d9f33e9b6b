package topology_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

var (
	in  = topology.NewTopic("in", codec.String, codec.Codec[int64](decimal{}))
	in2 = topology.NewTopic("in2", codec.String, codec.Codec[int64](decimal{}))
	out = topology.NewTopic("out", codec.String, codec.Codec[int64](decimal{}))
)

func even(_ string, v int64) (bool, error) { return v%2 == 0, nil }

func TestFilters(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		s := topology.From(b, in)
		s.Filter(even).To(out)
		s.FilterNot(even).To(out)
	})
	for i := range int64(4) {
		send(r, in, "k", i, 10+i)
	}
	r.want("out k=0 @10", "out k=1 @11", "out k=2 @12", "out k=3 @13")
}

func TestPeekAndForEach(t *testing.T) {
	var seen []string
	r := start(t, func(b *topology.Builder) {
		see := func(name string) func(string, int64) error {
			return func(k string, v int64) error {
				seen = append(seen, fmt.Sprint(name, k, v))
				return nil
			}
		}
		s := topology.From(b, in).Peek(see("peek "))
		s.ForEach(see("each "))
		s.To(out)
	})
	send(r, in, "k", 7, 1)
	r.want("out k=7 @1")
	if got := strings.Join(seen, ", "); got != "peek k7, each k7" {
		t.Error(got)
	}
}

func TestMaps(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		s := topology.From(b, in)
		topology.Map(s, func(k string, v int64) (string, int64, error) { return k + "!", v + 1, nil }).To(out)
		topology.MapValues(s, func(_ string, v int64) (int64, error) { return v * 2, nil }).To(out)
		topology.FlatMap(s, func(k string, v int64) ([]topology.KV[string, int64], error) {
			return []topology.KV[string, int64]{{Key: k + "1", Value: v}, {Key: k + "2", Value: v}}, nil
		}).To(out)
		topology.FlatMapValues(s, func(_ string, v int64) ([]int64, error) { return []int64{v, -v}, nil }).To(out)
		topology.FlatMapValues(s, func(string, int64) ([]int64, error) { return nil, nil }).To(out)
	})
	send(r, in, "k", 5, 1)
	r.want("out k!=6 @1", "out k=10 @1", "out k1=5 @1", "out k2=5 @1", "out k=5 @1", "out k=-5 @1")
}

func TestMapRecordSeesAndSetsTimeAndHeaders(t *testing.T) {
	var seen topology.Record[string, int64]
	r := start(t, func(b *topology.Builder) {
		s := topology.From(b, in)
		topology.MapRecord(s, func(r topology.Record[string, int64]) (topology.Record[string, int64], error) {
			seen = r
			r.Time = r.Time.Add(time.Second)
			r.Headers = append(r.Headers, topology.Header{Key: "b", Value: []byte("2")})
			return r, nil
		}).To(out)
		topology.MapRecord(s, func(r topology.Record[string, int64]) (topology.Record[string, int64], error) {
			return topology.Record[string, int64]{Key: r.Key, Value: r.Value}, nil // keeps the time, drops the headers
		}).To(out)
		s.To(out) // sees nothing of the others
	})
	send(r, in, "k", 0, 0)
	r.out = nil
	send(r, in, "k", 5, 7, task.Header{Key: "a", Value: []byte("1")})
	r.want("out k=5 @1007 a:1 b:2", "out k=5 @7", "out k=5 @7 a:1")
	want := topology.Origin{Topic: "in", Partition: 0, Offset: 1}
	if seen.Origin != want || !seen.Time.Equal(time.UnixMilli(7)) {
		t.Errorf("record seen: %+v", seen)
	}
}

func TestMergeOfTwoSourcesIsOneSubTopology(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		a, c := topology.From(b, in), topology.From(b, in2)
		a.Filter(even).Merge(c, a.FilterNot(even)).Reduce("sum", func(_ string, a, b int64) (int64, error) { return a + b, nil }).To(out)
	})
	if n := len(r.tasks); n != 1 {
		t.Fatal(n, "sub-topologies")
	}
	send(r, in, "k", 1, 1)
	send(r, in2, "k", 2, 2)
	send(r, in, "k", 4, 3)
	r.want("out k=1 @1", "out k=3 @2", "out k=7 @3")
}

func TestBranchTakesTheFirstCase(t *testing.T) {
	a, c, d := topology.NewTopic("a", codec.String, in.ValueCodec()), topology.NewTopic("c", codec.String, in.ValueCodec()), topology.NewTopic("d", codec.String, in.ValueCodec())
	r := start(t, func(b *topology.Builder) {
		br := topology.From(b, in).Branch()
		br.Default("rest").To(d)
		br.Case("even", even).To(a)
		br.Case("small", func(_ string, v int64) (bool, error) { return v < 10, nil }).To(c)
		nowhere := topology.From(b, in2).Branch(topology.Named("no default"))
		nowhere.Case("even", even).To(a)
	})
	for _, v := range []int64{2, 3, 13} {
		send(r, in, "k", v, 1)
	}
	send(r, in2, "k", 1, 1)
	r.want("a k=2 @1", "c k=3 @1", "d k=13 @1")
}

func TestKeyByBringsKeysTogether(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		s := topology.KeyBy(topology.From(b, in), "by-parity", codec.String, func(_ string, v int64) (string, error) {
			return []string{"even", "odd"}[v%2], nil
		}, topology.Partitions(3))
		s.Count("n").ToStream().WithValueCodec(decimal{}).To(out)
	})
	if o := r.plan.Graph().Subs[0].Outputs[0]; !o.Internal || o.Partitions != 3 || o.Topic != "by-parity" {
		t.Errorf("output %+v", o)
	}
	send(r, in, "a", 1, 1, task.Header{Key: "h", Value: []byte("x")})
	send(r, in, "b", 2, 2)
	send(r, in, "c", 3, 3)
	r.want("out odd=1 @1 h:x", "out even=1 @2", "out odd=2 @3")
}

func TestRepartitionKeepsTheKey(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		s := topology.Map(topology.From(b, in), func(k string, v int64) (string, int64, error) { return k[:1], v, nil })
		s.Repartition("first").Reduce("last", func(_ string, _, b int64) (int64, error) { return b, nil }).To(out)
	})
	send(r, in, "ann", 1, 1)
	send(r, in, "alf", 2, 2)
	r.want("out a=1 @1", "out a=2 @2")
	if n := r.envs[1].stores[0].user(); n != 1 {
		t.Error(n, "rows")
	}
}

func TestRoute(t *testing.T) {
	small := topology.NewTopic("small", codec.String, codec.Int64) // its own codec
	stray := topology.NewTopic("stray", codec.String, codec.Int64)
	r := start(t, func(b *topology.Builder) {
		topology.From(b, in).Route(func(_ string, v int64) (topology.Topic[string, int64], error) {
			switch {
			case v < 0:
				return stray, nil
			case v < 10:
				return small, nil
			}
			return out, nil
		}, out, small)
	})
	r.show = func(topic string, o *task.Out) string {
		if topic == "small" {
			return fmt.Sprintf("%s=%x", o.Key, o.Value)
		}
		return text(topic, o)
	}
	send(r, in, "k", 50, 1)
	send(r, in, "k", 5, 1)
	r.want("out k=50 @1", "small k=0000000000000005")
	var oe *topology.OperatorError
	if err := trySend(r, in, "k", -1, 1); !errors.As(err, &oe) || !strings.Contains(err.Error(), `"stray"`) {
		t.Error(err)
	}
}

func TestAggregateStartsFromZero(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		topology.Aggregate(topology.From(b, in), "sum", codec.Codec[int64](decimal{}), func(_ string, v, sum int64) (int64, error) {
			return sum + v, nil
		}).To(out)
	})
	send(r, in, "k", 3, 1)
	send(r, in, "k", 4, 2)
	send(r, in, "l", 5, 3)
	r.want("out k=3 @1", "out k=7 @2", "out l=5 @3")
}

func TestNullDeletesARow(t *testing.T) {
	last := codec.Nullable(codec.Codec[int64](decimal{}))
	nullable := topology.NewTopic("in", codec.String, last)
	changes, news := topology.NewTopic("changes", codec.String, last), topology.NewTopic("news", codec.String, last)
	r := start(t, func(b *topology.Builder) {
		table := topology.From(b, nullable).Reduce("last", func(_ string, _, b *int64) (*int64, error) { return b, nil })
		table.To(changes)
		table.ToStream().To(news)
	})
	one := int64(1)
	send(r, nullable, "k", nil, 1) // nothing was there
	send(r, nullable, "k", &one, 2)
	send(r, nullable, "k", nil, 3)
	r.want("changes k=1 @2", "news k=1 @2", "changes k=null @3")
	if n := r.envs[0].stores[0].user(); n != 0 {
		t.Error(n, "rows left")
	}
}

func TestNullRules(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		s := topology.From(b, in)
		s.To(out)
		free := topology.From(b, topology.NewTopic("free", codec.Nullable(codec.String), codec.Bytes))
		free.To(topology.NewTopic("out", codec.Nullable(codec.String), codec.Bytes))
		free.Filter(func(_ *string, v []byte) (bool, error) { return string(v) == "count", nil }).Count("n")
		free.Filter(func(_ *string, v []byte) (bool, error) { return string(v) == "key", nil }).Repartition("hop")
	})
	wantError := func(err error, text string) {
		t.Helper()
		var oe *topology.OperatorError
		if !errors.As(err, &oe) || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want %q", err, text)
		}
	}
	wantError(r.try("in", nil, []byte("1"), 1), "decode key as string: it is null")
	wantError(r.try("in", []byte("k"), nil, 1), "decode value as decimal: it is null")
	if err := r.try("free", nil, nil, 5); err != nil {
		t.Error(err)
	}
	if err := r.try("free", []byte{}, []byte{}, 6); err != nil {
		t.Error(err)
	}
	r.want("out null=null @5", "out = @6")
	wantError(r.try("free", nil, []byte("count"), 1), "the key is null")
	wantError(r.try("free", nil, []byte("key"), 1), "the key is null")
}

func TestEventTime(t *testing.T) {
	timed := in.EventTime(func(_ string, v int64) (time.Time, error) {
		if v == 0 {
			return time.Time{}, nil
		}
		return time.UnixMilli(v), nil
	})
	r := start(t, func(b *topology.Builder) { topology.From(b, timed, topology.MaxDisorder(time.Second)).To(out) })
	send(r, timed, "k", 5000, 1)
	r.want("out k=5000 @5000")
	if w := r.tasks[0].Watermark(); w != 4000 {
		t.Error("watermark", w)
	}
	if err := trySend(r, timed, "k", 0, 1); err == nil || !strings.Contains(err.Error(), "zero time.Time") {
		t.Error(err)
	}
}

func TestUnusedStreamsAreFine(t *testing.T) {
	r := start(t, func(b *topology.Builder) {
		s := topology.From(b, in)
		s.Filter(even)
		topology.Window(s, tumbling10)
		s.Branch().Case("x", even)
	})
	send(r, in, "k", 1, 1)
	r.want()
}

func TestTopicEncodesAndDecodes(t *testing.T) {
	k, v, err := in.Encode("a", 5)
	if err != nil || string(k) != "a" || string(v) != "5" {
		t.Error(string(k), string(v), err)
	}
	key, value, err := in.Decode(k, v)
	if err != nil || key != "a" || value != 5 {
		t.Error(key, value, err)
	}
	if _, _, err := in.Decode(nil, v); err == nil {
		t.Error("a null key of a string was read")
	}
	if p := in.PartitionKey(k); string(p) != "a" {
		t.Error(p)
	}
	w := topology.NewTopic("w", topology.WindowedKey(codec.String), codec.Int64)
	k, _, err = w.Encode(topology.Windowed[string]{Key: "ann", Start: time.UnixMilli(0), End: time.UnixMilli(10_000)}, 1)
	if err != nil || string(w.PartitionKey(k)) != "ann" {
		t.Errorf("%q %v", k, err)
	}
}
