package processor

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
