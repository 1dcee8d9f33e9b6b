package codec

import (
	"context"
	"fmt"
)

// TopicCodec is a codec whose bytes depend on the topic, as with a Schema Registry. The
// engine calls ForTopic at the start of a worker, before any task runs: once for a source,
// for a repartition topic, for the changelog of a store, and for each sink. An error is that
// of the worker. The name given is that of the Kafka topic. What it returns is used in place
// of the codec, by several goroutines at once; its Name does not matter, that of the codec
// itself is in the plan.
//
// Codec's own methods are for use without a topic; they may return an error.
type TopicCodec[T any] interface {
	Codec[T]
	ForTopic(ctx context.Context, topic string, key bool) (Codec[T], error)
}

// ForTopic gives the codec to use with a topic: what a TopicCodec says, or c itself.
func ForTopic[T any](ctx context.Context, c Codec[T], topic string, key bool) (Codec[T], error) {
	t, ok := c.(TopicCodec[T])
	if !ok {
		return c, nil
	}
	bound, err := t.ForTopic(ctx, topic, key)
	if err != nil {
		return c, err
	}
	if bound == nil {
		return c, fmt.Errorf("%s: ForTopic gave no codec for topic %s", c.Name(), topic)
	}
	return bound, nil
}

// Checker is a codec that may know, without any record, that it cannot work: its schema is
// wrong, or does not fit the type. Build asks, and reports it with the line of the program.
type Checker interface{ Check() error }

// Check is what a Checker says, nil for any other codec.
func Check[T any](c Codec[T]) error {
	if k, ok := c.(Checker); ok {
		return k.Check()
	}
	return nil
}
