package checkpoint

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
	p := parser{rest: line}
	var e Event
	switch word := p.word(); word {
	case "logged":
		e = Logged{p.record()}
	case "caught-up":
		e = CaughtUp{}
	case "drained":
		e = Drained{}
	case "tick":
		e = Tick{p.number()}
	case "acked":
		e = Acked{p.task(), p.id(), p.epoch()}
	case "uploaded":
		e = Uploaded{p.task(), p.id(), p.epoch(), p.word()}
	case "upload-lost":
		e = UploadLost{p.task(), p.id(), p.epoch(), p.quoted()}
	case "task-down":
		e = TaskDown{p.task()}
	case "manifest-written":
		e = ManifestWritten{p.id()}
	case "manifest-lost":
		e = ManifestLost{p.id(), p.quoted()}
	case "write-lost":
		e = WriteLost{}
	case "deleted":
		e = Deleted{p.id()}
	case "stop":
		_, discard := p.take("discard")
		e = Stop{discard}
	case "came":
		e = Came{p.task(), p.id()}
	case "went":
		e = Went{p.task()}
	case "met":
		e = Met{p.task(), p.id()}
	case "closing":
		e = Closing{p.tasks()}
	case "committed":
		e = Committed{p.task()}
	case "aborted":
		e = Aborted{p.task()}
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

// parser takes words off a line and keeps the first error.
type parser struct {
	rest string
	err  error
}

func (p *parser) note(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) word() string {
	word, rest, _ := strings.Cut(p.rest, " ")
	if word == "" {
		p.note(fmt.Errorf("a word is missing"))
	}
	p.rest = rest
	return word
}

// take takes the next word off if it begins with prefix, and returns what follows that.
func (p *parser) take(prefix string) (string, bool) {
	word, rest, _ := strings.Cut(p.rest, " ")
	after, ok := strings.CutPrefix(word, prefix)
	if !ok {
		return "", false
	}
	p.rest = rest
	return after, true
}

func (p *parser) quoted() string {
	s, err := strconv.Unquote(p.rest)
	p.note(err)
	p.rest = ""
	return s
}

func (p *parser) number() int64 { return p.parsed(p.word()) }

func (p *parser) parsed(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	p.note(err)
	return n
}

func (p *parser) id() uint64 {
	n, err := strconv.ParseUint(p.word(), 10, 64)
	p.note(err)
	return n
}

func (p *parser) task() offsets.Task {
	t, err := offsets.ParseTask(p.word())
	p.note(err)
	return t
}

func (p *parser) tasks() (out []offsets.Task) {
	for p.rest != "" && p.err == nil {
		out = append(out, p.task())
	}
	return out
}

func (p *parser) epoch() (id offsets.EpochID) {
	if s := p.word(); s != "birth" {
		_, err := fmt.Sscanf(s, "c%d.p%d.e%d", &id.Counter, &id.ProducerID, &id.ProducerEpoch)
		p.note(err)
	}
	return id
}

func (p *parser) kind() Kind {
	switch s := p.word(); s {
	case "checkpoint":
		return Checkpoint
	case "savepoint":
		return Savepoint
	default:
		p.note(fmt.Errorf("unknown kind %q", s))
		return Checkpoint
	}
}

func (p *parser) cut() Cut {
	c := Cut{ID: p.id(), Kind: p.kind()}
	_, c.Full = p.take("full")
	c.Request, _ = p.take("request=")
	return c
}

func (p *parser) wall() int64 {
	s, _ := p.take("at=")
	return p.parsed(s)
}

func (p *parser) began() int64 {
	if s, ok := p.take("began="); ok {
		return p.parsed(s)
	}
	return 0
}

func (p *parser) reason() Reason {
	s := p.word()
	for r := TimedOut; r <= Stopping; r++ {
		if r.String() == s {
			return r
		}
	}
	p.note(fmt.Errorf("unknown reason %q", s))
	return TimedOut
}

func (p *parser) record() Record {
	switch word := p.word(); word {
	case "requested":
		r := Requested{Request: p.word(), Kind: p.kind()}
		_, r.Full = p.take("full")
		_, r.Drain = p.take("drain")
		return r
	case "triggered":
		return Triggered{Cut: p.cut(), Wall: p.wall()}
	case "declined":
		r := Declined{Cut: p.cut(), Began: p.began(), Wall: p.wall(), Reason: p.reason()}
		if p.rest != "" {
			r.Why = p.quoted()
		}
		return r
	case "completed":
		return Completed{Cut: p.cut(), Began: p.began(), Wall: p.wall()}
	case "dropped":
		return Dropped{Cut: p.cut(), Began: p.began(), Wall: p.wall()}
	case "forgotten":
		return Forgotten{p.id()}
	case "activated":
		return Activated{p.id()}
	default:
		p.note(fmt.Errorf("unknown record %q", word))
		return Dropped{}
	}
}

var (
	one = offsets.Task{Sub: 0, Partition: 3}
	two = offsets.Task{Sub: 1, Partition: 0}

	epoch7 = offsets.EpochID{Counter: 7, ProducerID: 1001, ProducerEpoch: 3}
)

// allEvents has one of each kind.
func allEvents() []Event {
	asked := Cut{ID: 5, Kind: Savepoint, Full: true, Request: "mine"}
	return []Event{
		Logged{Requested{"mine", Savepoint, true, false}}, Logged{Requested{"last", Savepoint, true, true}}, Logged{Triggered{Cut{ID: 4}, 17}}, Logged{Triggered{asked, 17}},
		Logged{Declined{Cut: Cut{ID: 4}, Reason: TimedOut, Why: "no \"upload\" of 0-3", Wall: 18}}, Logged{Declined{Cut: asked, Reason: Stopping}},
		Logged{Completed{Cut: asked, Wall: 19}}, Logged{Dropped{Cut: asked}}, Logged{Forgotten{4}}, Logged{Activated{9}},
		CaughtUp{}, Drained{}, Tick{17}, Acked{one, 4, epoch7}, Uploaded{one, 4, epoch7, "objects/17"}, UploadLost{two, 4, epoch7, "the store is full"}, TaskDown{one},
		ManifestWritten{4}, ManifestLost{4, "denied"}, WriteLost{}, Deleted{4}, Stop{}, Stop{Discard: true},
		Came{one, 4}, Went{one}, Met{one, 5}, Closing{[]offsets.Task{one, two}}, Closing{}, Committed{one}, Aborted{two},
	}
}

// A history in a panic can be pasted into a script.
func TestTextOfEventsIsReadBack(t *testing.T) {
	for _, e := range allEvents() {
		got, err := parseEvent(Text(e))
		if err != nil {
			t.Error(err)
		} else if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", e) {
			t.Errorf("%q reads as %#v, want %#v", Text(e), got, e)
		}
	}
}

func TestParseRefusesWhatTextDoesNotGive(t *testing.T) {
	for _, line := range []string{
		"", "caught-up now", "tick", "tick soon", "acked 0-1 4", "acked 0 4 birth", "closing  0-0", "logged triggered 4 at=1", "logged triggered 4 checkpoint",
		"logged declined 4 checkpoint at=1 bored", "logged lost 4", "upload-lost 0-1 4 birth denied",
	} {
		if e, err := parseEvent(line); err == nil {
			t.Errorf("%q reads as %q", line, Text(e))
		}
	}
}

func TestTextOfActions(t *testing.T) {
	asked := Cut{ID: 5, Kind: Savepoint, Full: true, Request: "mine"}
	got := []string{}
	for _, x := range []Action{
		Write{Triggered{Cut{ID: 4}, 17}}, Write{Declined{Cut: asked, Reason: UploadFailed, Why: "full", Wall: 18}}, WriteManifest{asked, []Part{{one, epoch7, "objects/17"}}},
		Delete{3}, Answer{"mine", 5}, Fail{ID: 4, Failures: 2, Reason: TimedOut}, Stopped{}, EndEpoch{}, EndEpoch{true}, Take{one, 4, true}, Take{one, 4, false}, Hold{one, 5}, Resume{one},
		Upload{one, 4}, Abandon{4},
	} {
		got = append(got, Text(x))
	}
	want := []string{
		"write triggered 4 checkpoint at=17", `write declined 5 savepoint full request=mine at=18 upload-failed "full"`,
		"write-manifest 5 savepoint full request=mine 0-3=c7.p1001.e3:objects/17", "delete 3", "answer mine 5", "fail 4 failures=2 timed-out", "stopped",
		"end-epoch", "end-epoch even-empty", "take 0-3 4 ack", "take 0-3 4", "hold 0-3 5", "resume 0-3", "upload 0-3 4", "abandon 4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
