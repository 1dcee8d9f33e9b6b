package checkpoint

import (
	"fmt"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

func (k Kind) String() string { return [...]string{"checkpoint", "savepoint"}[k] }

func (r Reason) String() string {
	return [...]string{"timed-out", "upload-failed", "manifest-failed", "acked-twice", "task-failed", "coordinator-changed", "stopping"}[r]
}

// MarshalText gives String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (k *Kind) UnmarshalText(b []byte) error {
	for _, one := range []Kind{Checkpoint, Savepoint} {
		if one.String() == string(b) {
			*k = one
			return nil
		}
	}
	return fmt.Errorf("kind of a cut is %.40q: want checkpoint or savepoint", b)
}

// MarshalText gives String.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (r *Reason) UnmarshalText(b []byte) error {
	for one := TimedOut; one <= Stopping; one++ {
		if one.String() == string(b) {
			*r = one
			return nil
		}
	}
	return fmt.Errorf("reason to decline a cut is %.40q, which is none", b)
}

// cutText gives id and kind, and what is said of few: full, request=ID.
func cutText(c Cut) string {
	s := fmt.Sprintf("%d %s", c.ID, c.Kind)
	if c.Full {
		s += " full"
	}
	if c.Request != "" {
		s += " request=" + c.Request
	}
	return s
}

func recordText(r Record) string {
	switch r := r.(type) {
	case Requested:
		s := fmt.Sprintf("requested %s %s", r.Request, r.Kind)
		if r.Full {
			s += " full"
		}
		if r.Drain {
			s += " drain"
		}
		return s
	case Triggered:
		return fmt.Sprintf("triggered %s at=%d", cutText(r.Cut), r.Wall)
	case Declined:
		s := fmt.Sprintf("declined %s %s %s", cutText(r.Cut), timesText(r.Began, r.Wall), r.Reason)
		if r.Why != "" {
			s += fmt.Sprintf(" %q", r.Why)
		}
		return s
	case Completed:
		return fmt.Sprintf("completed %s %s", cutText(r.Cut), timesText(r.Began, r.Wall))
	case Dropped:
		return fmt.Sprintf("dropped %s %s", cutText(r.Cut), timesText(r.Began, r.Wall))
	case Forgotten:
		return fmt.Sprintf("forgotten %d", r.ID)
	case Activated:
		return fmt.Sprintf("activated %d", r.ID)
	}
	panic(fmt.Sprintf("checkpoint: no text for %T", r))
}

// timesText are the times of a decision: of its trigger, too, because that may be compacted away.
func timesText(began, wall int64) string {
	if began == 0 {
		return fmt.Sprintf("at=%d", wall)
	}
	return fmt.Sprintf("began=%d at=%d", began, wall)
}

func tasksText(ts []offsets.Task) string {
	var b strings.Builder
	for _, t := range ts {
		b.WriteString(" " + t.String())
	}
	return b.String()
}

// Text writes an event or an action as a line of a script. What people wrote is quoted and comes last.
func Text(x any) string {
	switch x := x.(type) {
	case Logged:
		return "logged " + recordText(x.Record)
	case CaughtUp:
		return "caught-up"
	case Drained:
		return "drained"
	case Tick:
		return fmt.Sprintf("tick %d", x.Now)
	case Acked:
		return fmt.Sprintf("acked %s %d %s", x.Task, x.ID, x.Epoch)
	case Uploaded:
		return fmt.Sprintf("uploaded %s %d %s %s", x.Task, x.ID, x.Epoch, x.Object)
	case UploadLost:
		return fmt.Sprintf("upload-lost %s %d %s %q", x.Task, x.ID, x.Epoch, x.Why)
	case TaskDown:
		return "task-down " + x.Task.String()
	case ManifestWritten:
		return fmt.Sprintf("manifest-written %d", x.ID)
	case ManifestLost:
		return fmt.Sprintf("manifest-lost %d %q", x.ID, x.Why)
	case WriteLost:
		return "write-lost"
	case Deleted:
		return fmt.Sprintf("deleted %d", x.ID)
	case Stop:
		if x.Discard {
			return "stop discard"
		}
		return "stop"
	case Came:
		return fmt.Sprintf("came %s %d", x.Task, x.Cut)
	case Went:
		return "went " + x.Task.String()
	case Met:
		return fmt.Sprintf("met %s %d", x.Task, x.Stamp)
	case Closing:
		return "closing" + tasksText(x.Tasks)
	case Committed:
		return "committed " + x.Task.String()
	case Aborted:
		return "aborted " + x.Task.String()

	case Write:
		return "write " + recordText(x.Record)
	case WriteManifest:
		s := "write-manifest " + cutText(x.Cut)
		for _, p := range x.Parts {
			s += fmt.Sprintf(" %s=%s:%s", p.Task, p.Epoch, p.Object)
		}
		return s
	case Delete:
		return fmt.Sprintf("delete %d", x.ID)
	case Answer:
		return fmt.Sprintf("answer %s %d", x.Request, x.ID)
	case Fail:
		return fmt.Sprintf("fail %d failures=%d %s", x.ID, x.Failures, x.Reason)
	case Stopped:
		return "stopped"
	case EndEpoch:
		if x.Empty {
			return "end-epoch even-empty"
		}
		return "end-epoch"
	case Take:
		if x.Ack {
			return fmt.Sprintf("take %s %d ack", x.Task, x.ID)
		}
		return fmt.Sprintf("take %s %d", x.Task, x.ID)
	case Hold:
		return fmt.Sprintf("hold %s %d", x.Task, x.Stamp)
	case Resume:
		return "resume " + x.Task.String()
	case Upload:
		return fmt.Sprintf("upload %s %d", x.Task, x.ID)
	case Abandon:
		return fmt.Sprintf("abandon %d", x.ID)
	}
	panic(fmt.Sprintf("checkpoint: no text for %T", x))
}
