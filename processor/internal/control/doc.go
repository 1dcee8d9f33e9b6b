// Package control knows the records of an application's control topic and what they add up
// to: which timelines were named, which one counts, and whether a lane must stop.
//
// The topic outlives timelines. It is compacted: what is said of a cut replaces what was said of
// it before, and when nothing is left of a checkpoint its record is deleted, so that the topic
// does not grow with each of them. All else has a key of its own and stays. Whatever compaction
// has taken and left, the records add up to the same (State). A timeline is born with the
// record Born, written in the same transaction as the first
// positions of all its tasks. A rewind names the next timeline with Intent, makes it count
// with Active and gives birth to it; an abandoned one is taken back with Cancelled.
//
//	Born 1 ─► ... ─► Intent 2 ─► Active 2 ─► Born 2 ─► ...
//	                    └─► Cancelled 2 ─► Intent 3 ─► ...
//
// Reading the topic to its end after each initialisation of a producer is what stops the
// lanes of an old timeline: a lane is fenced, or it sees the intent (State.Check).
//
// The package is pure: bytes in, values out.
package control
