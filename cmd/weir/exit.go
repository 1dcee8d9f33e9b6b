package main

// Exit codes besides 0.
const (
	exitFailed = 1 // it did not work, or what was checked is wrong
	exitUsage  = 2 // flags or arguments
)

// exitError is an error with an exit code. Without err nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }
