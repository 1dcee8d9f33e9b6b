// Package task executes a plan: it is the half of package topology that runs.
//
// A [Graph] is the untyped skeleton of a plan. [Graph.Start] makes a [Task], one
// sub-topology for one partition number, by asking each source of the sub-topology for
// its typed chain of functions; from then on a record is a chain of direct calls, and the
// only place where types are forgotten is the source, where they are bytes.
//
// The caller (package processor, or topologytest) owns everything outside of that: it
// implements [Env], brings records to [Task.Process], stamps to [Task.Stamped] and
// processing time to [Task.Tick], ends epochs with [Task.Flush], and says with
// [Task.Committed] or [Task.Rollback] what became of them. A task belongs to one
// goroutine at a time; tasks of one graph may run at once.
//
// # Time
//
// Event time is a [Clock] per task: a channel per source partition (highest record time
// minus the allowed disorder) and one per task that writes a repartition topic (what it
// stamped). The watermark is the minimum over the channels that are not idle, the highest
// channel if all are, and never goes back. A record is processed first and moves time afterwards, so it is never late
// by its own doing. A loop has no channel: what comes through it is as old as it is, and
// nobody waits for it, but with the end of time ([Task.EndInput]).
//
// A window closes when the watermark reaches its end plus grace. Windows close in order,
// one after the other, also when time jumps over many, and the watermark that the task
// shows to others ([Task.Watermark]) follows them: a result of a window is never late at
// the next one because of the grace that it waited for (see [Sub].Hold).
//
// # Errors
//
// What a user function or codec returns, or panics with, comes back as *[OperatorError]
// with the operator and its line. What the Env returns comes back as *[EnvError]. After
// either, the task may only be rolled back. A task keeps no journal of a record: the
// caller aborts the epoch and runs it again up to the record that failed.
package task
