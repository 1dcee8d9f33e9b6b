package offsets

import "fmt"

// Span is the progress in one input partition. All three are next offsets.
//
// Invariant: 0 <= Committed <= Processed <= Polled.
type Span struct {
	Committed int64 // position in Kafka: what a successor would start from
	Processed int64 // position of the task: Committed plus the open epoch
	Polled    int64 // records below are in memory until the fate of their epoch is known
}

// Ledger keeps the progress of one task: a span per input, in plan order, and the id of the
// last epoch that is known to be committed. It is owned by the goroutine of the task's lane.
type Ledger struct {
	task  Task
	epoch EpochID
	spans []Span
}

// NewLedger starts at what a restore found: the epoch id and the committed positions.
func NewLedger(task Task, epoch EpochID, positions []int64) *Ledger {
	l := &Ledger{task: task, epoch: epoch, spans: make([]Span, len(positions))}
	for i, p := range positions {
		l.spans[i] = Span{Committed: p, Processed: p, Polled: p}
		l.check(i)
	}
	return l
}

// BelowError is returned when the client hands out a record that was handed out before, or
// one below the position it was told to start from. Nothing after it can be trusted.
type BelowError struct {
	Task   Task
	Input  int
	Offset int64 // of the record
	Want   int64 // lowest offset that may come
}

func (e *BelowError) Error() string {
	return fmt.Sprintf("task %s, input %d: the client delivered offset %d, below the position %d: the task stops rather than process a record twice",
		e.Task, e.Input, e.Offset, e.Want)
}

// Poll notes a polled record. Offsets above the expected one are legal (transaction markers,
// aborted and compacted records); one below is a *BelowError.
func (l *Ledger) Poll(input int, offset int64) error {
	s := &l.spans[input]
	if offset < s.Polled {
		return &BelowError{Task: l.task, Input: input, Offset: offset, Want: s.Polled}
	}
	s.Polled = offset + 1
	return nil
}

// ProcessedTo moves the position of an input to next. It never goes back and never passes
// what was polled.
func (l *Ledger) ProcessedTo(input int, next int64) {
	s := &l.spans[input]
	if next < s.Processed {
		panic(fmt.Sprintf("offsets: task %s, input %d: processed goes back from %d to %d", l.task, input, s.Processed, next))
	}
	s.Processed = next
	l.check(input)
}

// Commit adopts the open epoch: it is known to be committed under this id.
func (l *Ledger) Commit(epoch EpochID) {
	if epoch.Counter <= l.epoch.Counter {
		panic(fmt.Sprintf("offsets: task %s: epoch %s is committed after %s", l.task, epoch, l.epoch))
	}
	l.epoch = epoch
	for i := range l.spans {
		l.spans[i].Committed = l.spans[i].Processed
		l.check(i)
	}
}

// Rollback drops the open epoch: it is known to be aborted. What was polled stays polled and
// is processed again from memory.
func (l *Ledger) Rollback() {
	for i := range l.spans {
		l.spans[i].Processed = l.spans[i].Committed
		l.check(i)
	}
}

// Task says whose ledger it is.
func (l *Ledger) Task() Task { return l.task }

// Epoch is the last one known to be committed.
func (l *Ledger) Epoch() EpochID { return l.epoch }

// Inputs is the number of spans.
func (l *Ledger) Inputs() int { return len(l.spans) }

// Span gives the progress of one input.
func (l *Ledger) Span(input int) Span { return l.spans[input] }

// Dirty says whether a position moved in the open epoch.
func (l *Ledger) Dirty() bool {
	for _, s := range l.spans {
		if s.Processed != s.Committed {
			return true
		}
	}
	return false
}

func (l *Ledger) check(input int) {
	s := l.spans[input]
	if s.Committed < 0 || s.Committed > s.Processed || s.Processed > s.Polled {
		panic(fmt.Sprintf("offsets: task %s, input %d: want 0 <= committed %d <= processed %d <= polled %d",
			l.task, input, s.Committed, s.Processed, s.Polled))
	}
}
