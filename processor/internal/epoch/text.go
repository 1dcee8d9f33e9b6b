package epoch

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

func (v Verdict) String() string {
	return [...]string{"ok", "refused", "unknown", "lost", "fenced", "fenced-for-ever"}[v]
}

func (o Outcome) String() string { return [...]string{"committed", "rolled-back", "dropped"}[o] }

func (r Reason) String() string {
	return [...]string{"revoked", "lost", "failed", "diverged", "fenced", "stopped"}[r]
}

func tasksText(ts []offsets.Task) string {
	var b strings.Builder
	for _, t := range ts {
		b.WriteString(" " + t.String())
	}
	return b.String()
}

// Text writes an event or an action as a line of a script. Of a verdict or outcome the
// word follows; offsets to be sent read task=attempt<ledger.
func Text(x any) string {
	switch x := x.(type) {
	case Assigned:
		return "assigned" + tasksText(x.Tasks)
	case Revoked:
		return "revoked" + tasksText(x.Tasks)
	case MembershipLost:
		return "membership-lost"
	case Restored:
		return fmt.Sprintf("restored %s %s", x.Task, x.Epoch)
	case RestoreFailed:
		return "restore-failed " + x.Task.String()
	case Retry:
		return "retry " + x.Task.String()
	case Wanted:
		return "wanted"
	case Began:
		return fmt.Sprintf("began %d %d", x.ProducerID, x.ProducerEpoch)
	case BeginFailed:
		return "begin-failed " + x.Verdict.String()
	case Touched:
		return "touched " + x.Task.String()
	case Failed:
		return "failed " + x.Task.String()
	case Reached:
		return "reached " + x.Task.String()
	case LeaseLost:
		return "lease-lost"
	case Due:
		return "due"
	case Flushed:
		return "flushed " + x.Verdict.String()
	case Sent:
		return "sent " + x.Verdict.String()
	case Ended:
		return "ended " + x.Verdict.String()
	case Aborted:
		return "aborted " + x.Verdict.String()
	case ProducerReady:
		return "producer-ready"
	case ControlRead:
		return fmt.Sprintf("control-read stop=%t", x.Stop)
	case Fetched:
		s := "fetched"
		for _, t := range slices.SortedFunc(maps.Keys(x.Epochs), offsets.Task.Compare) {
			s += fmt.Sprintf(" %s=%s", t, x.Epochs[t])
		}
		return s
	case Stalled:
		return "stalled"
	case Stop:
		return "stop"

	case Begin:
		return "begin"
	case Flush:
		return "flush" + tasksText(x.Tasks)
	case SendOffsets:
		s := "send-offsets"
		for _, a := range x.Attempts {
			s += fmt.Sprintf(" %s=%s<%s", a.Task, a.Epoch, a.Prev)
		}
		return s
	case EndCommit:
		return "end-commit"
	case EndAbort:
		return "end-abort"
	case Reinit:
		return "reinit"
	case ReadControl:
		return "read-control"
	case FetchOffsets:
		return "fetch-offsets" + tasksText(x.Tasks)
	case Settle:
		if x.Outcome == Committed {
			return fmt.Sprintf("settle %s %s %s", x.Attempt.Task, x.Outcome, x.Attempt.Epoch)
		}
		return fmt.Sprintf("settle %s %s", x.Attempt.Task, x.Outcome)
	case Restore:
		return "restore " + x.Task.String()
	case Close:
		return fmt.Sprintf("close %s %s", x.Task, x.Reason)
	case Release:
		return "release"
	case Exit:
		return fmt.Sprintf("exit clean=%t", x.Clean)
	}
	panic(fmt.Sprintf("epoch: no text for %T", x))
}
