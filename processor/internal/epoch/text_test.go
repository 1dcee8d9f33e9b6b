package epoch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// parseEvent reads what Text gives for an event.
func parseEvent(line string) (Event, error) {
	word, rest, _ := strings.Cut(line, " ")
	args := strings.Fields(rest)
	var p parser
	var e Event
	switch word {
	case "assigned":
		e = Assigned{p.tasks(args)}
	case "revoked":
		e = Revoked{p.tasks(args)}
	case "membership-lost":
		e = MembershipLost{}
	case "restored":
		e = Restored{p.task(p.arg(args, 0)), p.epoch(p.arg(args, 1))}
	case "restore-failed":
		e = RestoreFailed{p.task(p.arg(args, 0))}
	case "retry":
		e = Retry{p.task(p.arg(args, 0))}
	case "wanted":
		e = Wanted{}
	case "began":
		e = Began{p.number(p.arg(args, 0), 64), int16(p.number(p.arg(args, 1), 16))}
	case "begin-failed":
		e = BeginFailed{p.verdict(p.arg(args, 0))}
	case "touched":
		e = Touched{p.task(p.arg(args, 0))}
	case "failed":
		e = Failed{p.task(p.arg(args, 0))}
	case "reached":
		e = Reached{p.task(p.arg(args, 0))}
	case "lease-lost":
		e = LeaseLost{}
	case "due":
		e = Due{}
	case "flushed":
		e = Flushed{p.verdict(p.arg(args, 0))}
	case "sent":
		e = Sent{p.verdict(p.arg(args, 0))}
	case "ended":
		e = Ended{p.verdict(p.arg(args, 0))}
	case "aborted":
		e = Aborted{p.verdict(p.arg(args, 0))}
	case "producer-ready":
		e = ProducerReady{}
	case "control-read":
		e = ControlRead{p.arg(args, 0) == "stop=true"}
	case "fetched":
		epochs := map[offsets.Task]offsets.EpochID{}
		for _, a := range args {
			t, id, _ := strings.Cut(a, "=")
			epochs[p.task(t)] = p.epoch(id)
		}
		e = Fetched{epochs}
	case "stalled":
		e = Stalled{}
	case "stop":
		e = Stop{}
	default:
		return nil, fmt.Errorf("unknown event %q", line)
	}
	if p.err == nil && Text(e) != line {
		p.err = fmt.Errorf("reads as %q", Text(e))
	}
	if p.err != nil {
		return nil, fmt.Errorf("event %q: %w", line, p.err)
	}
	return e, nil
}

// parser keeps the first error.
type parser struct{ err error }

func (p *parser) note(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) arg(args []string, i int) string {
	if i >= len(args) {
		p.note(fmt.Errorf("argument %d is missing", i+1))
		return ""
	}
	return args[i]
}

func (p *parser) task(s string) offsets.Task {
	t, err := offsets.ParseTask(s)
	p.note(err)
	return t
}

func (p *parser) tasks(args []string) []offsets.Task {
	var out []offsets.Task
	for _, a := range args {
		out = append(out, p.task(a))
	}
	return out
}

func (p *parser) number(s string, bits int) int64 {
	n, err := strconv.ParseInt(s, 10, bits)
	p.note(err)
	return n
}

func (p *parser) epoch(s string) (id offsets.EpochID) {
	if s != "birth" {
		_, err := fmt.Sscanf(s, "c%d.p%d.e%d", &id.Counter, &id.ProducerID, &id.ProducerEpoch)
		p.note(err)
	}
	return id
}

func (p *parser) verdict(s string) Verdict {
	for v := OK; v <= FencedForEver; v++ {
		if v.String() == s {
			return v
		}
	}
	p.note(fmt.Errorf("unknown verdict %q", s))
	return OK
}

// allEvents has one of each kind.
func allEvents() []Event {
	a, b := offsets.Task{Sub: 0, Partition: 3}, offsets.Task{Sub: 1, Partition: 0}
	id := offsets.EpochID{Counter: 7, ProducerID: 1001, ProducerEpoch: 3}
	return []Event{
		Assigned{[]offsets.Task{a, b}}, Revoked{[]offsets.Task{a}}, MembershipLost{}, Restored{a, id}, RestoreFailed{a}, Retry{a}, Wanted{},
		Began{1001, 3}, BeginFailed{Unknown}, Touched{a}, Failed{a}, Reached{a}, LeaseLost{}, Due{}, Flushed{Refused}, Sent{Lost}, Ended{OK},
		Aborted{Fenced}, ProducerReady{}, ControlRead{true}, Fetched{map[offsets.Task]offsets.EpochID{a: id, b: {}}}, Stalled{}, Stop{},
	}
}

// A history in a panic can be pasted into a script.
func TestTextOfEventsIsReadBack(t *testing.T) {
	for _, e := range allEvents() {
		got, err := parseEvent(Text(e))
		if err != nil {
			t.Error(err)
		} else if Text(got) != Text(e) || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", e) {
			t.Errorf("%q reads as %T %q", Text(e), got, Text(got))
		}
	}
}

func TestParseRefusesWhatTextDoesNotGive(t *testing.T) {
	for _, line := range []string{"", "assigned 0", "assigned  0-0", "restored 0-0", "ended well", "began 1", "fetched 0-0", "due now", "control-read stop=perhaps"} {
		if e, err := parseEvent(line); err == nil {
			t.Errorf("%q reads as %q", line, Text(e))
		}
	}
}

func TestTextOfActions(t *testing.T) {
	a := offsets.Task{Sub: 0, Partition: 3}
	id := offsets.EpochID{Counter: 1, ProducerID: 1001, ProducerEpoch: 3}
	got := []string{}
	for _, x := range []Action{
		Begin{}, Flush{[]offsets.Task{a}}, SendOffsets{[]Attempt{{Task: a, Epoch: id}}}, EndCommit{}, EndAbort{}, Reinit{}, ReadControl{},
		FetchOffsets{[]offsets.Task{a}}, Settle{Committed, Attempt{Task: a, Epoch: id}}, Settle{Dropped, Attempt{Task: a}}, Restore{a},
		Close{a, ReasonDiverged}, Release{}, Exit{true},
	} {
		got = append(got, Text(x))
	}
	want := []string{
		"begin", "flush 0-3", "send-offsets 0-3=c1.p1001.e3<birth", "end-commit", "end-abort", "reinit", "read-control", "fetch-offsets 0-3",
		"settle 0-3 committed c1.p1001.e3", "settle 0-3 dropped", "restore 0-3", "close 0-3 diverged", "release", "exit clean=true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
