package checkpoint

import "github.com/weir-stream/weir/offsets"

// Kind of a cut.
type Kind uint8

const (
	Checkpoint Kind = iota // taken by the system, kept by count
	Savepoint              // asked for and owned by the user
)

// Cut is what gets an id.
type Cut struct {
	ID      uint64
	Kind    Kind
	Full    bool   // its objects stand alone, nothing of earlier cuts is shared
	Request string // the request that it answers; "" if the interval asked for it
}

// Reason for declining a cut.
type Reason uint8

const (
	TimedOut           Reason = iota // not complete in time
	UploadFailed                     // a task could not write its state
	ManifestFailed                   // the manifest could not be written
	AckedTwice                       // two acknowledgements of one task: somebody else writes to the log
	TaskFailed                       // a task failed before it had done its part
	CoordinatorChanged               // whoever triggered it is gone
	Stopping                         // the coordinator stops
)

// Counts says whether a reason counts as a failure of checkpoints. The others have a cause of their own,
// with a strategy of its own, or nobody's fault.
func (r Reason) Counts() bool { return r <= AckedTwice }

// Record is one of the control log.
type Record interface{ record() }

type (
	// Requested: somebody asks for a cut. The id is his: the same id again is the same request. With Drain it is
	// the cut behind the end of time: it is triggered once Drained is told.
	Requested struct {
		Request string
		Kind    Kind
		Full    bool
		Drain   bool
	}
	// Triggered: the tasks are to take the cut.
	Triggered struct {
		Cut
		Wall int64 // ms since 1970, by the clock of whoever wrote it
	}
	// Declined: the cut will never be complete.
	Declined struct {
		Cut
		Reason Reason
		Why    string // for people
		Began  int64  // of its trigger, whose record this one replaces
		Wall   int64
	}
	// Completed: the manifest lies there, the cut may be restored.
	Completed struct {
		Cut
		Began int64
		Wall  int64
	}
	// Dropped: the cut is not restored any more. Its objects are deleted after this.
	Dropped struct {
		Cut
		Began int64
		Wall  int64 // of its completion, whose record this one replaces
	}
	// Forgotten: nothing is left of the cut, neither objects nor anybody who could ask what
	// became of it. Its records are not kept.
	Forgotten struct{ ID uint64 }
	// Activated: a timeline counts; ids up to this one were used before it.
	Activated struct{ ID uint64 }
)

func (Requested) record() {}
func (Triggered) record() {}
func (Declined) record()  {}
func (Completed) record() {}
func (Dropped) record()   {}
func (Forgotten) record() {}
func (Activated) record() {}

// Event is a fact.
type Event interface{ event() }

type (
	// Logged: the next record of the control log, read committed. For both machines.
	Logged struct{ Record Record }

	// CaughtUp: the coordinator has seen the control log up to the end that was measured
	// after its task's stable offsets were fetched (see the package comment).
	CaughtUp struct{}
	// Tick: the clock, in ms since 1970. Facts are of the time of the tick before them. The
	// driver's clock never goes back; one that does stands still here.
	Tick struct{ Now int64 }
	// Acked: a task's acknowledgement was read, committed. The driver keeps what else it
	// says, by cut and task, until the cut is decided.
	Acked struct {
		Task  offsets.Task
		ID    uint64
		Epoch offsets.EpochID // the epoch that took the cut
	}
	// Uploaded: a task's state as of that epoch lies in the object.
	Uploaded struct {
		Task   offsets.Task
		ID     uint64
		Epoch  offsets.EpochID
		Object string
	}
	// UploadLost: it could not be written.
	UploadLost struct {
		Task  offsets.Task
		ID    uint64
		Epoch offsets.EpochID
		Why   string
	}
	// Drained: every task of the plan has committed that its time has ended, after somebody asked for that. So
	// nothing is on its way any more, and nothing will be: it stays true.
	Drained struct{}
	// TaskDown: a task has failed. What restarts it is not decided here.
	TaskDown struct{ Task offsets.Task }
	// ManifestWritten, or not: the answer to WriteManifest.
	ManifestWritten struct{ ID uint64 }
	ManifestLost    struct {
		ID  uint64
		Why string
	}
	// WriteLost: the epoch that carried what Write ordered is aborted for certain; the
	// record is not in the log and never will be.
	WriteLost struct{}
	// Deleted: the answer to Delete.
	Deleted struct{ ID uint64 }
	// Stop: nothing new begins. What all tasks have done their part for is completed first,
	// other cuts are declined. With Discard no checkpoint outlives it: all are dropped, and their
	// objects deleted, before -> Stopped
	Stop struct{ Discard bool }

	// Came: a task of the lane runs; Cut is the highest that its offset metadata names.
	Came struct {
		Task offsets.Task
		Cut  uint64
	}
	// Went: the task no longer runs here. What is undecided of it counts as dropped.
	Went struct{ Task offsets.Task }
	// Met: the next record of the task carries a stamp that its Member does not pass.
	Met struct {
		Task  offsets.Task
		Stamp uint64
	}
	// Closing: the lane ends an epoch in which these tasks had a part. Come after the last
	// record and before the offsets are sent. -> Take for each task that takes a cut with it
	Closing struct{ Tasks []offsets.Task }
	// Committed, Aborted: the fate of the epoch for a task of it.
	Committed struct{ Task offsets.Task }
	Aborted   struct{ Task offsets.Task }
)

// Action is an order. The driver carries them out one after the other.
type Action interface{ action() }

// Part is what one task gave to a cut.
type Part struct {
	Task   offsets.Task
	Epoch  offsets.EpochID
	Object string
}

type (
	// Write: put the record into the control log, within an epoch of the coordinator's
	// lane and under its lease. -> Logged | WriteLost
	Write struct{ Record Record }
	// WriteManifest: measure the ends of the repartition topics, read uncommitted; of a
	// savepoint copy what is in flight; write the manifest. -> ManifestWritten | ManifestLost
	WriteManifest struct {
		Cut   Cut
		Parts []Part // of every task of the plan, in order
	}
	// Delete: remove the manifest, and of the cut's objects those that no other manifest
	// names, be it of a cut that counts or of one that is deleted later (Condemned). The log
	// says that the cut does not count. Safe to repeat; tried until it succeeds. -> Deleted
	Delete struct{ ID uint64 }
	// Answer: this cut is the one that the request gets.
	Answer struct {
		Request string
		ID      uint64
	}
	// Fail: more checkpoints in a row have failed than is tolerable: the application is to
	// be restarted by its strategy. ID is the last of them.
	Fail struct {
		ID       uint64
		Failures int
		Reason   Reason
		Why      string
	}
	// Stopped: nothing of the coordinator's is undecided or under way.
	Stopped struct{}

	// EndEpoch: end what is open. With Empty there is a cut to take, so begin an epoch if
	// none is open; the order stands until Closing is told, whatever becomes of an epoch that
	// is ending already (Participant.CutWanted).
	EndEpoch struct{ Empty bool }
	// Take: the closing epoch sets the task's cut in its offset metadata, of touched and
	// untouched tasks alike, and with Ack writes the acknowledgement. Its records keep the
	// stamp they have.
	Take struct {
		Task offsets.Task
		ID   uint64
		Ack  bool
	}
	// Hold: do not process records of the task until Resume; it waits for a cut at or
	// above the stamp. Its sender has read the trigger, so a control log that does not show
	// it, read to a high watermark measured after this, has lost it.
	Hold struct {
		Task  offsets.Task
		Stamp uint64
	}
	// Resume: the record that the task was held for may be processed.
	Resume struct{ Task offsets.Task }
	// Upload: the task's state as of the epoch that took the cut is to be uploaded.
	Upload struct {
		Task offsets.Task
		ID   uint64
	}
	// Abandon: uploads of the cut are of no use any more.
	Abandon struct{ ID uint64 }
)

func (Logged) event()          {}
func (CaughtUp) event()        {}
func (Drained) event()         {}
func (Tick) event()            {}
func (Acked) event()           {}
func (Uploaded) event()        {}
func (UploadLost) event()      {}
func (TaskDown) event()        {}
func (ManifestWritten) event() {}
func (ManifestLost) event()    {}
func (WriteLost) event()       {}
func (Deleted) event()         {}
func (Stop) event()            {}
func (Came) event()            {}
func (Went) event()            {}
func (Met) event()             {}
func (Closing) event()         {}
func (Committed) event()       {}
func (Aborted) event()         {}

func (Write) action()         {}
func (WriteManifest) action() {}
func (Delete) action()        {}
func (Answer) action()        {}
func (Fail) action()          {}
func (Stopped) action()       {}
func (EndEpoch) action()      {}
func (Take) action()          {}
func (Hold) action()          {}
func (Resume) action()        {}
func (Upload) action()        {}
func (Abandon) action()       {}
