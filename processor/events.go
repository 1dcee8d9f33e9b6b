package processor

import (
	"fmt"
	"time"

	"github.com/weir-stream/weir/offsets"
)

// Listener has a field per event; nil fields are skipped. The functions are called by the
// goroutine that the event happens in, mostly a lane's: what they do, the lane waits for.
type Listener struct {
	WorkerStarted    func(WorkerInfo)
	TasksAssigned    func(AssignedInfo)
	TaskRestoring    func(RestoringInfo) // by a goroutine of the restore
	TaskRestored     func(RestoredInfo)
	TaskClosed       func(ClosedInfo)
	StandbyReady     func(StandbyInfo) // by a goroutine of the standby
	TaskFailed       func(FailedInfo)
	TaskGaveUp       func(GaveUpInfo)
	EpochCommitted   func(CommittedInfo)
	EpochAborted     func(AbortedInfo)
	EpochInDoubt     func(DoubtInfo)
	TransactionEnded func(FencedInfo)
	CheckpointsFail  func(CheckpointsFailInfo)
	WorkerStopping   func(StoppingInfo)
	Rewound          func(RewindReport) // before the worker starts, or by Rewind
	Warning          func(WarningInfo)
}

// WorkerInfo: a worker has passed all checks and joins its group.
type WorkerInfo struct {
	Application, Instance string
	Lanes                 int
}

// AssignedInfo: the group gave partitions to a lane (or none: a rebalance passed by).
type AssignedInfo struct {
	Lane       int
	Generation int32
	Partitions map[string][]int32
}

// RestoringInfo: a task's state is being read from its changelogs. Told when that begins
// and about once a second while it lasts; not told of a task that has nothing to read.
// Stores are restored one after the other.
type RestoringInfo struct {
	Task            offsets.Task
	Store           string // uid of the store that is being read
	Base            string // as in RestoredInfo
	From, Next, End int64  // offsets of the store's changelog: where reading began, is, and ends
	Done, Total     int64  // offsets of all the task's stores
	Records         int64  // changelog records applied, of all stores
	Elapsed         time.Duration
}

// RestoredInfo: a task is at its committed state and starts to process.
type RestoredInfo struct {
	Task      offsets.Task
	Base      string           // "local": trusted rows on disk; "standby": followed until now; "changelog": rebuilt; "empty": new; "none": no state
	Records   int64            // changelog records applied
	Took      time.Duration    // from assignment to ready
	Positions map[string]int64 // "topic/partition" to next offset
}

// StandbyInfo: a standby has come to the end of its task's changelogs, and follows them.
type StandbyInfo struct {
	Task    offsets.Task
	Records int64         // changelog records read
	Took    time.Duration // from assignment
}

// ClosedInfo: a task no longer runs in this lane.
type ClosedInfo struct {
	Task   offsets.Task
	Reason string // revoked, lost, failed, failover, diverged, fenced, stopped
}

// FailedInfo: a task cannot go on, or could not be restored. It is tried again after a
// pause; the others go on, unless Failover says something else.
type FailedInfo struct {
	Task     offsets.Task
	Err      error
	Attempt  int           // number of the failure, as the strategy counts
	Retry    time.Duration // the pause; a failure before its end is not counted
	Strategy string        // exponential-delay, fixed-delay, failure-rate
}

// GaveUpInfo: a task failed and is not tried again. The worker stops, and Run returns
// ErrGaveUp.
type GaveUpInfo struct {
	Task     offsets.Task
	Err      error
	Attempt  int    // number of the failure, as the strategy counts
	Strategy string // as in FailedInfo, or none
}

// CommittedInfo: an epoch of a lane is committed.
type CommittedInfo struct {
	Lane      int
	Records   int64 // of source topics, processed
	Internal  int64 // of repartition topics, processed; heartbeats and idle marks are no records
	Bytes     int64 // produced, changelog included
	Changelog int   // changelog records
	Took      time.Duration
	Ending    time.Duration // part of Took, behind the last record: the lane processes nothing
	Cuts      int           // tasks that took their part in a checkpoint or savepoint with it
	CutWork   time.Duration // of the lane's time, for that
}

// AbortedInfo: an epoch is rolled back and will be processed again.
type AbortedInfo struct {
	Lane     int
	Records  int64 // of source topics
	Internal int64 // of repartition topics
	Reason   string
}

// DoubtInfo: the end of an epoch was not confirmed; Kafka is asked.
type DoubtInfo struct {
	Lane   int
	Reason string
}

// FencedInfo: the open transaction of a member that is gone was ended.
type FencedInfo struct{ TransactionalID string }

// CheckpointsFailInfo: more checkpoints in a row have failed than are tolerable. Told by the
// worker that has the control task; records are processed as ever.
type CheckpointsFailInfo struct {
	Last     uint64 // cut id of the last one
	Failures int
	Reason   string
}

// StoppingInfo: the application was stopped from outside (weir stop), and this worker ends what
// is open and stops.
type StoppingInfo struct{ Why string }

// WarningInfo: something failed that is tried again or can be done without.
type WarningInfo struct {
	What string
	Err  error
}

func (i WorkerInfo) String() string {
	return fmt.Sprintf("worker %s of %s starts with %d lanes", i.Instance, i.Application, i.Lanes)
}

func (i AssignedInfo) String() string {
	return fmt.Sprintf("lane %d, generation %d: assigned %v", i.Lane, i.Generation, i.Partitions)
}

func (i RestoringInfo) String() string {
	return fmt.Sprintf("task %s restores for %s: store %s at %d in [%d, %d), base %s, %d changelog records, %d of %d offsets", i.Task, i.Elapsed.Round(time.Millisecond), i.Store, i.Next, i.From, i.End, i.Base, i.Records, i.Done, i.Total)
}

func (i StandbyInfo) String() string {
	return fmt.Sprintf("standby of task %s ready in %s: %d changelog records", i.Task, i.Took.Round(time.Millisecond), i.Records)
}

func (i RestoredInfo) String() string {
	return fmt.Sprintf("task %s restored in %s: base %s, %d changelog records, positions %v", i.Task, i.Took.Round(time.Millisecond), i.Base, i.Records, i.Positions)
}

func (i ClosedInfo) String() string { return fmt.Sprintf("task %s closed: %s", i.Task, i.Reason) }

func (i FailedInfo) String() string {
	return fmt.Sprintf("task %s failed (%d, %s), next try in %s: %v", i.Task, i.Attempt, i.Strategy, i.Retry, i.Err)
}

func (i GaveUpInfo) String() string {
	return fmt.Sprintf("task %s failed (%d, %s) and is given up: %v", i.Task, i.Attempt, i.Strategy, i.Err)
}

func (i CommittedInfo) String() string {
	return fmt.Sprintf("lane %d committed %d source and %d internal records, %d bytes, %d changelog records in %s", i.Lane, i.Records, i.Internal, i.Bytes, i.Changelog, i.Took.Round(time.Microsecond))
}

func (i AbortedInfo) String() string {
	return fmt.Sprintf("lane %d rolls %d source and %d internal records back: %s", i.Lane, i.Records, i.Internal, i.Reason)
}

func (i DoubtInfo) String() string {
	return fmt.Sprintf("lane %d asks Kafka about its last epoch: %s", i.Lane, i.Reason)
}

func (i FencedInfo) String() string { return "ended the transaction of " + i.TransactionalID }

func (i CheckpointsFailInfo) String() string {
	return fmt.Sprintf("%d checkpoints in a row have failed, the last is %d: %s", i.Failures, i.Last, i.Reason)
}

func (i StoppingInfo) String() string { return "stopping: " + i.Why }

func (i WarningInfo) String() string { return fmt.Sprintf("%s: %v", i.What, i.Err) }

// listener tees events to all listeners; the log is the first.
type listener struct{ all []*Listener }

func emit[I any](l listener, field func(*Listener) func(I), info I) {
	for _, one := range l.all {
		if f := field(one); f != nil {
			f(info)
		}
	}
}

func (l listener) started(application, instance string, lanes int) {
	emit(l, func(x *Listener) func(WorkerInfo) { return x.WorkerStarted }, WorkerInfo{application, instance, lanes})
}

func (l listener) assigned(lane int, generation int32, ps map[string][]int32) {
	emit(l, func(x *Listener) func(AssignedInfo) { return x.TasksAssigned }, AssignedInfo{lane, generation, ps})
}

func (l listener) restoring(i RestoringInfo) {
	emit(l, func(x *Listener) func(RestoringInfo) { return x.TaskRestoring }, i)
}

func (l listener) standby(i StandbyInfo) {
	emit(l, func(x *Listener) func(StandbyInfo) { return x.StandbyReady }, i)
}

func (l listener) restored(r taskRestored) {
	at := map[string]int64{}
	for tp, c := range r.positions {
		at[tp.String()] = c.offset
	}
	emit(l, func(x *Listener) func(RestoredInfo) { return x.TaskRestored }, RestoredInfo{r.task, r.base, r.records, r.took, at})
}

// reasons are the names of epoch.Reason.
var reasons = [...]string{"revoked", "lost", "failed", "diverged", "fenced", "stopped"}

func (l listener) closed(t offsets.Task, why string) {
	emit(l, func(x *Listener) func(ClosedInfo) { return x.TaskClosed }, ClosedInfo{t, why})
}

func (l listener) failed(i FailedInfo) {
	emit(l, func(x *Listener) func(FailedInfo) { return x.TaskFailed }, i)
}

func (l listener) gaveUp(i GaveUpInfo) {
	emit(l, func(x *Listener) func(GaveUpInfo) { return x.TaskGaveUp }, i)
}

func (l listener) committed(i CommittedInfo) {
	emit(l, func(x *Listener) func(CommittedInfo) { return x.EpochCommitted }, i)
}

func (l listener) aborted(lane int, n recordCount, reason string) {
	emit(l, func(x *Listener) func(AbortedInfo) { return x.EpochAborted }, AbortedInfo{lane, n.source, n.internal, reason})
}

func (l listener) inDoubt(lane int, reason string) {
	emit(l, func(x *Listener) func(DoubtInfo) { return x.EpochInDoubt }, DoubtInfo{lane, reason})
}

func (l listener) fenced(id string) {
	emit(l, func(x *Listener) func(FencedInfo) { return x.TransactionEnded }, FencedInfo{id})
}

func (l listener) checkpointsFail(last uint64, failures int, reason string) {
	emit(l, func(x *Listener) func(CheckpointsFailInfo) { return x.CheckpointsFail }, CheckpointsFailInfo{last, failures, reason})
}

func (l listener) stopping(why string) {
	emit(l, func(x *Listener) func(StoppingInfo) { return x.WorkerStopping }, StoppingInfo{why})
}

func (l listener) rewound(r RewindReport) {
	emit(l, func(x *Listener) func(RewindReport) { return x.Rewound }, r)
}

func (l listener) warn(what string, err error) {
	emit(l, func(x *Listener) func(WarningInfo) { return x.Warning }, WarningInfo{what, err})
}

func (tp TopicPartition) String() string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

type topicPartition = TopicPartition
