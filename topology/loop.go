package topology

import (
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// Loop is a way back: what is fed to it further down comes out of its stream further up. It
// is a small handle; copy it freely.
type Loop[K, V any] struct {
	b *Builder
	n *node[K, V]
	k codec.Codec[K]
	v codec.Codec[V]
	s settings
}

const kindLoop = "loop" // of the reading end

// NewLoop makes a loop through the internal topic <application>.<timeline>.<uid>.repartition.
// Its stream can be used before anything is fed to it: merge it with the stream that it
// begins with, and end with ToLoop, anywhere behind, what is to come back.
//
//	retries := topology.NewLoop(b, "retries", codec.String, codec.JSON[Call]())
//	results := try(topology.From(b, Calls).Merge(retries.Stream()))
//	results.Filter(failed).ToLoop(retries)
//
// Records go round with their time and headers, each to the task that its key belongs to,
// and exactly once, as through every internal topic; a round takes a commit. But a loop
// takes no part in event time, which would wait for itself: its records neither move it nor
// hold it back, however long they go round. So what comes out of a loop may be late at a
// window behind it, whose grace has to allow for that.
//
// Nothing ends a loop but the program. Records that come back for ever are processed for
// ever: let them carry how often they came.
func NewLoop[K, V any](b *Builder, uid string, key codec.Codec[K], value codec.Codec[V], opts ...RepartitionOption) Loop[K, V] {
	s := settingsOf(opts)
	n := newNode[K, V](b, kindLoop, s)
	n.setUID(uid)
	n.needCodec(key == nil, "key")
	n.needCodec(value == nil, "value")
	n.needPartitions(s)
	n.hop, n.loop, n.KeyCodec, n.ValueCodec = true, true, codecName(key), codecName(value)
	n.input = &task.Input{Topic: uid, Internal: true, Loop: true, Place: placing(key)}
	uses(n.vertex, repartitionOf(uid, true), key)
	uses(n.vertex, repartitionOf(uid, false), value)
	n.open = func(t *task.Task, input int) func(*task.Raw) error {
		return open(t, n, input, bound(t, repartitionOf(uid, true), key), bound(t, repartitionOf(uid, false), value), nil)
	}
	return Loop[K, V]{b: b, n: n, k: key, v: value, s: s}
}

// UID is the uid of the loop.
func (l Loop[K, V]) UID() string { return l.n.UID }

// Stream is what was fed to the loop. A stream from elsewhere must be merged with it, at
// once or further on, or there would be no time behind it.
func (l Loop[K, V]) Stream() Stream[K, V] { return Stream[K, V]{b: l.b, n: l.n, k: l.k, v: l.v} }

// ToLoop feeds the stream back, with the codecs of the loop; a null key is an error. A loop
// may be fed at several places. They need not be in one sub-topology, as those of a Merge do.
func (s Stream[K, V]) ToLoop(l Loop[K, V], opts ...SinkOption) {
	n := newNode[K, V](s.b, "to-loop", settingsOf(opts), s.n.vertex)
	n.UID, n.loop, n.KeyCodec, n.ValueCodec = l.n.UID, true, l.n.KeyCodec, l.n.ValueCodec
	if l.b != s.b {
		s.b.reject(n.vertex, "it feeds %s of another Builder (application %q)", l.n.String(), l.b.name).
			fix("make the loop with the Builder of the stream; two applications meet in a topic")
		return
	}
	n.outputs = []task.Output{{
		Topic: n.UID, Internal: true, Loop: true, Partitions: l.s.partitions, KeyCodec: n.KeyCodec, ValueCodec: n.ValueCodec,
		KeySchema: codec.Schema(l.k), ValueSchema: codec.Schema(l.v),
	}}
	if !s.b.built {
		l.n.Inputs = append(l.n.Inputs, n.ID)
	}
	s.n.attach(func(t *task.Task) receiver[K, V] { return hop(t, n.vertex, l.k, l.v) })
}
