//go:build !failpoints

package changelog

// planted marks a place where a test may have the store make a mistake. Without the build
// tag it is false, and what depends on it is not compiled.
func planted(string) bool { return false }
