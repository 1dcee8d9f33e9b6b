package task

import (
	"time"

	"github.com/weir-stream/weir/offsets"
)

// Graph is a plan without types: nodes, and the sub-topologies they make. It is
// immutable; any number of tasks may be started from it, also at once.
type Graph struct {
	Nodes      []Node // Nodes[i].ID == i
	Subs       []Sub  // Subs[i].ID == i
	StreamTime bool   // time is the highest channel instead of the lowest

	codecs map[CodecUse]any // see WithCodecs
}

// Node is one operator.
type Node struct {
	ID     int
	Kind   string // "source", "filter", "key-by", ...
	Name   string // given by the user, or ""
	UID    string // of its store or internal topic, or ""
	Topic  string // of a source or sink, or ""
	Site   string // the line of the program that made it, "orders.go:31"
	Inputs []int  // parents; that of a repartition's reading end is its writing end, and of a loop's all of them
	Sub    int

	KeyCodec, ValueCodec string // names of the codecs in use at this node, or ""

	Store   int   // index in Sub.Stores, or -1
	Outputs []int // indexes in Sub.Outputs

	// Delay is how far the time of this node's records stays behind that of the task: the
	// sum of the graces of the windows that they come through. A window emits with the time
	// end - 1, up to end + grace: time - grace keeps that from being late at the next one.
	Delay time.Duration
}

// String is what errors and drawings call the node: "count by-word", "map orders.go:31".
func (n *Node) String() string {
	switch {
	case n.Name != "":
		return n.Kind + " " + n.Name
	case n.UID != "":
		return n.Kind + " " + n.UID
	case n.Topic != "":
		return n.Kind + " " + n.Topic
	}
	return n.Kind + " " + n.Site
}

// Sub is a sub-topology: what lies between two topic hops.
type Sub struct {
	ID      int
	Inputs  []Input
	Stores  []StoreSpec
	Outputs []Output
	HasTime bool // has windows: its watermark vector is state

	// Hold is the largest Delay of what its repartition topics get: the watermark shown to
	// their readers is watermark - Hold.
	Hold time.Duration
}

// Input is a topic that a sub-topology reads.
type Input struct {
	Topic       string // source topic; the uid when Internal
	Internal    bool   // a repartition topic
	Loop        bool   // a repartition topic that has no part in time; it may be written by its reader
	MaxDisorder time.Duration
	IdleAfter   time.Duration // 0: never idle
	Start       StartPosition
	Upstream    []int // sub-topologies that write it, when Internal

	// Place cuts out of an encoded key what places its record, when Internal; nil: all of it.
	Place func(key []byte) []byte

	// Open builds the typed chain behind the input for one task.
	Open func(t *Task) func(r *Raw) error
}

// StartKind says where a source without a position begins.
type StartKind uint8

// The start positions of a source.
const (
	Earliest StartKind = iota
	Latest
	At
)

// StartPosition is where a source without a position begins. At is used by kind At only.
type StartPosition struct {
	Kind StartKind
	At   time.Time
}

// Kinds of stores.
const (
	StoreKeyed  = "keyed"
	StoreWindow = "window"
)

// StoreSpec describes a store of a sub-topology.
type StoreSpec struct {
	UID, Kind              string
	KeyCodec, ValueCodec   string
	KeySchema, ValueSchema string        // of codecs that have one, or ""
	InMemory               bool          // rows are not kept on disk
	Window                 time.Duration // size of the windows, when Kind is StoreWindow
	Retention              time.Duration // how long a row lives in event time; 0: for ever

	// Place is that of an Input for the keys of the rows.
	Place func(key []byte) []byte
}

// Output is a topic that a sub-topology writes.
type Output struct {
	Topic                string // topic, or the uid when Internal
	Internal             bool   // a repartition topic
	Loop                 bool   // its readers do not wait for it, and get no heartbeats
	Partitions           int    // of a repartition topic; 0: the application's default
	KeyCodec, ValueCodec string
	KeySchema            string // of codecs that have one, or ""
	ValueSchema          string
}

// NoTime is the watermark of a channel nothing was heard of.
const NoTime = offsets.NoTime

// EndOfTime is the watermark of a channel that nothing comes by any more.
const EndOfTime = offsets.EndOfTime
