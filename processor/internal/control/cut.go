package control

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// Cut is what gets an id, as it stands in the records about it.
type Cut struct {
	ID    uint64          `json:"cut"`
	Kind  checkpoint.Kind `json:"kind"` // "checkpoint" or "savepoint"
	Full  bool            `json:"full,omitempty"`
	Asked *Request        `json:"asked,omitempty"` // that it answers; nil: nobody asked for it
}

// Request is the id of the one that it answers, "" if nobody asked for it.
func (c Cut) Request() string {
	if c.Asked == nil {
		return ""
	}
	return c.Asked.ID
}

// Records about one cut share a key, and so do requests with one id: of each the last one
// says all that counts.
type (
	// Request asks the coordinator for a cut. Anybody may write it; the same ID twice is one
	// request, and the last before its cut counts. One with Drain ends the time of its timeline,
	// for good: nothing is read from sources from then on, whatever becomes of the cut.
	Request struct {
		ID       string          `json:"id"`
		Timeline uint32          `json:"timeline"`
		Kind     checkpoint.Kind `json:"kind"`
		Full     bool            `json:"full,omitempty"`   // not an increment
		Path     string          `json:"path,omitempty"`   // where a savepoint goes; empty: the configured place
		Format   string          `json:"format,omitempty"` // of a savepoint: native or portable
		Stop     bool            `json:"stop,omitempty"`   // a savepoint's: no task processes anything behind it, and when it is complete the workers stop
		Drain    bool            `json:"drain,omitempty"`  // of one with Stop: time ends before it
		By       string          `json:"by"`               // who, for people
		Wall     int64           `json:"wall"`             // ms since 1970, for people
	}
	// Trigger makes every task take the cut. The coordinator writes it, under its lease.
	Trigger struct {
		Cut
		Timeline uint32 `json:"timeline"`
		Wall     int64  `json:"wall"`
	}
	// Declined ends a cut that is not to be completed.
	Declined struct {
		Cut
		Timeline  uint32            `json:"timeline"`
		Reason    checkpoint.Reason `json:"reason"`
		Why       string            `json:"why,omitempty"` // for people
		Triggered int64             `json:"triggered"`     // ms since 1970, as Wall
		Wall      int64             `json:"wall"`
	}
	// Complete makes the cut count: its manifest and all that it names are in the store.
	Complete struct {
		Cut
		Timeline  uint32 `json:"timeline"`
		Manifest  string `json:"manifest"`       // name in the store
		SHA256    string `json:"sha256"`         // of the manifest, hex
		Path      string `json:"path,omitempty"` // of a savepoint: the store
		Triggered int64  `json:"triggered"`
		Wall      int64  `json:"wall"`
		Bytes     int64  `json:"bytes,omitempty"` // of all objects that the manifest names
		Added     int64  `json:"added,omitempty"` // of those that the checkpoint before does not have
	}
	// Dropped takes a completed checkpoint out of those that are kept. Its objects are
	// deleted afterwards.
	Dropped struct {
		Complete
		At int64 `json:"dropped"` // ms since 1970
	}
	// Forgotten is a tombstone: nothing is left of the cut, and nobody asked for it.
	Forgotten struct{ ID uint64 }
	// Stop ends the workers that run when it is written. Those that start later do not heed
	// it.
	Stop struct {
		ID       string `json:"id"`
		Timeline uint32 `json:"timeline"`
		By       string `json:"by"` // who, for people
		Wall     int64  `json:"wall"`
	}
)

func (Request) kind() string   { return "request" }
func (Trigger) kind() string   { return "cut" }
func (Declined) kind() string  { return "cut" }
func (Complete) kind() string  { return "cut" }
func (Dropped) kind() string   { return "cut" }
func (Forgotten) kind() string { return "cut" }
func (Stop) kind() string      { return "stop" }

// state of a cut, which its value begins with.
func (Trigger) state() string  { return "triggered" }
func (Declined) state() string { return "declined" }
func (Complete) state() string { return "complete" }
func (Dropped) state() string  { return "dropped" }

func (r Request) name() string   { return r.ID }
func (r Trigger) name() string   { return number(r.ID) }
func (r Declined) name() string  { return number(r.ID) }
func (r Complete) name() string  { return number(r.ID) }
func (r Forgotten) name() string { return number(r.ID) }
func (r Stop) name() string      { return r.ID }

func (r Request) timeline() uint32   { return r.Timeline }
func (r Trigger) timeline() uint32   { return r.Timeline }
func (r Declined) timeline() uint32  { return r.Timeline }
func (r Complete) timeline() uint32  { return r.Timeline }
func (r Forgotten) timeline() uint32 { return 0 } // that of the record before it
func (r Stop) timeline() uint32      { return r.Timeline }

func (r Request) check() error {
	if err := offsets.CheckName(r.ID); err != nil {
		return fmt.Errorf("request id: %w", err)
	}
	if r.Drain && !(r.Stop && r.Kind == checkpoint.Savepoint) {
		return errors.New("a drain is of a savepoint that stops the application")
	}
	return nil
}

func (c Cut) check() error {
	if c.ID == 0 {
		return errors.New("cuts count from 1")
	}
	if c.Asked == nil {
		return nil
	}
	return c.Asked.check()
}

func (r Forgotten) check() error { return Cut{ID: r.ID}.check() }

func (r Stop) check() error {
	if err := offsets.CheckName(r.ID); err != nil {
		return fmt.Errorf("id of a stop: %w", err)
	}
	return nil
}

func (r Complete) check() error {
	if sum, err := hex.DecodeString(r.SHA256); err != nil || len(sum) != 32 {
		return fmt.Errorf("sha256 is %.80q: want 64 hexadecimal digits", r.SHA256)
	}
	if r.Manifest == "" {
		return errors.New("manifest is missing")
	}
	return r.Cut.check()
}

// Fact is what a record means for the machines of package checkpoint; nil: nothing.
func Fact(r Record) checkpoint.Record {
	switch r := r.(type) {
	case Request:
		return checkpoint.Requested{Request: r.ID, Kind: r.Kind, Full: r.Full, Drain: r.Drain}
	case Trigger:
		return checkpoint.Triggered{Cut: r.fact(), Wall: r.Wall}
	case Declined:
		return checkpoint.Declined{Cut: r.fact(), Reason: r.Reason, Why: r.Why, Began: r.Triggered, Wall: r.Wall}
	case Complete:
		return checkpoint.Completed{Cut: r.fact(), Began: r.Triggered, Wall: r.Wall}
	case Dropped:
		return checkpoint.Dropped{Cut: r.fact(), Began: r.Triggered, Wall: r.Wall}
	case Forgotten:
		return checkpoint.Forgotten{ID: r.ID}
	case Active:
		return checkpoint.Activated{ID: r.Cut}
	}
	return nil
}

func (c Cut) fact() checkpoint.Cut {
	return checkpoint.Cut{ID: c.ID, Kind: c.Kind, Full: c.Full, Request: c.Request()}
}
