// Package epoch decides what a lane does next: it is the brain of the exactly-once cycle.
//
// A lane owns some tasks, one group consumer and one transactional producer. An epoch is
// what the lane does between two commits, exactly one Kafka transaction. The machine is
// told facts (Step) and answers with orders (Ready); it has no clock, no goroutine and no
// I/O, so that every order of facts can be tried, written down as a script and replayed.
//
//	m := epoch.New()
//	for {
//		m.Step(nextFact())
//		for _, a := range m.Ready() {
//			carryOut(a) // reports its outcome as further facts
//		}
//	}
//
// The phases:
//
//	Idle ── Wanted ─► Beginning ── Began ─► Open ── Due ─► Flushing ─► Sending ─► Ending ─► Idle (committed)
//	                                         └──── failure, lease lost ─► Aborting ─► Idle (aborted, replay)
//	any answer that says neither yes nor no ─► Doubt: Reinit, ReadControl, FetchOffsets ─► Idle
//
// What it guarantees, whatever the order of facts:
//
//   - an effect is adopted (Settle committed) only after Kafka said so: EndTxn answered
//     after clean acknowledgements and accepted offsets, or the stable group offsets carry
//     the attempt's epoch id;
//   - tasks come and go only while no transaction of theirs is undecided, or their
//     undecided effects are dropped first;
//   - a task whose group offsets carry an epoch id that is neither the attempt's nor the
//     ledger's is closed and restored, never continued.
//
// testdata has a script per path. The exploration runs lanes over a model of Kafka and of
// the group, in random order, with crashes before and after every action:
//
//	go test -run TestScripts -rewrite .       # records what scripts give; read the diff
//	WEIR_SCHEDULES=100000 go test -v -run 'TestExploration$' .
//	WEIR_SEED=4711 go test -v -run 'TestExploration$' .   # repeats one and traces it
package epoch
