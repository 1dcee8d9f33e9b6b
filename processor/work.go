package processor

import (
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// work is what a task does with its records: the interpreter of the plan (*task.Task, which
// says what each method means), or the coordinator of cuts.
type work interface {
	Process(input int, r *task.Raw) error
	Stamped(input int, from offsets.Task, watermark int64, kind offsets.StampKind) error
	EndInput(input int) error
	Tick(now int64) error
	TickDue(now int64) bool
	Flush() error
	Committed()
	Rollback()
	Watermark() int64
	InputWatermark(input int) int64
	Idle() bool
	GuessRow(dst, key []byte) []byte
}
