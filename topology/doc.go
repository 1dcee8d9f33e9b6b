// Package topology describes a stateful streaming program on Kafka as a Go value.
//
//	var Lines, Counts = topology.NewTopic("lines", codec.Bytes, codec.String), topology.NewTopic("word-counts", codec.String, codec.Int64)
//
//	func WordCount() (*topology.Plan, error) {
//		b := topology.New("word-count")
//		words := topology.FlatMapValues(topology.From(b, Lines), func(_ []byte, line string) ([]string, error) {
//			return strings.Fields(strings.ToLower(line)), nil
//		})
//		byWord := topology.KeyBy(words, "by-word", codec.String, func(_ []byte, word string) (string, error) { return word, nil })
//		byWord.Count("counts").To(Counts)
//		return b.Build()
//	}
//
// Package topologytest runs a plan in memory, package processor on Kafka.
//
// # Five rules read every signature
//
//  1. An operator that introduces a new type is a function with the stream first; every
//     other operator is a method.
//  2. Arguments come in the order inputs, uid, codec or spec, function, options.
//  3. A uid is asked for where, and only where, there is state or an internal topic. A
//     source or sink is identified by its topic.
//  4. Functions get (key, value) and return an error last. They may run again after a
//     crash, so they must not act on the outside world. A function is called by several
//     tasks at once: what it captures must bear that.
//  5. A codec travels with a stream while the Go type stays the same. Where bytes are
//     needed and there is none, Build says which one to add and where.
//
// # Null
//
// A null of Kafka is a value only for a codec that has one ([codec.NullCodec]): Nullable
// (a nil pointer), None, and Bytes (a nil slice). For every other codec a null key or
// value in a source is a decode error of that record.
//
// An operator with a store or an internal topic (Count, Reduce, Aggregate, KeyBy,
// Repartition) cannot place a null key: it is an error, never dropped silently. Filter
// such records out before. A sink writes a null key as null.
//
// An Aggregate or Reduce that returns null deletes its row: Table.To writes a tombstone,
// Table.ToStream leaves it out. Deleting what is not there changes nothing.
//
// # Time and headers
//
// The time of a record is its timestamp or what Topic.EventTime takes from it; it goes
// along through operators, repartition topics and sinks, as the headers do. The result of
// a keyed aggregation has the time and headers of the record that caused it. The result of
// a window has the time end - 1 ms, no headers and no origin. MapRecord sets both.
//
// A window closes when the watermark reaches its end plus grace; a record that comes later
// is late: it goes to WindowedStream.Late, and is counted. Time seen behind a window is
// the watermark minus that window's grace, so that windows may follow each other.
//
// # Loops
//
// Records may come back to an operator that they have passed: NewLoop gives the stream of
// those that do, and ToLoop feeds it. Retries, searches in graphs and iterations are made of
// that. A loop is an internal topic like that of a Repartition, but time does not go through
// it. A topic of the user that an application both reads and writes is refused.
//
// # Errors
//
// What a function or codec returns, or panics with, stops the task before that record,
// with an [*OperatorError] that names the operator, its line in the program and the record.
package topology
