package topology

import "time"

// Description is a plan as data: what is stored at the first start, shown by tools, and
// compared with by Diff.
type Description struct {
	Application        string           `json:"application"`
	Fingerprint        string           `json:"fingerprint"`
	InternalPartitions int              `json:"internal_partitions,omitempty"` // 0: the widest source
	StreamTime         bool             `json:"stream_time,omitempty"`
	Subs               []SubDescription `json:"sub_topologies"`
}

// SubDescription is a sub-topology.
type SubDescription struct {
	ID      int                 `json:"id"`
	Inputs  []InputDescription  `json:"inputs"`
	Stores  []StoreDescription  `json:"stores,omitempty"`
	Outputs []OutputDescription `json:"outputs,omitempty"`
	Nodes   []NodeDescription   `json:"nodes"`
}

// InputDescription is a topic that a sub-topology reads.
type InputDescription struct {
	Topic         string `json:"topic"` // the uid, if internal
	Internal      bool   `json:"internal,omitempty"`
	Loop          bool   `json:"loop,omitempty"` // it has no part in time
	MaxDisorderMS int64  `json:"max_disorder_ms,omitempty"`
	IdleAfterMS   int64  `json:"idle_after_ms,omitempty"`
	Upstream      []int  `json:"upstream,omitempty"` // sub-topologies that write it
}

// StoreDescription is a store.
type StoreDescription struct {
	UID         string `json:"uid"`
	Kind        string `json:"kind"`
	KeyCodec    string `json:"key_codec"`
	ValueCodec  string `json:"value_codec"`
	KeySchema   string `json:"key_schema,omitempty"` // of codecs that have one; not part of the fingerprint
	ValueSchema string `json:"value_schema,omitempty"`
	WindowMS    int64  `json:"window_ms,omitempty"`
	RetentionMS int64  `json:"retention_ms,omitempty"`
	InMemory    bool   `json:"in_memory,omitempty"` // not part of the fingerprint
}

// OutputDescription is a topic that a sub-topology writes.
type OutputDescription struct {
	Topic       string `json:"topic"` // the uid, if internal
	Internal    bool   `json:"internal,omitempty"`
	Loop        bool   `json:"loop,omitempty"`
	KeyCodec    string `json:"key_codec"`
	ValueCodec  string `json:"value_codec"`
	KeySchema   string `json:"key_schema,omitempty"` // not part of the fingerprint
	ValueSchema string `json:"value_schema,omitempty"`
	Partitions  int    `json:"partitions,omitempty"`
}

// NodeDescription is an operator.
type NodeDescription struct {
	ID     int    `json:"id"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	UID    string `json:"uid,omitempty"`
	Topic  string `json:"topic,omitempty"`
	Site   string `json:"site"`
	Inputs []int  `json:"inputs,omitempty"`
}

// Describe gives the plan as data.
func (p *Plan) Describe() Description {
	d := Description{Application: p.application, InternalPartitions: p.partitions, StreamTime: p.graph.StreamTime}
	for _, s := range p.graph.Subs {
		sub := SubDescription{ID: s.ID}
		for _, in := range s.Inputs {
			sub.Inputs = append(sub.Inputs, InputDescription{
				Topic: in.Topic, Internal: in.Internal, Loop: in.Loop, Upstream: in.Upstream,
				MaxDisorderMS: ms(in.MaxDisorder), IdleAfterMS: ms(in.IdleAfter),
			})
		}
		for _, st := range s.Stores {
			sub.Stores = append(sub.Stores, StoreDescription{
				UID: st.UID, Kind: st.Kind, KeyCodec: st.KeyCodec, ValueCodec: st.ValueCodec, KeySchema: st.KeySchema, ValueSchema: st.ValueSchema,
				WindowMS: ms(st.Window), RetentionMS: ms(st.Retention), InMemory: st.InMemory,
			})
		}
		for _, o := range s.Outputs {
			sub.Outputs = append(sub.Outputs, OutputDescription{
				Topic: o.Topic, Internal: o.Internal, Loop: o.Loop, KeyCodec: o.KeyCodec, ValueCodec: o.ValueCodec,
				KeySchema: o.KeySchema, ValueSchema: o.ValueSchema, Partitions: o.Partitions,
			})
		}
		for i := range p.graph.Nodes {
			if n := &p.graph.Nodes[i]; n.Sub == s.ID {
				sub.Nodes = append(sub.Nodes, NodeDescription{
					ID: n.ID, Kind: n.Kind, Name: n.Name, UID: n.UID, Topic: n.Topic, Site: n.Site, Inputs: n.Inputs,
				})
			}
		}
		d.Subs = append(d.Subs, sub)
	}
	d.Fingerprint = fingerprint(d.shape())
	return d
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

// shape is the part of the description that the fingerprint covers.
func (d *Description) shape() shape {
	s := shape{Application: d.Application}
	for _, sub := range d.Subs {
		var of subShape
		for _, in := range sub.Inputs {
			of.Inputs = append(of.Inputs, inputShape{in.Topic, in.Internal, in.Loop})
		}
		for _, st := range sub.Stores {
			of.Stores = append(of.Stores, storeShape{st.UID, st.Kind, st.KeyCodec, st.ValueCodec, st.WindowMS})
		}
		for _, o := range sub.Outputs {
			if o.Internal {
				of.Outputs = append(of.Outputs, outputShape{o.Topic, o.KeyCodec, o.ValueCodec, o.Partitions})
			}
		}
		s.Subs = append(s.Subs, of)
	}
	return s
}
