// Package changelog keeps the state of tasks: byte stores in memory, on disk in Badger,
// and, as the one truth, in changelog topics of Kafka.
//
// A worker opens one DB on its state directory and a Store per task and store of the
// plan. A task reads and writes its stores inside an epoch (one Kafka transaction);
// when the epoch is committed in Kafka, and not before, its changes join the committed
// rows:
//
//	put, put, put          the open epoch, seen by Get and Range
//	Changes                last value per key, to be produced to the changelog topic
//	Commit | Rollback      after Kafka's answer
//	Apply                  some of what is committed goes to the background applier
//
// # Words
//
// open epoch: what Commit or Rollback will decide about. Committed rows: the fold of
// the changelog below the committed end. Unapplied: committed (or open) and not yet
// handed to the applier. Wave: one pass of the applier over what is unapplied. Marker: a
// row on disk that says which epoch the rows on disk have in full. Base: rows and marker
// found on disk. Incarnation: one life of a store's rows on disk; to wipe a store is to
// give it the next one. Complete: memory holds every row, so that an unknown key is
// absent without asking Badger. Cut: the committed rows at one moment, to be read later.
//
// # Why rows may be newer than their marker
//
// Writing every epoch to disk as it was committed would cost more than everything else
// together: at ten epochs a second hardly a key is repeated within one, and a row in
// Badger costs 2 to 3 us. So a wave takes rows as they are when it comes to them, and
// some of them are newer than the epoch that its marker will name. That is sound:
//
// Let D be the rows on disk, m the marker (end E), C the committed end to restore to, and
// fold(n) the state after all changelog records below offset n. The applier keeps two
// invariants:
//
//	(1) every row of D is the value (or absence) that its key had in fold(n) for some n <= C
//	(2) a key whose last change below E is at offset o has in D a value of some n > o
//
// (1) holds because rows are handed over between epochs only, when memory is fold(n) of
// the last committed end. C is at least that end, because Kafka committed it. (2) holds
// because the marker is written when every row that was unapplied at the wave's start has
// been flushed, the wave started at end E, and rows that were not unapplied then had been
// flushed by an earlier wave.
//
// Claim: D overwritten with the records E <= offset < C of the compacted changelog is
// fold(C). Take any key k. If k has a change in [E, C), compaction keeps the last one
// below C (the log may have a later one only above C, and then the one below C may be
// gone; but nobody restores to C when a later commit exists), it is absolute, and the
// replay puts it in place. If k has none, its last change is at some o < E, by (2) D has
// its value as of n > o, by (1) n <= C, and k does not change in (o, C): so it is the
// value of fold(C). Tombstones are records like any other as long as the base is younger
// than the topic's delete.retention.ms; the caller checks Marker.Wall.
//
// # Why a restore may be continued
//
// A restore to C that has applied the records below next writes what it has, and behind
// it a marker with End = next < C that says Restoring. (1) holds: a row is a value read
// below C, or one of the base. (2) may not: the restore reads a compacted log, and the
// last change of a key below next may be gone because a later one, at o2, had superseded
// it. The cleaner goes by committed records only, and when a restore runs none is at C or
// above; so next <= o2 < C. A later restore goes to some C' >= C (the reach beside the
// marker is C, not next), and thus replays o2 or what superseded that. For all other keys
// the claim stands as above. Tombstones: a row may wait for one since the base was
// written, or since the restore began if it began empty, so that is the Wall of the
// marker, however often a restore is continued. Such a marker is never at the end that a
// restore goes to; it cannot be taken for state.
//
// # When Kafka goes back
//
// (1) breaks if Kafka goes back behind what this process saw committed (it lost data). So
// each batch of rows begins with the reach, the committed end at its hand-over, and a
// base with Reach > C must not be used.
//
// Nothing uncommitted reaches the disk. A batch that Badger has in part is harmless by the
// same argument; its marker is not there.
//
// A store opened by OpenInMemory has no D at all: every restore is a replay from the log's
// start. Its rows stay unapplied, and complete is always true.
//
// # Cuts
//
// A snapshot has to be one committed epoch, and because rows are newer than their marker no
// timestamp in Badger is one. A cut makes one. It begins, at the committed end E, a wave of
// its own, which takes the place of one under way. Let U be the rows that are unapplied then.
// This wave writes every row of U once, with its value in fold(E), and no other row: when a
// row of U changes before the wave has come to it, its old value is saved first and goes into
// the next batch. The row itself stays unapplied and waits for the next wave, like all that
// change after the cut; those are known by the number of the epoch that touched them last, and
// a Rollback leaves that as it is. T is the timestamp of the last batch.
//
// Claim: Badger read at T is fold(E). A row in memory that is not unapplied has been handed
// over as it is, or was read from Badger; of a key that is not in memory Badger has the last
// word. So what was handed over before the cut, overwritten with U, is fold(E). Batches are
// written in the order of hand-over with growing timestamps, the next wave begins behind the
// last batch of this one, and if one fails the cut does: at T Badger has just that.
//
// (1) holds, because fold(E) is one of those it allows. So does (2) for the marker of this
// wave: U is on disk. The wave whose place it took has no marker; what that one had not
// written is in U. A row that is put and deleted without Badger hearing of it is fresh and needs
// no delete; once a value of it is saved for a cut it is fresh no more.
//
// When Badger compacts it keeps of each key the newest version at or below the discard
// timestamp, and all versions above it, deletes too. That timestamp is never above the T of a cut
// that is not released. So T can be read at any time, also when the store has been closed, or
// reset and wiped, since; and of two such cuts, T1 < T2, every key that was written in between
// has its newest version at or below T2 still there: those are the increment. It has
// a delete of a key that T1 had no row of if that was put and deleted in between, which does no
// harm. Many stores share one Badger, and a cut that is kept makes it keep versions of all of
// them: at worst a copy of every row for each time that it was written.
//
// Timestamps mean nothing to the next process, which has forgotten what it had pinned: a cut can be
// read since another one of the same Store only.
//
// A cut of a store in memory copies its rows into memory, in the same slices, with the same saving
// of old values: as many bytes as the rows have, until it is released. It is always read whole. An
// increment would need a copy that stays.
//
// # Crashes
//
// Writes are not synced. After the death of the process alone the kernel has all of
// them. After a crash of the machine the directory is not trusted: STATE.json has the
// boot id, and a flag for a clean end, before which all files are synced. A full disk
// would kill the process inside a mapped file, so free space is looked at before writing.
//
// # Goroutines
//
// A Store belongs to one goroutine at a time; DB and Cut may be used by any. One goroutine per DB
// writes to Badger, with growing timestamps. The lease makes OpenStore wait until the
// former holder of the same store is closed and its writes have ended.
package changelog
