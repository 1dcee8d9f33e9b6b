package admin

import (
	"errors"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/processor"
)

// ErrBroken is returned for a savepoint that cannot be restored: files are missing, damaged, or
// belong to something else.
var ErrBroken = errors.New("it cannot be restored")

// explain gives each error of a store the form that says what to do apart from what is wrong.
func explain(err error, class error) error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // it walks the chain itself
		var out []error
		for _, one := range many.Unwrap() {
			out = append(out, explain(one, class))
		}
		return errors.Join(out...)
	}
	var e *snapshot.Error
	if !errors.As(err, &e) {
		return errors.Join(err, class)
	}
	bare := *e
	bare.Hint = ""
	return &processor.Error{What: bare.Error(), Fix: e.Hint, Err: errors.Join(e, class)}
}

// broken says whether an error of a store is about what lies in it, not about reaching it.
func broken(err error) bool {
	for _, kind := range []error{snapshot.ErrDamaged, snapshot.ErrForeign, snapshot.ErrNewer, snapshot.ErrNotFound} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
