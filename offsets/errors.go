package offsets

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt is returned when bytes are not what this package writes.
	ErrCorrupt = errors.New("offsets: not in weir's format or damaged")
	// ErrVersion is returned when bytes were written by a newer release of weir.
	ErrVersion = errors.New("offsets: written by a newer release of weir; run that release or a later one")
)

// TooLargeError is returned when metadata does not fit beside a committed offset.
type TooLargeError struct {
	Size, Limit int // bytes, as sent to Kafka
	Stores      int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("offset metadata is %d bytes, the limit is %d: a task of %d stores is too large, split the sub-topology with a repartition (at most %d stores fit)",
		e.Size, e.Limit, e.Stores, MaxStores)
}
