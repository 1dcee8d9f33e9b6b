package offsets

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Task is the unit of assignment, failure and recovery: a sub-topology at a partition number.
type Task struct{ Sub, Partition int32 }

// String gives "sub-partition".
func (t Task) String() string {
	return strconv.FormatInt(int64(t.Sub), 10) + "-" + strconv.FormatInt(int64(t.Partition), 10)
}

// Compare orders tasks by sub-topology, then by partition.
func (t Task) Compare(u Task) int {
	return cmp.Or(cmp.Compare(t.Sub, u.Sub), cmp.Compare(t.Partition, u.Partition))
}

// ParseTask reads what String gives.
func ParseTask(s string) (Task, error) {
	sub, partition, ok := strings.Cut(s, "-")
	if ok {
		a, errA := parseIndex(sub)
		b, errB := parseIndex(partition)
		if errA == nil && errB == nil {
			return Task{Sub: a, Partition: b}, nil
		}
	}
	return Task{}, fmt.Errorf("parse task %q: want <sub-topology>-<partition>, for example 0-3", s)
}

// parseIndex accepts only what FormatInt gives for a number >= 0: no sign, no leading zero.
func parseIndex(s string) (int32, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, strconv.ErrSyntax
	}
	return int32(n), nil
}

// EpochID names one attempt to commit an epoch of a task. The producer id and epoch make it
// unique: under transaction.version 2 every end of a transaction bumps the producer epoch.
// The zero value is the birth of the task: the positions committed before its first run.
type EpochID struct {
	Counter       uint64 // 1, 2, 3, ... per task
	ProducerID    int64
	ProducerEpoch int16
}

// Birth says whether the id is that of the initial positions.
func (e EpochID) Birth() bool { return e == EpochID{} }

// String gives "c7.p1001.e3", or "birth".
func (e EpochID) String() string {
	if e.Birth() {
		return "birth"
	}
	return fmt.Sprintf("c%d.p%d.e%d", e.Counter, e.ProducerID, e.ProducerEpoch)
}
