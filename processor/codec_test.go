package processor_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// registry gives out an id per subject, as a schema registry does.
type registry struct {
	mu    sync.Mutex
	ids   map[string]uint32
	asked []string
	down  string // subject that it does not answer for
}

func (r *registry) id(ctx context.Context, topic string, key bool) (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	subject := topic + map[bool]string{true: "-key", false: "-value"}[key]
	r.asked = append(r.asked, subject)
	if subject == r.down {
		return 0, errors.New("the registry does not answer")
	}
	if _, ok := ctx.Deadline(); !ok {
		return 0, errors.New("no deadline")
	}
	if _, ok := r.ids[subject]; !ok {
		r.ids[subject] = uint32(100 + len(r.ids))
	}
	return r.ids[subject], nil
}

// registered is a codec of int64 with the id of its subject in front.
type registered struct {
	reg *registry
	id  uint32 // 0: of no topic
}

var errUnbound = errors.New("registered: not for a topic yet")

func (registered) Name() string { return "registered" }

func (c registered) ForTopic(ctx context.Context, topic string, key bool) (codec.Codec[int64], error) {
	id, err := c.reg.id(ctx, topic, key)
	return registered{c.reg, id}, err
}

func (c registered) Append(dst []byte, v int64) ([]byte, error) {
	if c.id == 0 {
		return dst, errUnbound
	}
	dst = binary.BigEndian.AppendUint32(dst, c.id)
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (c registered) Decode(src []byte) (int64, error) {
	if c.id == 0 {
		return 0, errUnbound
	}
	if want := binary.BigEndian.AppendUint32(nil, c.id); len(src) != 12 || !bytes.HasPrefix(src, want) {
		return 0, fmt.Errorf("registered: bytes %x, want id %d in front", src, c.id)
	}
	return int64(binary.BigEndian.Uint64(src[4:])), nil
}

// registeredSums uses one codec with every kind of topic.
func registeredSums(t *testing.T, reg *registry) *topology.Plan {
	t.Helper()
	b := topology.New("bad")
	c := registered{reg: reg}
	in := topology.From(b, topology.NewTopic("in", codec.String, codec.Codec[int64](c)))
	byKey := topology.KeyBy(in, "by-key", codec.Codec[int64](c), func(_ string, v int64) (int64, error) { return v % 2, nil })
	sums := topology.Aggregate(byKey, "sums", codec.Nullable(codec.Codec[int64](c)), func(_, v int64, sum *int64) (*int64, error) {
		if sum != nil {
			v += *sum
		}
		return &v, nil
	})
	topology.MapValues(sums.ToStream(), func(_ int64, v *int64) (int64, error) { return *v, nil }).
		To(topology.NewTopic("out", codec.Codec[int64](c), codec.Codec[int64](c)))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// A codec is asked once for each topic of the application, internal ones included, before
// anything is processed, and its answer is what is written and read, also behind a restart.
func TestCodecsKnowTheirTopics(t *testing.T) {
	r := newRig(t)
	reg := &registry{ids: map[string]uint32{}}
	c := codec.Codec[int64](registered{reg: reg})
	in, err := topology.NewTopic("in", codec.String, c).ForTopic(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	reg.asked = nil
	send := func() {
		t.Helper()
		for v := range int64(4) {
			_, value, err := in.Encode("k", v)
			if err != nil {
				t.Fatal(err)
			}
			r.send(0, "k", value)
		}
	}
	send()
	r.ran(registeredSums(t, reg), func() bool { return r.committed() == 4 })
	want := []string{"bad.1.by-key.repartition-key", "bad.1.by-key.repartition-value", "bad.1.sums.changelog-key", "bad.1.sums.changelog-value",
		"in-value", "out-key", "out-value"}
	if got := slices.Sorted(slices.Values(reg.asked)); !slices.Equal(got, want) {
		t.Errorf("asked for %v, want each once of %v", got, want)
	}
	send()
	w := r.run("one", r.dir, registeredSums(t, reg))
	out, err := topology.NewTopic("out", c, c).ForTopic(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	got := map[int64][]int64{}
	for n := 0; n < 8; {
		fs := cl.PollFetches(r.ctx)
		if r.ctx.Err() != nil {
			t.Fatalf("read %v", got)
		}
		for _, rec := range fs.Records() {
			n++
			k, v, err := out.Decode(rec.Key, rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			got[k] = append(got[k], v)
		}
	}
	if got := fmt.Sprint(got); got != "map[0:[0 2 2 4] 1:[1 4 5 8]]" {
		t.Errorf("results %s", got)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

// A codec that cannot be used is told before any task runs, with node, line and topic.
func TestCodecThatFailsIsRefused(t *testing.T) {
	r := newRig(t)
	reg := &registry{ids: map[string]uint32{}, down: "bad.1.sums.changelog-value"}
	err := r.refused(registeredSums(t, reg))
	says(t, err, processor.ErrCodec, "application bad", "aggregate sums (codec_test.go:", "codec nullable registered of the value of topic bad.1.sums.changelog",
		"the registry does not answer", "check that what the codec asks")
	var ce *task.CodecError
	if !errors.As(err, &ce) || ce.Topic != "bad.1.sums.changelog" || ce.Key || ce.Node != "aggregate sums" {
		t.Errorf("%+v", ce)
	}
}
