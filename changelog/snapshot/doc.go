// Package snapshot holds the bytes of checkpoints and savepoints: where they lie, how they are written, read, verified
// and deleted. It knows nothing of plans and of Kafka; when a checkpoint is taken and whether it counts is decided by
// the engine, which notes the name of a manifest in the control topic.
//
// # What lies where
//
// A Bucket is a directory, or a prefix in an object store. The checkpoints of an application have one, each savepoint
// has one of its own:
//
//	<bucket>/
//	  manifests/<cut>-<sha256>.json     what a cut is: positions, epochs, and which objects hold the state
//	  objects/<cut>-<sha256>.weir       rows of one store of one task, or copied records; .jsonl.zst if portable
//
// A layer is all rows of a store at one epoch (full) or those that changed since the layer below (increment); a store is
// a full layer and increments on it. A layer is split into objects of Options.ObjectBytes, so that they move in parallel.
// The layouts are in FORMAT.md, byte by byte.
//
// Files are written once and never changed. The name of each ends in the SHA-256 of its bytes: what is in a file is
// right or not what the name says, a writer that comes twice writes the same, and the name of a manifest, which the
// engine commits with a Kafka transaction, vouches for everything below it. To know the hash before the first byte goes
// out, an object is built in memory, which bounds its size; the alternative, a temporary file, would need a disk
// with room and writes each byte twice.
//
// # Writing and deleting at the same time
//
// If names were hashes alone, two cuts with an equal object would share a file, and a checkpoint that is dropped could
// take away what another is just about to count on ("it is there already, no need to upload"). Here the name begins with
// the cut that wrote it, and ids of cuts are never used twice. So:
//
//   - An object that a cut writes is nobody else's. A zombie that uploads late leaves files of its own cut.
//   - Objects are shared in one way only: the manifest of a cut refers to layers of the newest cut that was completed
//     when it was triggered, which is named by the trigger. Hence an object to which the newest completed manifest does
//     not refer will never be referred to again, whoever takes the next cut.
//   - Drop and Sweep keep what any retained manifest refers to. The newest completed one is always retained, so nothing
//     that a cut under way may refer to is deleted. That holds for a coordinator which was replaced and goes on deleting,
//     too: what it holds for unreferenced is unreferenced for ever, as references only move from one manifest to the next.
//   - What nobody refers to is found by its cut: a cut that was declined is swept by listing the names that begin with
//     it. No journal of names has to be written before an upload, and no listing ever decides what is needed: one that
//     is late or incomplete leaves files for the next Sweep.
//
// In the place of a savepoint nothing is shared and nothing else is to lie there (Vacant). What a declined one has left
// is deleted by Discard, which minds that the place may be another savepoint's all the same.
//
// Drop deletes the manifest first and the objects after it, WriteManifest comes after all objects: a manifest that can be
// read has its objects, whatever was killed when.
//
// # What is verified when
//
// Load reads one manifest and asks for the size of each object. Restore verifies an object in whole before it gives
// away its first row, and is right about all only when it returns nil: after an error the caller throws away what it
// got. Damage, a missing or an exchanged file, one of another store, epoch or application are errors of their own kind;
// no input makes a reader panic, or take more memory than its Options say and the largest row.
//
// On a local disk a file is written under a temporary name, synced, renamed, and its directory synced.
//
// # Goroutines
//
// All methods may be called at the same time. Callbacks run in the goroutine of the call that they were given to. No
// goroutine outlives its call. Each request to a store ends after Options.Timeout; a driver may repeat it within that
// time, nothing is repeated here.
package snapshot
