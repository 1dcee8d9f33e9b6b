//go:build !failpoints

package processor

// failpoint marks a step at which the kill tests end or stop the process. Without the
// build tag it is nothing.
func failpoint(string) {}
