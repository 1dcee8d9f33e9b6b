package task

import (
	"fmt"
	"maps"
)

// CodecUse is where a codec is used.
type CodecUse struct {
	Kind  TopicKind
	Topic string // of a source or sink; else the uid
	Key   bool   // or the value
	Node  int    // of a sink: several may write one topic
}

// TopicKind is what a topic is to the application.
type TopicKind uint8

// The kinds of topics.
const (
	SourceTopic TopicKind = iota
	SinkTopic
	RepartitionTopic
	ChangelogTopic
)

// WithCodecs gives a copy of the graph whose tasks use these codecs, which know their
// topics, in place of those of the plan.
func (g *Graph) WithCodecs(codecs map[CodecUse]any) *Graph {
	bound := *g
	bound.codecs = maps.Clone(codecs)
	return &bound
}

// Codec is what WithCodecs says of a use, or nil.
func (t *Task) Codec(use CodecUse) any { return t.graph.codecs[use] }

// CodecError is a codec that cannot be used with its topic.
type CodecError struct {
	Node, Site string // "source orders", "orders.go:31"
	Codec      string
	Topic      string // in Kafka
	Key        bool   // or the value
	Err        error
}

func (e *CodecError) Error() string {
	of := "value"
	if e.Key {
		of = "key"
	}
	return fmt.Sprintf("%s: codec %s of the %s of topic %s: %v", Where(e.Node, e.Site), e.Codec, of, e.Topic, e.Err)
}

func (e *CodecError) Unwrap() error { return e.Err }
