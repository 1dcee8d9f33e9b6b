// Package tally is a topology whose committed result is known in closed form, with the
// generator of its input and the checker of everything that it leaves behind: outputs,
// changelogs, positions, local state. The kill and chaos tests run it in real processes
// and do to them what they like.
//
// Input: record i of n has key i mod keys, value i/keys+1 (a sequence per key without
// gaps) and time base+i ms. From it the topology makes
//
//	seen     per key: how many records came, and the last value. Each update goes out, so
//	         the output of a key must be (1,1) (2,2) (3,3) ... in this order.
//	groups   through a repartition topic, per group of keys: number and sum. Each update
//	         goes out: numbers are 1, 2, 3 ..., and the last one is known.
//	windows  per group and second of event time: the number of records, once, when the
//	         window has closed.
//
// # Checking it
//
// Two functions of plain values say whether a run was right, with the numbers of the
// invariants in DESIGN.md. Check compares the committed outputs with the closed form (I1,
// I2, I3, I5, and I9: each window once). Audit judges the rest of what a stopped
// application has left behind (I4, I6, I7); Collect gathers it into Facts. FailedClosed
// judges a run over damaged state or topics (I12). Their tests plant mistakes against
// each of these.
//
//	facts.go    what is looked at       collect.go  where it comes from
//	fold.go     state from the inputs   audit.go    the judgement
package tally
