package topology

import (
	"context"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// binding is a use of a codec that wants to know its topic before tasks start.
type binding struct {
	use   task.CodecUse
	by    int    // the node that uses it first, for messages
	codec string // its name
	ask   func(ctx context.Context, topic string) (any, error)
}

// uses notes that a node uses a codec with a topic. A codec that knows already that it
// cannot work is a mistake, reported once, where it is used first; one that depends on the
// topic is asked for it before tasks start.
func uses[T any](v *vertex, use task.CodecUse, c codec.Codec[T]) {
	if c == nil {
		return
	}
	if err := codec.Check(c); err != nil && !v.b.told[err.Error()] {
		if v.b.told == nil {
			v.b.told = map[string]bool{}
		}
		v.b.told[err.Error()] = true
		what := "value"
		if use.Key {
			what = "key"
		}
		v.b.reject(v, "its codec %s of the %s cannot be used: %v", c.Name(), what, err).fix("correct what the codec is made of: its schema, or its Go type")
	}
	if _, ok := c.(codec.TopicCodec[T]); !ok || v.b.built {
		return
	}
	v.bindings = append(v.bindings, binding{use, v.ID, c.Name(), func(ctx context.Context, topic string) (any, error) {
		return codec.ForTopic(ctx, c, topic, use.Key)
	}})
}

// bound is the codec to use in a task.
func bound[T any](t *task.Task, use task.CodecUse, c codec.Codec[T]) codec.Codec[T] {
	if b, ok := t.Codec(use).(codec.Codec[T]); ok {
		return b
	}
	return c
}

// Where keys and values lie.
func sourceOf(topic string, key bool) task.CodecUse {
	return task.CodecUse{Kind: task.SourceTopic, Topic: topic, Key: key}
}

func sinkOf(topic string, node int, key bool) task.CodecUse {
	return task.CodecUse{Kind: task.SinkTopic, Topic: topic, Node: node, Key: key}
}

func repartitionOf(uid string, key bool) task.CodecUse {
	return task.CodecUse{Kind: task.RepartitionTopic, Topic: uid, Key: key}
}

func changelogOf(uid string, key bool) task.CodecUse {
	return task.CodecUse{Kind: task.ChangelogTopic, Topic: uid, Key: key}
}

// ForTopic gives the topic with codecs that know its name, for programs that encode and
// decode themselves. It is needed where a codec is a codec.TopicCodec, and does nothing
// elsewhere. Do not pass what it gives to a topology: that asks its codecs at each start.
func (t Topic[K, V]) ForTopic(ctx context.Context) (Topic[K, V], error) {
	var err error
	if t.key != nil {
		if t.key, err = codec.ForTopic(ctx, t.key, t.name, true); err != nil {
			return t, err
		}
	}
	if t.value != nil {
		t.value, err = codec.ForTopic(ctx, t.value, t.name, false)
	}
	return t, err
}
