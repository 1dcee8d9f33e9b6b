// Package topologytest runs a plan in memory: no broker, no goroutine, no waiting. Sent
// records are processed before Send returns; time moves when the test moves it.
//
//	func TestWordCount(t *testing.T) {
//		d := topologytest.New(t, WordCount)
//		topologytest.Input(d, Lines).Send(nil, "to be or not to be")
//		topologytest.Output(d, Counts).WantLast(
//			topologytest.KV("be", int64(2)), topologytest.KV("not", int64(1)),
//			topologytest.KV("or", int64(1)), topologytest.KV("to", int64(2)))
//	}
//
// What comes back through a loop (topology.NewLoop) is processed before Send returns, too: a
// loop that has no end is an error, see LoopLimit.
//
// It runs the same interpreter as the engine (topology/task): partitions, repartition
// topics with the stamps that carry time, and restarts behave as they do there. What it
// does not have are commits of many records: each record is an epoch of its own, so an
// emission on commit comes after each record.
package topologytest
