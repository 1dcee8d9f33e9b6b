// Package processor runs a plan as one worker of a consumer group, with exactly-once
// results.
//
//	plan, err := b.Build()
//	...
//	err = processor.Run(ctx, plan,
//		processor.Brokers("localhost:9092"),
//		processor.StateDir("/var/lib/revenue"),
//		processor.InstanceID(os.Getenv("POD_NAME")))
//
// Start the same program on as many machines as wanted: every process joins the group
// <application>.<timeline>, and the group shares the plan's tasks among them. Run returns
// nil after a clean stop (end its context), or an error that needs a person.
//
// What it asks of its surroundings: Kafka 4.0 or later with transaction.version 2; the
// source and sink topics, which it never creates; the right to create topics whose names
// begin with the application's; a directory of its own for state.
//
// What it asks of user functions: they may run again for the same record, so they must not
// act on the outside world; they are called by one goroutine at a time per task, but by
// several for different tasks. An error or panic stops its task before the record, commits
// everything before it, and is tried again as RestartStrategy says, by default with growing
// pauses; other tasks go on.
//
// Inside, each lane is one goroutine that owns a group consumer, a transactional producer
// and some tasks. The pure machine in internal/epoch decides what a lane does next;
// lane.go gathers the facts and actions.go carries the orders out. See DESIGN.md.
package processor
