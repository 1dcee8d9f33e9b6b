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
// absent without asking Badger.
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
// # Crashes
//
// Writes are not synced. After the death of the process alone the kernel has all of
// them. After a crash of the machine the directory is not trusted: STATE.json has the
// boot id, and a flag for a clean end, before which all files are synced. A full disk
// would kill the process inside a mapped file, so free space is looked at before writing.
//
// # Goroutines
//
// A Store belongs to one goroutine at a time; DB may be used by any. One goroutine per DB
// writes to Badger, with growing timestamps. The lease makes OpenStore wait until the
// former holder of the same store is closed and its writes have ended.
package changelog
