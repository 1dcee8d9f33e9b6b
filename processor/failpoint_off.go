//go:build !failpoints

package processor

import "github.com/twmb/franz-go/pkg/kgo"

// failpoint marks a step at which the kill tests end or stop the process. Without the
// build tag it is nothing.
func failpoint(string) {}

// planted marks a place where a test may have the engine make a mistake. Without the build
// tag it is false, and what depends on it is not compiled.
func planted(string) bool { return false }

// failpointOpts are for steps inside the client.
func failpointOpts() []kgo.Opt { return nil }
