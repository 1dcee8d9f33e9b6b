package processor

import (
	"errors"
	"slices"
)

// Deferred is an option that is made when a worker is made, and may fail then: f starts
// what the worker needs, and gives OnClose what stops it.
func Deferred(f func() (Option, error)) Option {
	return optionFunc(func(c *config) error {
		o, err := f()
		if err != nil {
			return err
		}
		return o.apply(c)
	})
}

// close undoes what options started, the last one first.
func (c *config) close() error {
	var errs []error
	for _, f := range slices.Backward(c.closers) {
		errs = append(errs, f())
	}
	c.closers = nil
	return errors.Join(errs...)
}
