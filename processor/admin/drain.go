package admin

import (
	"errors"
	"fmt"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// ErrLoop is returned for a drain of an application with loops.
var ErrLoop = errors.New("it has loops")

// drainable refuses to drain a plan with loops. Time does not go round in them, so that nobody
// can tell whether what is in a loop comes to an end.
func (c *Client) drainable(state *control.State) error {
	born, _ := state.Newest()
	b, err := birthOf(c.application, born)
	if err != nil {
		return err
	}
	for _, sub := range b.Plan.Subs {
		for _, in := range sub.Inputs {
			if in.Loop {
				return &processor.Error{What: fmt.Sprintf("the loop %s has no time that could end, so it cannot be told when all is through it", in.Topic), Where: "application " + c.application, Err: ErrLoop,
					Fix: "stop it with a savepoint and without a drain"}
			}
		}
	}
	return nil
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
