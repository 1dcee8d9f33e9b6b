// Package state reads the state that lies in savepoints and checkpoints, without Kafka and without the program that wrote it:
// all rows, those of one key, or what differs between two of them.
//
//	s, err := state.Open(ctx, "/backups/before-upgrade")
//	...
//	defer s.Close()
//	err = s.Rows(ctx, state.Selection{Store: "counts"}, func(r state.Row) error { ... })
//
// Keys and values are given as JSON, by the codec that the savepoint names: numbers for int64 and float64, strings for string,
// time and uuid, JSON for json and avro. What no codec of weir's has written, or what its codec cannot read, is {"hex": "..."}.
//
// Rows come in the order of their tasks and of their keys, one at a time: state may be larger than memory. What a call holds
// is an object of each layer, 16 MiB at most as weir writes them. Only rows of users' keys are shown: the watermarks that a
// task keeps in its first store are none.
package state
