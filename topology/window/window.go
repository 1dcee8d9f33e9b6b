package window

import (
	"fmt"
	"time"
)

// Emission says when the results of windows are emitted.
type Emission uint8

// The emissions.
const (
	Updates Emission = iota // after every record
	Commits                 // the last result of each commit interval
	Final                   // once, when the window closes
)

func (e Emission) String() string {
	switch e {
	case Updates:
		return "updates"
	case Commits:
		return "on commit"
	case Final:
		return "final"
	}
	return fmt.Sprintf("emission %d", uint8(e))
}

// Spec says how records are assigned to windows, how long a window waits for late records
// and when it emits. The zero Spec is not valid: start with Tumbling.
type Spec struct {
	size, grace time.Duration
	emit        Emission
}

// Tumbling windows have one size and no overlap: each record is in exactly one.
func Tumbling(size time.Duration) Spec { return Spec{size: size} }

// Grace is how far the watermark may pass the end of a window before it closes. Default 0:
// the disorder that a source allows is part of the watermark already. Costs that much
// latency with EmitFinal, and state for that much longer.
func (s Spec) Grace(d time.Duration) Spec { s.grace = d; return s }

// EmitUpdates emits after every record. It is the default.
func (s Spec) EmitUpdates() Spec { s.emit = Updates; return s }

// EmitOnCommit emits the last result of each window that changed in a commit interval.
func (s Spec) EmitOnCommit() Spec { s.emit = Commits; return s }

// EmitFinal emits once, when the window closes.
func (s Spec) EmitFinal() Spec { s.emit = Final; return s }

// Size is the length of a window.
func (s Spec) Size() time.Duration { return s.size }

// GracePeriod is what Grace set.
func (s Spec) GracePeriod() time.Duration { return s.grace }

// Emission is when the windows emit.
func (s Spec) Emission() Emission { return s.emit }

// Start is the start in ms of the window that a time in ms falls into.
func (s Spec) Start(at int64) int64 {
	size := s.size.Milliseconds()
	into := at % size
	if into < 0 {
		into += size
	}
	return at - into
}

// String gives "tumbling 1h0m0s, grace 5m0s, final".
func (s Spec) String() string {
	text := "tumbling " + s.size.String()
	if s.grace != 0 {
		text += ", grace " + s.grace.String()
	}
	return text + ", " + s.emit.String()
}

// Check says what is wrong with the spec, in words for the one who wrote it.
func (s Spec) Check() error {
	switch {
	case s.size < time.Millisecond:
		return fmt.Errorf("the window size is %v, and must be at least 1ms", s.size)
	case s.size%time.Millisecond != 0:
		return fmt.Errorf("the window size is %v, and must be whole milliseconds", s.size)
	case s.grace < 0:
		return fmt.Errorf("the grace is %v, and must not be negative", s.grace)
	case s.grace%time.Millisecond != 0:
		return fmt.Errorf("the grace is %v, and must be whole milliseconds", s.grace)
	}
	return nil
}
