package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

// version of the values. A new field or another meaning needs the next number: old releases
// must stop at what they do not know, because it may forbid them to go on.
const version = 1

const opening = `{"version":1,`

// Record is one of Born, Intent, Active, Cancelled, Claim and Quiet, which are about timelines, Request,
// Trigger, Declined, Complete, Dropped and Forgotten, which are about cuts, and Stop (see
// cut.go).
type Record interface {
	kind() string
	name() string // what the key has behind the kind: the record's number
	timeline() uint32
	check() error
}

type (
	// Born says that all tasks of the timeline have positions and its topics exist.
	Born struct {
		Timeline           uint32            `json:"timeline"`
		Fingerprint        string            `json:"fingerprint"`
		InternalPartitions int32             `json:"internalPartitions"`
		Partitions         map[string]int32  `json:"partitions"` // of every source and internal topic
		TopicIDs           map[string]string `json:"topicIds"`
		Wall               int64             `json:"wall"` // ms since 1970, for people
		Plan               json.RawMessage   `json:"plan"`
	}
	// Intent says that somebody prepares the timeline: lanes of older ones stop.
	Intent struct {
		Timeline uint32 `json:"timeline"`
		By       string `json:"by"` // who, for people
		Wall     int64  `json:"wall"`
	}
	// Active says that the timeline counts and nothing older does.
	Active struct {
		Timeline    uint32 `json:"timeline"`
		From        uint32 `json:"from"` // timeline that was active before; 0: none, it is the first
		Cut         uint64 `json:"cut"`  // highest cut id used up to here
		Fingerprint string `json:"fingerprint"`
		Wall        int64  `json:"wall"`
		Base        Base   `json:"base"`
	}
	// Base is what a timeline began with. It is history: the timeline needs nothing of it.
	Base struct {
		Rewind      string       `json:"rewind"` // id; one that is there is not carried out again
		Application string       `json:"application"`
		Timeline    uint32       `json:"timeline"` // of the application, with the cut
		Cut         uint64       `json:"cut"`
		Manifest    string       `json:"manifest"`        // where it lay, without secrets
		SHA256      string       `json:"sha256"`          // of the manifest, hex
		Claim       string       `json:"claim,omitempty"` // location of the manifest of a savepoint that is the application's from here on, with the parameters of a URL
		Superseded  []Superseded `json:"superseded"`
	}
	// Superseded is a partition of an output topic, whose records below End were written
	// before the timeline. Those that came of what it processes again are superseded.
	Superseded struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		End       int64  `json:"end"`
	}
	// Cancelled takes an intent back: the older timeline may go on.
	Cancelled struct {
		Timeline uint32 `json:"timeline"`
		By       string `json:"by"`
		Wall     int64  `json:"wall"`
	}
	// Claim says what becomes of the savepoint that the rewind to the timeline has claimed: it
	// is not kept any more, and is deleted from here on; then, that it is.
	Claim struct {
		Timeline uint32 `json:"timeline"`
		Deleted  bool   `json:"deleted,omitempty"`
		Wall     int64  `json:"wall"`
	}
	// Quiet says that the timeline is drained and that its loops are empty: nothing comes
	// through them any more but what windows send that fire at the end of time.
	Quiet struct {
		Timeline uint32 `json:"timeline"`
		Wall     int64  `json:"wall"`
	}
)

func (Born) kind() string      { return "born" }
func (Intent) kind() string    { return "intent" }
func (Active) kind() string    { return "active" }
func (Cancelled) kind() string { return "cancelled" }
func (Claim) kind() string     { return "claim" }
func (Quiet) kind() string     { return "quiet" }

func (r Born) timeline() uint32      { return r.Timeline }
func (r Intent) timeline() uint32    { return r.Timeline }
func (r Active) timeline() uint32    { return r.Timeline }
func (r Cancelled) timeline() uint32 { return r.Timeline }
func (r Claim) timeline() uint32     { return r.Timeline }
func (r Quiet) timeline() uint32     { return r.Timeline }

func (r Born) name() string      { return number(r.Timeline) }
func (r Intent) name() string    { return number(r.Timeline) }
func (r Active) name() string    { return number(r.Timeline) }
func (r Cancelled) name() string { return number(r.Timeline) }
func (r Claim) name() string     { return number(r.Timeline) }
func (r Quiet) name() string     { return number(r.Timeline) }

func number[N uint32 | uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

func (r Born) check() error {
	if r.Fingerprint == "" || len(r.Plan) == 0 || r.InternalPartitions < 1 {
		return errors.New("fingerprint, plan or number of internal partitions is missing")
	}
	for topic, n := range r.Partitions {
		if n < 1 {
			return fmt.Errorf("topic %s has %d partitions", topic, n)
		}
	}
	return nil
}
func (r Intent) check() error { return nil }
func (r Active) check() error {
	if r.From >= r.Timeline {
		return fmt.Errorf("it comes after timeline %d, which is not older", r.From)
	}
	if err := offsets.CheckName(r.Base.Rewind); err != nil {
		return fmt.Errorf("id of the rewind: %w", err)
	}
	for _, s := range r.Base.Superseded {
		if s.Topic == "" || s.Partition < 0 || s.End < 0 {
			return fmt.Errorf("superseded up to %d of %q/%d", s.End, s.Topic, s.Partition)
		}
	}
	return nil
}
func (r Cancelled) check() error { return nil }
func (r Claim) check() error     { return nil }
func (r Quiet) check() error     { return nil }

var (
	// ErrCorrupt is returned when a control record is not what weir writes.
	ErrCorrupt = errors.New("control: not in weir's format")
	// ErrNewer is returned when a control record was written by a newer release.
	ErrNewer = errors.New("control: written by a newer release of weir; run that release or a later one")
)

// Encode gives key and value of the record. The key is what the topic is compacted by:
// "kind.timeline", "cut.id", "request.id" or "stop.id". The value of Forgotten is nil.
func Encode(r Record) (key, value []byte, err error) {
	key = fmt.Appendf(nil, "%s.%s", r.kind(), r.name())
	_, tombstone := r.(Forgotten)
	if r.timeline() == 0 && !tombstone {
		return nil, nil, fmt.Errorf("encode control record %s: timelines count from 1", key)
	}
	if err := r.check(); err != nil {
		return nil, nil, fmt.Errorf("encode control record %s: %w", key, err)
	}
	if tombstone {
		return key, nil, nil
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, nil, fmt.Errorf("encode control record %s: %w", key, err)
	}
	value = append(value, opening...)
	if c, ok := r.(interface{ state() string }); ok {
		value = fmt.Appendf(value, `"state":"%s",`, c.state())
	}
	return key, append(value, body[1:]...), nil
}

// Decode reads what Encode gives. Errors wrap ErrCorrupt or ErrNewer.
func Decode(key, value []byte) (Record, error) {
	kind, name, dotted := strings.Cut(string(key), ".")
	corrupt := func(why any) (Record, error) {
		return nil, fmt.Errorf("decode control record %.80q: %v: %w", key, why, ErrCorrupt)
	}
	if kind == "cut" && len(value) == 0 {
		id, err := strconv.ParseUint(name, 10, 64)
		if r := (Forgotten{id}); err == nil && id != 0 && r.name() == name {
			return r, nil
		}
		return corrupt("a tombstone of no cut")
	}
	body, err := opened(key, value)
	if err != nil {
		return nil, err
	}
	if !dotted {
		return corrupt("no name")
	}
	what := kind
	if kind == "cut" {
		what, body, err = stateOf(body)
		if err != nil {
			return corrupt(err)
		}
	}
	var r Record
	switch what {
	case "born":
		r, err = decode[Record, Born](body)
	case "intent":
		r, err = decode[Record, Intent](body)
	case "active":
		r, err = decode[Record, Active](body)
	case "cancelled":
		r, err = decode[Record, Cancelled](body)
	case "claim":
		r, err = decode[Record, Claim](body)
	case "quiet":
		r, err = decode[Record, Quiet](body)
	case "request":
		r, err = decode[Record, Request](body)
	case "triggered":
		r, err = decode[Record, Trigger](body)
	case "declined":
		r, err = decode[Record, Declined](body)
	case "complete":
		r, err = decode[Record, Complete](body)
	case "dropped":
		r, err = decode[Record, Dropped](body)
	case "stop":
		r, err = decode[Record, Stop](body)
	default:
		return nil, fmt.Errorf("decode control record %.80q: unknown kind: %w", key, ErrNewer)
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return corrupt(err)
	}
	if r.timeline() == 0 || r.kind() != kind || r.name() != name {
		return corrupt(fmt.Sprintf("the value is that of %s.%s in timeline %d", r.kind(), r.name(), r.timeline()))
	}
	return r, nil
}

// stateOf takes the state off the value of a cut.
func stateOf(body []byte) (state string, rest []byte, err error) {
	behind, found := bytes.CutPrefix(body, []byte(`{"state":"`))
	name, rest, ended := bytes.Cut(behind, []byte(`",`))
	if !found || !ended {
		return "", nil, errors.New("no state")
	}
	return string(name), append([]byte{'{'}, rest...), nil
}

// decode reads a T, which is one of the kinds I.
func decode[I any, T any](body []byte) (i I, err error) {
	var r T
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return i, err
	}
	if _, err := d.Token(); err != io.EOF {
		return i, errors.New("bytes behind the value")
	}
	return any(r).(I), nil
}
