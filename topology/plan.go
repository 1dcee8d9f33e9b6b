package topology

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/weir-stream/weir/topology/task"
)

// Plan is an immutable description of a topology, ready to run. Any number of workers and
// tests may run one plan at once.
type Plan struct {
	application string
	partitions  int
	graph       *task.Graph
	bindings    []binding
}

// Application is the name given to New.
func (p *Plan) Application() string { return p.application }

// InternalPartitions is what the option of that name says; 0: the widest source.
func (p *Plan) InternalPartitions() int { return p.partitions }

// Graph is the executable half. It is for engines, and read-only.
func (p *Plan) Graph() *task.Graph { return p.graph }

// Bind is Graph with codecs that know their topics; name says what a topic is called in
// Kafka. It asks every codec.TopicCodec of the plan, each use of it once, and may be called
// by any number of workers. The error joins a *task.CodecError per use that failed.
func (p *Plan) Bind(ctx context.Context, name func(task.CodecUse) string) (*task.Graph, error) {
	if len(p.bindings) == 0 {
		return p.graph, nil
	}
	codecs := map[task.CodecUse]any{}
	var errs []error
	for _, b := range p.bindings {
		topic := name(b.use)
		c, err := b.ask(ctx, topic)
		if err != nil {
			n := &p.graph.Nodes[b.by]
			errs = append(errs, &task.CodecError{Node: n.String(), Site: n.Site, Codec: b.codec, Topic: topic, Key: b.use.Key, Err: err})
			continue
		}
		codecs[b.use] = c
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p.graph.WithCodecs(codecs), nil
}

// Fingerprint is a short hash of what positions, stores and internal topics depend on:
// the application, the sub-topologies in order, and of each its inputs, its stores (uid,
// kind, codecs, window size) and its repartition topics and loops (uid, codecs, partitions). Plans
// with one fingerprint may run in one group and take over from each other, as in a rolling
// upgrade: they differ in functions, stateless operators, sinks, names, the codecs of
// sources and sinks, grace or emission only. If fingerprints differ, Diff says where.
func (p *Plan) Fingerprint() string { return p.Describe().Fingerprint }

func fingerprint(s shape) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic("topology: a plan's shape cannot be marshalled: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// shape is what must stay the same for the life of a timeline. Its JSON is hashed: fields
// may be added only with omitempty.
type shape struct {
	Application string     `json:"application"`
	Subs        []subShape `json:"subs"`
}

type subShape struct {
	Inputs  []inputShape  `json:"inputs"`
	Stores  []storeShape  `json:"stores"`
	Outputs []outputShape `json:"outputs"` // internal ones
}

type inputShape struct {
	Topic    string `json:"topic"`
	Internal bool   `json:"internal,omitempty"`
	Loop     bool   `json:"loop,omitempty"`
}

type storeShape struct {
	UID        string `json:"uid"`
	Kind       string `json:"kind"`
	KeyCodec   string `json:"key_codec"`
	ValueCodec string `json:"value_codec"`
	WindowMS   int64  `json:"window_ms,omitempty"`
}

type outputShape struct {
	UID        string `json:"uid"`
	KeyCodec   string `json:"key_codec"`
	ValueCodec string `json:"value_codec"`
	Partitions int    `json:"partitions,omitempty"`
}
