package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

// Message is a record of the acks topic: Ack, Uploaded or Moved.
type Message interface {
	label() string
	task() offsets.Task
	valid() error
}

type (
	// Ack says that a task took the cut: what it had processed, and where its state was, at
	// the end of the epoch in whose transaction the record was written.
	Ack struct {
		Task      offsets.Task    `json:"task"`
		Cut       uint64          `json:"cut"`
		Epoch     offsets.EpochID `json:"epoch"`
		Positions []Position      `json:"positions"` // in the order of the task's inputs
		Time      int64           `json:"time"`      // watermark of the task, ms since 1970
		Times     []int64         `json:"times"`     // watermark of each input
		Wall      int64           `json:"wall"`
	}
	// Position of an input partition.
	Position struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
	}
	// Uploaded says that the state of exactly that epoch is in the store, or why it cannot be
	// had. It is true whoever writes it, so it needs no fence: Epoch names one state for ever.
	Uploaded struct {
		Task   offsets.Task    `json:"task"`
		Cut    uint64          `json:"cut"`
		Epoch  offsets.EpochID `json:"epoch"`
		Failed string          `json:"failed,omitempty"`
		Stores json.RawMessage `json:"stores,omitempty"` // changelog end and objects of each store, by changelog/snapshot
		Wall   int64           `json:"wall"`
	}
	// Moved says that a task which had taken the cut was restored by somebody who did not
	// upload its state as of then. If nobody else has by now, nobody will.
	Moved struct {
		Task offsets.Task `json:"task"`
		Cut  uint64       `json:"cut"`
		Wall int64        `json:"wall"`
	}
)

func (Ack) label() string      { return "ack" }
func (Uploaded) label() string { return "uploaded" }
func (Moved) label() string    { return "moved" }

func (m Ack) task() offsets.Task      { return m.Task }
func (m Uploaded) task() offsets.Task { return m.Task }
func (m Moved) task() offsets.Task    { return m.Task }

func (m Ack) valid() error {
	if len(m.Positions) == 0 || len(m.Times) != len(m.Positions) {
		return fmt.Errorf("%d positions with %d times", len(m.Positions), len(m.Times))
	}
	for _, p := range m.Positions {
		if p.Topic == "" || p.Partition < 0 || p.Offset < 0 {
			return fmt.Errorf("position %d of %q/%d", p.Offset, p.Topic, p.Partition)
		}
	}
	return checkMessage(m.Task, m.Cut, m.Epoch)
}

func (m Uploaded) valid() error {
	if m.Failed == "" && len(m.Stores) == 0 {
		return errors.New("neither objects nor a reason why there are none")
	}
	return checkMessage(m.Task, m.Cut, m.Epoch)
}

func (m Moved) valid() error { return checkPart(m.Task, m.Cut) }

func checkMessage(t offsets.Task, cut uint64, e offsets.EpochID) error {
	if e.Birth() {
		return errors.New("no epoch")
	}
	return checkPart(t, cut)
}

func checkPart(t offsets.Task, cut uint64) error {
	if t.Sub < 0 || t.Partition < 0 {
		return fmt.Errorf("task %s", t)
	}
	return Cut{ID: cut}.check()
}

// EncodeMessage gives key and value of a record of the acks topic. The key is "ack.<task>",
// "uploaded.<task>" or "moved.<task>".
func EncodeMessage(m Message) (key, value []byte, err error) {
	key = fmt.Appendf(nil, "%s.%s", m.label(), m.task())
	if err := m.valid(); err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", key, err)
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", key, err)
	}
	return key, append([]byte(opening), body[1:]...), nil
}

// DecodeMessage reads what EncodeMessage gives. Errors wrap ErrCorrupt or ErrNewer.
func DecodeMessage(key, value []byte) (Message, error) {
	label, name, dotted := strings.Cut(string(key), ".")
	body, err := opened(key, value)
	if err != nil {
		return nil, err
	}
	var m Message
	switch label {
	case "ack":
		m, err = decode[Message, Ack](body)
	case "uploaded":
		m, err = decode[Message, Uploaded](body)
	case "moved":
		m, err = decode[Message, Moved](body)
	default:
		return nil, fmt.Errorf("decode record %.80q of the acks topic: unknown kind: %w", key, ErrNewer)
	}
	if err == nil {
		err = m.valid()
	}
	if err == nil && (!dotted || m.task().String() != name) {
		err = fmt.Errorf("the value is of task %s", m.task())
	}
	if err != nil {
		return nil, fmt.Errorf("decode record %.80q of the acks topic: %w: %w", key, err, ErrCorrupt)
	}
	return m, nil
}

// opened takes the version off a value.
func opened(key, value []byte) ([]byte, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return nil, fmt.Errorf("decode record %.80q: %w: %w", key, err, ErrCorrupt)
	}
	if head.Version > version {
		return nil, fmt.Errorf("decode record %.80q of version %d, known is %d: %w", key, head.Version, version, ErrNewer)
	}
	// The version stands in front of the record's own fields, written as Encode does.
	body, found := bytes.CutPrefix(value, []byte(opening))
	if !found {
		return nil, fmt.Errorf("decode record %.80q: no version: %w", key, ErrCorrupt)
	}
	return append([]byte{'{'}, body...), nil
}
