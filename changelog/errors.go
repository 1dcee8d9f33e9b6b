package changelog

import (
	"errors"
	"fmt"
)

// Kinds of failure that a caller tells apart with errors.Is. The errors returned are
// the structs below; each says what happened, where, and what to do about it.
var (
	// ErrLocked is returned when a live process holds the state directory.
	ErrLocked = errors.New("state directory is locked")
	// ErrForeign is returned when the state directory belongs to another application.
	ErrForeign = errors.New("state directory belongs to another application")
	// ErrReadOnly is returned when the state directory cannot be written.
	ErrReadOnly = errors.New("state directory is not writable")
	// ErrNewer is returned when a newer version of this library wrote the state directory.
	ErrNewer = errors.New("state directory has a newer format")
	// ErrDiskFull is returned when writing would eat into the free-space reserve.
	ErrDiskFull = errors.New("no free disk space")
	// ErrTooLarge is returned by Put and Delete for a key or value beyond MaxKey or MaxValue.
	ErrTooLarge = errors.New("row is too large")
	// ErrClosed is returned when a store or database is used after its Close.
	ErrClosed = errors.New("closed")
	// ErrTruncated is returned by ReadRange when the log starts above the first offset wanted.
	ErrTruncated = errors.New("changelog is truncated")
	// ErrLost is returned by ReadRange when the log ends below the last offset wanted.
	ErrLost = errors.New("changelog lost committed records")
	// ErrCutPending is returned by Store.Cut while the former cut is not on disk, and by
	// Cut.Rows before this one is.
	ErrCutPending = errors.New("cut is not on disk yet")
	// ErrNoIncrement is returned by Cut.Rows if it cannot tell what changed since another cut.
	ErrNoIncrement = errors.New("no increment since that cut")
	// ErrSnapshot is returned by Load for rows that cannot be those of a snapshot.
	ErrSnapshot = errors.New("not a snapshot")
)

// LockedError is ErrLocked with the holder.
type LockedError struct {
	Dir string
	PID int // 0 when the holder's id could not be read
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("state directory %s is in use by %s: stop that process, or give this one a state directory of its own", e.Dir, holder)
}

func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// ForeignError is ErrForeign with both names.
type ForeignError struct{ Dir, Application, Found string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("state directory %s holds the state of application %q, not of %q: use another directory, or remove this one (its state is then rebuilt from Kafka)", e.Dir, e.Found, e.Application)
}

func (e *ForeignError) Is(target error) bool { return target == ErrForeign }

// ReadOnlyError is ErrReadOnly with the refused operation.
type ReadOnlyError struct {
	Dir string
	Err error
}

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("state directory %s cannot be written: %v: make it writable for this user, or choose another directory", e.Dir, e.Err)
}

func (e *ReadOnlyError) Is(target error) bool { return target == ErrReadOnly }
func (e *ReadOnlyError) Unwrap() error        { return e.Err }

// NewerError is ErrNewer with both format versions.
type NewerError struct {
	Dir              string
	Found, Supported int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("state directory %s has format %d, this program knows formats up to %d: run the newer version, or use another directory (its state is then rebuilt from Kafka)", e.Dir, e.Found, e.Supported)
}

func (e *NewerError) Is(target error) bool { return target == ErrNewer }

// DiskFullError is ErrDiskFull with the figures.
type DiskFullError struct {
	Dir           string
	Free, Reserve uint64
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("state directory %s: %d MiB free, %d MiB are kept in reserve: free some space (nothing is lost, the state is rebuilt from Kafka), or lower the reserve", e.Dir, e.Free>>20, e.Reserve>>20)
}

func (e *DiskFullError) Is(target error) bool { return target == ErrDiskFull }

// TooLargeError is ErrTooLarge with the sizes.
type TooLargeError struct {
	What       string // "key" or "value"
	Size, Most int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s of %d bytes is above the store's limit of %d: split the row", e.What, e.Size, e.Most)
}

func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// TruncatedError is ErrTruncated with the offsets.
type TruncatedError struct {
	Topic          string
	Partition      int32
	From, LogStart int64
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("changelog %s partition %d starts at offset %d, offset %d is needed: its records were deleted, rebuild this state from the beginning of the log or from a checkpoint", e.Topic, e.Partition, e.LogStart, e.From)
}

func (e *TruncatedError) Is(target error) bool { return target == ErrTruncated }

// LostError is ErrLost with the offsets.
type LostError struct {
	Topic             string
	Partition         int32
	To, HighWatermark int64
}

func (e *LostError) Error() string {
	return fmt.Sprintf("changelog %s partition %d ends at offset %d, but records up to %d were committed: Kafka lost data (unclean leader election, or the topic was re-created), rewind the application to a checkpoint", e.Topic, e.Partition, e.HighWatermark, e.To)
}

func (e *LostError) Is(target error) bool { return target == ErrLost }
