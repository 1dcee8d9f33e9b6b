package topology

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// receiver takes the next record. Time, headers and origin travel in the task.
type receiver[K, V any] func(key K, value V) error

// vertex is a node without its types, as far as the checks of Build need it.
type vertex struct {
	task.Node
	b *Builder

	hop      bool // reading end of a repartition topic: its input edge is that topic
	loop     bool // an end of a loop; the reading one has the edges, any number of them
	rekeys   bool // its function chooses the key
	stateful bool // needs the records of one key in one task
	grace    time.Duration

	newKey, newValue string // the Go type that came without a codec, or ""

	input   *task.Input
	open    func(t *task.Task, input int) func(*task.Raw) error
	store   *task.StoreSpec
	outputs []task.Output

	bindings []binding
}

// node is a vertex with what takes its records: for each child a function that makes the
// child's receiver for one task. Starting a task walks from its sources and composes.
type node[K, V any] struct {
	*vertex
	outs []func(t *task.Task) receiver[K, V]
}

func newNode[K, V any](b *Builder, kind string, s settings, parents ...*vertex) *node[K, V] {
	n := &node[K, V]{vertex: b.add(kind, parents...)}
	n.Name = s.name
	return n
}

// attach adds a child. After Build a plan may run already: what comes later is in the
// next Build's errors, and in no plan.
func (n *node[K, V]) attach(build func(t *task.Task) receiver[K, V]) {
	if !n.b.built {
		n.outs = append(n.outs, build)
	}
}

// next makes the receivers of all children into one.
func (n *node[K, V]) next(t *task.Task) receiver[K, V] {
	switch len(n.outs) {
	case 0:
		return func(K, V) error { return nil }
	case 1:
		return n.outs[0](t)
	}
	all := make([]receiver[K, V], len(n.outs))
	for i, out := range n.outs {
		all[i] = out(t)
	}
	return func(key K, value V) error {
		for _, r := range all {
			if err := r(key, value); err != nil {
				return err
			}
		}
		return nil
	}
}

// derive adds an operator with one parent. build makes its receiver, given what is next.
func derive[K, V, K2, V2 any](parent *node[K, V], kind string, s settings, build func(t *task.Task, id int, next receiver[K2, V2]) receiver[K, V]) *node[K2, V2] {
	n := newNode[K2, V2](parent.b, kind, s, parent.vertex)
	parent.attach(func(t *task.Task) receiver[K, V] { return build(t, n.ID, n.next(t)) })
	return n
}

// keep gives the codec on if the Go type stayed the same, else nil.
func keep[Old, New any](c codec.Codec[Old]) codec.Codec[New] {
	same, _ := any(c).(codec.Codec[New])
	return same
}

func typeName[T any]() string { return fmt.Sprintf("%T", (*T)(nil))[1:] }

func codecName[T any](c codec.Codec[T]) string {
	if c == nil {
		return ""
	}
	return c.Name()
}
