// Package embedded runs a Kafka broker inside the process, for trying out and for tests: a
// program with state and exactly-once results needs nothing but Go.
//
//	func main() { cli.Main(WordCount, embedded.Broker("broker-data", "lines:4", "word-counts:4")) }
//
// It is NOT FOR PRODUCTION. There is one node and no replica; it listens on this machine
// only; requests are carried out one after the other; records are not synced to disk. A
// broker that is closed keeps everything, open transactions included. One that is killed
// keeps what the operating system has: transactions that were open are aborted, one whose
// end was in progress may be half done, which no real Kafka would do.
//
// The broker is kfake of the franz-go family, a package of its own so that no production
// binary links it.
package embedded
