package epoch

// coverage counts over many schedules.
type coverage struct {
	crashes map[string]*[2]int               // by action
	events  [len(eventKinds)][Exited + 1]int // by event and phase
	ran     int                              // schedules
	rewinds int                              // of them with a newer timeline
	commits int                              // positions moved
}

func newCoverage() *coverage {
	return &coverage{crashes: map[string]*[2]int{}}
}

// actionKinds are the actions with what makes them different: the outcome, reason or cleanness.
var actionKinds = []string{
	"begin", "flush", "send-offsets", "end-commit", "end-abort", "reinit", "read-control", "fetch-offsets",
	"settle committed", "settle rolled-back", "settle dropped", "restore",
	"close revoked", "close lost", "close failed", "close diverged", "close fenced", "close stopped",
	"release", "exit clean=true", "exit clean=false",
}

// rareKinds need luck to be met: crashes are aimed at them more often.
var rareKinds = []string{
	"reinit", "reinit", "read-control", "read-control", "settle committed", "settle rolled-back", "settle dropped", "settle dropped", "settle dropped",
	"close revoked", "close revoked", "close lost", "close lost", "close failed", "close failed", "close diverged", "close diverged", "close fenced",
	"close fenced", "close stopped", "exit clean=true", "end-commit", "fetch-offsets",
}

func kindOf(a Action) string {
	switch a := a.(type) {
	case Settle:
		return [...]string{"settle committed", "settle rolled-back", "settle dropped"}[a.Outcome]
	case Close:
		return [...]string{"close revoked", "close lost", "close failed", "close diverged", "close fenced", "close stopped"}[a.Reason]
	case Begin:
		return "begin"
	case Flush:
		return "flush"
	case SendOffsets:
		return "send-offsets"
	case FetchOffsets:
		return "fetch-offsets"
	case Restore:
		return "restore"
	case EndCommit:
		return "end-commit"
	case EndAbort:
		return "end-abort"
	case Reinit:
		return "reinit"
	case ReadControl:
		return "read-control"
	case Release:
		return "release"
	default:
		return Text(a)
	}
}

// eventKinds are the words of the events, in the order of kindOfEvent.
var eventKinds = [...]string{
	"assigned", "revoked", "membership-lost", "restored", "restore-failed", "retry", "wanted", "began", "begin-failed", "touched", "failed", "reached",
	"lease-lost", "due", "flushed", "sent", "ended", "aborted", "producer-ready", "control-read", "fetched", "stalled", "stop",
}

func kindOfEvent(e Event) int {
	switch e.(type) {
	case Assigned:
		return 0
	case Revoked:
		return 1
	case MembershipLost:
		return 2
	case Restored:
		return 3
	case RestoreFailed:
		return 4
	case Retry:
		return 5
	case Wanted:
		return 6
	case Began:
		return 7
	case BeginFailed:
		return 8
	case Touched:
		return 9
	case Failed:
		return 10
	case Reached:
		return 11
	case LeaseLost:
		return 12
	case Due:
		return 13
	case Flushed:
		return 14
	case Sent:
		return 15
	case Ended:
		return 16
	case Aborted:
		return 17
	case ProducerReady:
		return 18
	case ControlRead:
		return 19
	case Fetched:
		return 20
	case Stalled:
		return 21
	default:
		return 22
	}
}
