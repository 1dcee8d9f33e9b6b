package epoch

import "github.com/weir-stream/weir/offsets"

// Verdict is what an answer of Kafka means for the epoch. processor.judge makes it.
type Verdict uint8

const (
	OK            Verdict = iota // done as asked
	Refused                      // definitely not done: abort and replay
	Unknown                      // no answer, or one that does not say: ask Kafka
	Lost                         // membership or lease changed: abort, then compare offsets
	Fenced                       // producer fenced: drop what is undecided, start the lane afresh
	FencedForEver                // instance id fenced: another process has this identity, exit
)

// Event is a fact.
type Event interface{ event() }

type (
	// Assigned: the group gave these whole tasks to the lane. They get restored, also in
	// Doubt: a restore waits for the stable positions, so for whatever is undecided.
	Assigned struct{ Tasks []offsets.Task }
	// Revoked: the group takes these tasks away. Comes between epochs, or in Doubt after
	// a Release; an epoch that it meets nevertheless is aborted, unless its commit is out.
	Revoked struct{ Tasks []offsets.Task }
	// MembershipLost: the group dropped the lane; all its tasks are gone. In any phase.
	MembershipLost struct{}
	// Restored: the task is at its committed state; Epoch is the id found in its offsets.
	// A Close or another Restore of the task cancels the restore under way: the driver
	// never reports one that was cancelled.
	Restored struct {
		Task  offsets.Task
		Epoch offsets.EpochID
	}
	// RestoreFailed: the task cannot run now; the driver sends Retry after its back-off.
	RestoreFailed struct{ Task offsets.Task }
	// Retry: the back-off of a closed but still assigned task is over.
	Retry struct{ Task offsets.Task }
	// Wanted: there is something to process.
	Wanted struct{}
	// Began: a transaction is open under this producer id and epoch.
	Began struct {
		ProducerID    int64
		ProducerEpoch int16
	}
	// BeginFailed: no transaction could be opened.
	BeginFailed struct{ Verdict Verdict }
	// Touched: the task is about to have its first effect or processed record in the open
	// epoch.
	Touched struct{ Task offsets.Task }
	// Failed: user code, a codec or the store failed at a record of the task. The driver
	// remembers before which record it stops the task in the replay.
	Failed struct{ Task offsets.Task }
	// Reached: the replay of a failed task has come to the failed record: all before it is
	// in the open epoch or committed.
	Reached struct{ Task offsets.Task }
	// LeaseLost: the member or generation under which records were read is no longer
	// valid. Every ledger, and every restore under way, may be behind Kafka. The driver
	// tells it at once in Open, and (again) with the first assignment under a new member
	// id, before Assigned. Between the two nothing may begin or commit: the client shows
	// the new id before the group's word on who has the tasks, and Kafka would take a
	// commit under it for tasks that are somebody else's.
	LeaseLost struct{}
	// Due: the epoch is to end (interval, bytes, rebalance wanted).
	Due struct{}
	// Flushed: the changelog is produced and the producer flushed. OK means acked == sent
	// >= 1 and every acknowledgement carried the producer id and epoch of Began.
	Flushed struct{ Verdict Verdict }
	// Sent: the answer to TxnOffsetCommit.
	Sent struct{ Verdict Verdict }
	// Ended: the answer to EndTxn(commit).
	Ended struct{ Verdict Verdict }
	// Aborted: the answer to EndTxn(abort).
	Aborted struct{ Verdict Verdict }
	// ProducerReady: a new producer is initialised; whatever was open is decided now.
	ProducerReady struct{}
	// ControlRead: the control topic was read to its end; Stop says that a newer timeline
	// is intended or active.
	ControlRead struct{ Stop bool }
	// Fetched: the stable epoch ids beside the group offsets. A task that is missing, or
	// whose inputs disagree, is absent from the map.
	Fetched struct {
		Epochs map[offsets.Task]offsets.EpochID
	}
	// Stalled: resolving the doubt took longer than the rebalance budget.
	Stalled struct{}
	// Stop: end the open epoch, then exit. In Doubt the answer is waited for first.
	Stop struct{}
)

// Action is an order. The driver carries them out one after the other.
type Action interface{ action() }

// Attempt is the epoch id that a task gets if the open epoch commits.
type Attempt struct {
	Task  offsets.Task
	Epoch offsets.EpochID // of the attempt
	Prev  offsets.EpochID // of the ledger
}

// Outcome of an epoch for a task.
type Outcome uint8

const (
	Committed  Outcome = iota // adopt the overlay, release the records
	RolledBack                // drop the overlay, replay the records from memory
	Dropped                   // drop overlay and records: the task closes
)

// Reason for closing a task.
type Reason uint8

const (
	ReasonRevoked  Reason = iota // the group moved it
	ReasonLost                   // the membership is gone
	ReasonFailed                 // user code, codec or store: OperatorError; Retry follows
	ReasonDiverged               // group offsets carry, or may carry, a foreign epoch id: Restore follows
	ReasonFenced                 // the producer was fenced: Restore follows
	ReasonStopped                // clean stop or exit
)

type (
	// Begin: take the producer id, begin a transaction. -> Began | BeginFailed
	Begin struct{}
	// Flush: operators flush, changelog is produced, witness if nothing was sent,
	// producer flushed. -> Flushed | Failed
	Flush struct{ Tasks []offsets.Task }
	// SendOffsets: TxnOffsetCommit of every input partition of these tasks. -> Sent
	SendOffsets struct{ Attempts []Attempt }
	// EndCommit: EndTxn(commit). -> Ended
	EndCommit struct{}
	// EndAbort: drop buffered records, EndTxn(abort). -> Aborted
	EndAbort struct{}
	// Reinit: close the producer, make a new one, initialise it until success. -> ProducerReady
	Reinit struct{}
	// ReadControl: read the control topic to its end. -> ControlRead
	ReadControl struct{}
	// FetchOffsets: stable offsets of these tasks. -> Fetched
	FetchOffsets struct{ Tasks []offsets.Task }
	// Settle: the epoch's fate for one task.
	Settle struct {
		Outcome Outcome
		Attempt Attempt
	}
	// Restore: bring the task to its committed state, outside the lane's goroutine.
	// -> Restored | RestoreFailed
	Restore struct{ Task offsets.Task }
	// Close: the task no longer runs here. Its undecided effects were settled before.
	Close struct {
		Task   offsets.Task
		Reason Reason
	}
	// Release: let the group rebalance (AllowRebalance).
	Release struct{}
	// Exit: the lane ends. Clean: nothing is open or undecided.
	Exit struct{ Clean bool }
)

func (Assigned) event()       {}
func (Revoked) event()        {}
func (MembershipLost) event() {}
func (Restored) event()       {}
func (RestoreFailed) event()  {}
func (Retry) event()          {}
func (Wanted) event()         {}
func (Began) event()          {}
func (BeginFailed) event()    {}
func (Touched) event()        {}
func (Failed) event()         {}
func (Reached) event()        {}
func (LeaseLost) event()      {}
func (Due) event()            {}
func (Flushed) event()        {}
func (Sent) event()           {}
func (Ended) event()          {}
func (Aborted) event()        {}
func (ProducerReady) event()  {}
func (ControlRead) event()    {}
func (Fetched) event()        {}
func (Stalled) event()        {}
func (Stop) event()           {}

func (Begin) action()        {}
func (Flush) action()        {}
func (SendOffsets) action()  {}
func (EndCommit) action()    {}
func (EndAbort) action()     {}
func (Reinit) action()       {}
func (ReadControl) action()  {}
func (FetchOffsets) action() {}
func (Settle) action()       {}
func (Restore) action()      {}
func (Close) action()        {}
func (Release) action()      {}
func (Exit) action()         {}
