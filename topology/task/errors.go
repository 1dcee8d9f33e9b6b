package task

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// OperatorError is a failure of a user function or a codec at one record. The record had
// no effect yet that is not undone with the epoch.
type OperatorError struct {
	Node string // "map orders.go:31"
	Site string // "orders.go:31"

	// The record in work. Without one (time moved, the epoch ended) Topic is empty and
	// Offset -1.
	Topic     string
	Partition int32
	Offset    int64

	Err error // what the function returned, or a *PanicError
}

func (e *OperatorError) Error() string {
	if e.Topic == "" {
		return fmt.Sprintf("%s: partition %d: %v", Where(e.Node, e.Site), e.Partition, e.Err)
	}
	return fmt.Sprintf("%s: %s/%d@%d: %v", Where(e.Node, e.Site), e.Topic, e.Partition, e.Offset, e.Err)
}

// Where is a node and its line in one: the line is not said twice.
func Where(node, site string) string {
	if strings.HasSuffix(node, site) {
		return node
	}
	return node + " (" + site + ")"
}

func (e *OperatorError) Unwrap() error { return e.Err }

// ErrNonRetriable is found by errors.Is in errors that NonRetriable has marked.
var ErrNonRetriable = errors.New("trying again does not help")

type nonRetriable struct{ err error }

func (e *nonRetriable) Error() string        { return e.err.Error() }
func (e *nonRetriable) Unwrap() error        { return e.err }
func (e *nonRetriable) Is(target error) bool { return target == ErrNonRetriable }

// NonRetriable marks an error as one that trying again does not heal. The text stays.
func NonRetriable(err error) error {
	if err == nil {
		return nil
	}
	return &nonRetriable{err}
}

// PanicError is a panic of a user function or a codec.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap gives the panic's value, if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// EnvError is a failure of the task's surroundings: of a store, or of an output.
type EnvError struct {
	Node, Site string
	Op         string // "emit", "read store", "write store"
	Err        error
}

func (e *EnvError) Error() string {
	return fmt.Sprintf("%s: %s: %v", Where(e.Node, e.Site), e.Op, e.Err)
}

func (e *EnvError) Unwrap() error { return e.Err }

// Fail is the error of a node's own code at the record in work.
func (t *Task) Fail(node int, err error) error {
	n := &t.graph.Nodes[node]
	e := &OperatorError{Node: n.String(), Site: n.Site, Partition: t.partition, Offset: -1, Err: err}
	if t.raw != nil {
		e.Topic, e.Partition, e.Offset = t.raw.Topic, t.raw.Partition, t.raw.Offset
	}
	return e
}

// EnvFailed is the error of the task's surroundings on behalf of a node.
func (t *Task) EnvFailed(node int, op string, err error) error {
	n := &t.graph.Nodes[node]
	return &EnvError{Node: n.String(), Site: n.Site, Op: op, Err: err}
}

// recovered turns a panic into the error of the node that ran.
func (t *Task) recovered(err *error) {
	if p := recover(); p != nil {
		*err = t.Fail(t.at, &PanicError{Value: p, Stack: debug.Stack()})
	}
}
