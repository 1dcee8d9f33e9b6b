package rescale

import (
	"errors"
	"fmt"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// Shard divides what lay in Was partitions among Is.
type Shard struct {
	Was, Is int32
	Place   func(key []byte) []byte // cuts out of a key what places it; nil: all of it
	Window  bool                    // rows are of a window store
}

// Why a row or record cannot be placed.
var (
	ErrNoKey     = errors.New("it has no key")
	ErrMisplaced = errors.New("its key does not belong to the partition in which it lies")
)

// Key gives the partition of a record that lay in was. One that does not belong there came by
// another way than its key: then others of that key may lie elsewhere, and who follows whom is
// not known.
func (s Shard) Key(key []byte, was int32) (int32, error) {
	if key == nil {
		return 0, ErrNoKey
	}
	if s.Place != nil {
		key = s.Place(key)
	}
	if at := offsets.Partition(key, s.Was); at != was {
		return 0, fmt.Errorf("%w: that is %d, it is in %d of %d", ErrMisplaced, at, was, s.Was)
	}
	return offsets.Partition(key, s.Is), nil
}

// Row is Key for a row of a store.
func (s Shard) Row(row []byte, was int32) (int32, error) {
	key, ok := task.ParseKeyedRow(row)
	if s.Window {
		_, key, ok = task.ParseWindowRow(row)
	}
	if !ok {
		return 0, ErrNoKey
	}
	return s.Key(key, was)
}
