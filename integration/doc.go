// Package integration holds the tests that need more than one package, or more than this process: the rules of the
// house (import ladder, pinned versions, layout), and the engine against a real Kafka with real processes.
//
// A real Kafka comes from [github.com/weir-stream/weir/integration/kafkatest], which says in its doc what it looks for.
package integration
