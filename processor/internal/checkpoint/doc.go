// Package checkpoint decides about consistent cuts over all tasks: when one is taken, by which task in which
// epoch, and when it counts.
//
// A cut is a Chandy-Lamport snapshot whose channels are topics. What is in flight is in the log already, so
// nothing is aligned and nothing copied; what has to be known is, for each record between two tasks, on which
// side of its sender's cut it was sent. Therefore every such record is stamped with the highest cut that its
// sender has taken and committed, and the Lai-Yang rule holds: a task that meets a stamp above its own cut
// takes that cut first. At cut n of task t, in flight are the records at or behind t's position whose stamp
// is below n.
//
// Two machines without clock, goroutine and I/O are told facts (Step) and answer with orders (Ready), so that
// every order of facts can be tried, written down as a script and replayed. Both read the control log:
//
//	control log:  triggered n ──────────────► completed n   (dropped n, forgotten n, later)
//	                  │        └────────────► declined n
//	 Participant      ▼
//	 of each lane:  EndEpoch ─► Take n (ack and metadata in the transaction) ─► committed ─► Upload ─┐
//	                                                                                                 │ acks log
//	 Coordinator:   Write triggered n ─► acknowledged and uploaded by every task ◄───────────────────┘
//	                                      └─► WriteManifest ─► Write completed n ─► Write dropped m ─► Delete m
//
// The Coordinator belongs to the owner of the control task. A new one is fed the log from its start, declines
// what its predecessor left undecided and goes on from the last id; ids are never used twice, also not by
// later timelines. The Participant belongs to a lane. The question that each record asks is one comparison,
// Member.Passes; everything else happens at most once per epoch.
//
// What they guarantee, whatever the order of facts:
//
//   - a cut that the log calls complete is consistent: no task's state holds the effect of a record that its
//     sender sent after its own cut (an orphan), and states and records in flight together hold the effect of
//     everything that was read from the sources up to the cut's positions;
//   - at most one cut is undecided; one that was declined never counts, and its id never comes back;
//   - a cut that nothing disturbs completes, however idle its tasks are and however far they lag behind.
//
// What they need from the driver:
//
//   - Control records are written in an epoch of the coordinator's lane, under its lease, with the positions
//     of the control task. So at most one coordinator writes.
//   - All readers of the control log read committed records only, in order, and ask a Log of their own first
//     whether a record can be there.
//   - CaughtUp is told when the log was read to its high watermark, as it was after the stable positions of
//     the control task were fetched. The last stable offset will not do: the predecessor's last transaction
//     may have its marker beside the positions, and none yet in the control log. Its trigger would be
//     overlooked, and its id used again.
//   - The acks log is read from where it ended at that moment, or before.
//   - Closing is told behind the last record of an epoch, Take carried out before its positions are sent. A
//     task that takes a cut has a part in the epoch, with the positions that it has.
//   - Records are stamped with Member.Cut, also in the epoch that takes the next one. Every stamp is looked at
//     before its record, a heartbeat's too: time is state.
//   - CutWanted is asked before an epoch begins and between its records.
//   - An upload shows the state as of exactly the epoch that took the cut, begins after its commit, and is
//     reported with its epoch id.
//   - What an upload shares with an earlier cut it shares with the newest checkpoint that is complete before its
//     trigger in the log: that one is kept at least until its own cut is decided. It shares nothing with a
//     declined one, whose objects are being deleted; and Delete removes what its cut has, not what a listing
//     shows and no manifest names, because the parts of a cut at work are named by none yet.
//   - WriteManifest measures the ends of what is in flight by high watermarks, at the earliest when it is
//     ordered: then the last acknowledgement is committed, so whatever was sent before a cut lies below them.
//     It is read until these ends; whatever is still open there is waited for.
//   - Input is trimmed only where MayTrim allows it, and never above the positions of a completed checkpoint of
//     this timeline (Log.Before).
//   - The log is compacted by cut and by request: the last record of each is there, whichever of those before
//     it are missing. A cut of which nothing is left but its id is forgotten: its records are deleted.
//
// testdata has a script per path. The exploration runs lanes over a model of Kafka, in random order, with
// crashes before and after every order, and takes rules out to see that it notices:
//
//	go test -run TestScripts -rewrite .       # records what scripts give; read the diff
//	WEIR_SCHEDULES=100000 go test -v -run 'TestExploration$' .
//	WEIR_SEED=4711 go test -v -run 'TestExploration$' .   # repeats one and prints its scripts
package checkpoint
