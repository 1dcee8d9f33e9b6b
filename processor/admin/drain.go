package admin

import (
	"errors"
	"time"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// Drain is how far the end of an application's time is. Of several requests for one it is of the last, and it began
// with the first.
type Drain struct {
	Request  string     `json:"request"`
	By       string     `json:"by"`
	Since    time.Time  `json:"since"`
	Tasks    int        `json:"tasks"`
	Ended    int        `json:"ended"`              // tasks whose time has, as they have committed
	Loops    bool       `json:"loops,omitempty"`    // something may still go round in loops
	Declined string     `json:"declined,omitempty"` // why its savepoint was given up: another one has to be asked for
	Done     *time.Time `json:"done,omitempty"`     // when its savepoint was complete
	Path     string     `json:"path,omitempty"`     // of that
}

// drain says how far that of the newest timeline is; nil: nobody has asked for one.
func drain(state *control.State, s *Status, loops bool) (d *Drain) {
	for _, p := range state.Savepoints() {
		if !p.Request.Drain || p.Request.Timeline != s.Timeline {
			continue
		}
		if d == nil {
			d = &Drain{Since: time.UnixMilli(p.Request.Wall).UTC(), Tasks: len(s.Tasks), Loops: loops && !state.Quiet(s.Timeline)}
			for _, t := range s.Tasks {
				if t.Watermark != nil && t.Watermark.Ended() {
					d.Ended++
				}
			}
		}
		if d.Done != nil {
			continue
		}
		if since := time.UnixMilli(p.Request.Wall).UTC(); since.Before(d.Since) {
			d.Since = since
		}
		d.Request, d.By, d.Declined = p.Request.ID, p.Request.By, ""
		switch {
		case p.Complete != nil:
			done := time.UnixMilli(p.Complete.Wall).UTC()
			d.Done, d.Path = &done, p.Complete.Path
		case p.Declined != nil:
			d.Declined = becauseOf(p.Declined.Reason.String(), p.Declined.Why)
		}
	}
	return d
}

func becauseOf(reason, why string) string {
	if why == "" {
		return reason
	}
	return reason + ": " + why
}

// declinedSavepoint is the error for a savepoint that was declined. Behind the end of time an
// application does not go on.
func (c *Client) declinedSavepoint(s Savepoint) error {
	err := c.declined(checkpoint.Savepoint, s.ID, s.Reason, s.Why)
	var e *processor.Error
	if s.Drain && errors.As(err, &e) {
		e.Fix = "the application stays drained and reads nothing more; if a reason is given do what it says, and drain it again, under another id: only the savepoint is left to be taken"
	}
	return err
}
