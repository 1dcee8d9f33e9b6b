package topology

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/weir-stream/weir/topology/task"
)

// BuildError is one mistake in a topology.
type BuildError struct {
	Node string // "aggregate totals"
	Site string // "revenue.go:31", the line of the program that made the node
	What string // "its key was changed by map revenue.go:28 and not repartitioned since"
	Fix  string // `put .Repartition("<uid>") before it, or use KeyBy instead of Map`
}

func (e *BuildError) Error() string {
	return fmt.Sprintf("%s: %s; %s", task.Where(e.Node, e.Site), e.What, e.Fix)
}

type (
	// OperatorError is a failure of user code or a codec at one record.
	OperatorError = task.OperatorError

	// PanicError is the cause inside of an OperatorError when a user function panicked.
	PanicError = task.PanicError
)

// ErrNonRetriable is found by errors.Is in what NonRetriable returns.
var ErrNonRetriable = task.ErrNonRetriable

// NonRetriable marks what a function or a codec returns as an error that trying again does
// not heal, such as a record that no release of the program will accept: the worker gives up
// at once, whatever its restart strategy says. The text stays as it is.
func NonRetriable(err error) error { return task.NonRetriable(err) }

const packagePrefix = "github.com/weir-stream/weir/topology."

// site is the line of the program that called into this package.
func site() string {
	var pcs [24]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, packagePrefix) || strings.HasSuffix(f.File, "_test.go") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "unknown"
		}
	}
}
