package admin

import (
	"errors"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

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
