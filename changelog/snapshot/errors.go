package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"gocloud.dev/gcerrors"
)

// Kinds of failure that a caller tells apart with errors.Is. What is returned is an *Error.
var (
	// ErrAccess is returned when the store refuses a reader or a writer: permissions, a read-only disk.
	ErrAccess = errors.New("access is refused")
	// ErrFull is returned when the store has no room left.
	ErrFull = errors.New("no room left")
	// ErrNotFound is returned for what is not there: a directory, a manifest, an object.
	ErrNotFound = errors.New("not found")
	// ErrUnreachable is returned when the store does not answer, or not in time.
	ErrUnreachable = errors.New("store does not answer")
	// ErrDamaged is returned for bytes that are not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrNewer is returned for what a newer release of weir wrote.
	ErrNewer = errors.New("written by a newer release of weir")
	// ErrForeign is returned for what belongs to another application, task, store or cut.
	ErrForeign = errors.New("belongs to somebody else")
	// ErrOccupied is returned for a place where another savepoint lies.
	ErrOccupied = errors.New("another savepoint lies there")
	// ErrScheme is returned for a URL that no linked driver knows.
	ErrScheme = errors.New("no driver for this kind of store")
)

var kinds = []error{ErrDamaged, ErrNewer, ErrForeign, ErrOccupied, ErrScheme, ErrAccess, ErrFull, ErrNotFound, ErrUnreachable}

// errTimeout is the cause of a request's context that Options.Timeout ended.
var errTimeout = errors.New("no answer in time")

// Error says what failed, with which object, and what to do about it.
type Error struct {
	Op       string // "write", "read", "delete", "list", "open"
	Location string // of the bucket, without secrets
	Name     string // of the object within it, "" when all of it is meant
	Kind     error  // one of the Err values above, or nil
	Err      error
	Hint     string // what to do, "" when nothing more is known
}

func (e *Error) Error() string {
	s := e.Op + " " + e.Location
	if e.Name != "" {
		s += "/" + e.Name
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

func (e *Error) Is(target error) bool { return target == e.Kind }
func (e *Error) Unwrap() error        { return e.Err }

// wrap makes an *Error of err; it leaves alone what is one already, and nil.
func (b *Bucket) wrap(op, name string, err error) error {
	return failed(op, b.location, name, err)
}

func failed(op, location, name string, err error) error {
	var done *Error
	if err == nil || errors.As(err, &done) {
		return err
	}
	kind := kindOf(err)
	return &Error{Op: op, Location: location, Name: name, Kind: kind, Err: cause(err), Hint: hint(kind, op)}
}

// cause takes off what gocloud.dev wraps around an error of its drivers: it repeats the key and adds a code that is mostly
// "Unknown". Its type is not exported.
func cause(err error) error {
	var wrapped interface{ Unwrap() []error }
	if fmt.Sprintf("%T", err) == "*gcerr.Error" && errors.As(err, &wrapped) {
		if inner := wrapped.Unwrap()[0]; inner != nil {
			return inner
		}
	}
	return err
}

// kindOf sorts the errors of drivers, the system and the network. A context that the caller ended has no kind.
func kindOf(err error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	var answer interface{ HTTPStatusCode() int } // of the AWS SDK
	status := 0
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	var dial *net.OpError
	var name *net.DNSError
	switch code := gcerrors.Code(err); {
	case errors.Is(err, errTimeout):
		return ErrUnreachable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG), status == 507:
		return ErrFull
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR),
		code == gcerrors.PermissionDenied, status == 401, status == 403:
		return ErrAccess
	case errors.Is(err, fs.ErrNotExist), code == gcerrors.NotFound, status == 404:
		return ErrNotFound
	case errors.As(err, &dial), errors.As(err, &name), status >= 500, code == gcerrors.DeadlineExceeded:
		return ErrUnreachable
	}
	return nil
}

func hint(kind error, op string) string {
	writing := op == "write" || op == "delete"
	switch kind {
	case ErrAccess:
		if writing {
			return "let this user write there, or choose another place"
		}
		return "let this user read it"
	case ErrFull:
		return "make room, or retain fewer checkpoints; what was complete is untouched"
	case ErrNotFound:
		if writing {
			return "create the directory or bucket first"
		}
		return "check the path; what was deleted or never completed cannot be restored, take another checkpoint or savepoint"
	case ErrUnreachable:
		return "check the endpoint, the network and the credentials"
	case ErrDamaged:
		return "it cannot be used, take another checkpoint or savepoint"
	case ErrNewer:
		return "run the release that wrote it, or a later one"
	case ErrOccupied:
		return "name an empty place, each savepoint has one of its own"
	case ErrForeign:
		return "check the path and the application's name"
	}
	return ""
}

// damaged is the error of a pure decoder; the caller adds operation and name.
func damaged(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrDamaged)...)
}
