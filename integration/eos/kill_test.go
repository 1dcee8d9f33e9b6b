package eos

import (
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/integration/kafkatest"
)

const records = 20_000

// A worker is killed at each step of the cycle, comes back and goes on: nothing is lost,
// nothing counted twice.
func TestKilledAtEachStep(t *testing.T) {
	for _, point := range []string{
		"poll:5", "process:3000", "flush:5", "produce:5", "flushed:5", "offsets:5", "offsets.sent:5", "end:5", "end.written:5", "ended:5",
		"apply:5", "assign:1", "restore:2", "first-record:2",
		"decide:1", "decide:2", "cut.ack:3", "cut.taken:3", "upload:3", "uploaded:3", "manifest:1", "manifest.written:1", "discard:1",
	} {
		t.Run(point, func(t *testing.T) {
			r := newRun(t, kafkatest.Shared(t), 1)
			p := r.start("a", point+":KILL")
			n := r.feedUntil(p.over)
			r.killed(p)
			p = r.start("a", "")
			r.load(n, n+records/2, true)
			r.check(n + records/2)
			r.stop(p)
			r.audit(true)
		})
	}
}

// The worker dies while tasks are taken from it: a second one has joined.
func TestKilledAtRevoke(t *testing.T) {
	r := newRun(t, kafkatest.Shared(t), 1)
	fed := r.feed(0, records/2)
	a := r.start("a", "revoke:1:KILL", "-lanes", "1")
	r.printed(a, "restored")
	b := r.start("b", "", "-lanes", "1")
	r.killed(a)
	a = r.start("a", "", "-lanes", "1")
	fed()
	r.load(records/2, records, true)
	r.check(records)
	r.stop(a)
	r.stop(b)
	r.audit(true)
}

// A worker dies for good: another one takes its tasks over, and the dead one's open
// transaction with them.
func TestTakeover(t *testing.T) {
	const timeout = 40 * time.Second
	r := newRun(t, kafkatest.Shared(t), 1)
	slow := []string{"-transaction", timeout.String(), "-session", "3s"}
	a, b := r.start("a", "offsets.sent:4:KILL", slow...), r.start("b", "", slow...)
	n := r.feedUntil(a.over)
	r.killed(a)
	r.printedAfter(b, b.lines(), `"partitions":{"`)
	// From here on the group knows. Readers of committed outputs are held up by what the dead
	// worker had open, for as long as nobody ends it.
	if stall := r.stall(); stall > timeout/4 {
		t.Errorf("readers were held up for %s after the takeover began", stall)
	} else {
		t.Logf("readers were held up for %s after the takeover began; the transaction's own timeout is %s", stall.Round(time.Millisecond), timeout)
	}
	r.load(n, n+records/2, true)
	r.check(n + records/2)
	r.stop(b)
	r.audit(true)
}

// A worker is stopped in mid-commit until its session and its transaction have ended and
// another one has its tasks. When it goes on, the broker refuses what it had open; where
// its own request has timed out meanwhile, it finds positions that are not its own.
func TestZombieIsFenced(t *testing.T) {
	fenced := []string{"commit offset of", "commit offsets of", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "INVALID_TXN_STATE"}
	for point, proof := range map[string][]string{
		"process:3000": fenced, "offsets:5": fenced, "end:5": {`"reason":"diverged"`},
	} {
		t.Run(point, func(t *testing.T) {
			r := newRun(t, kafkatest.Shared(t), 1)
			a := r.start("a", point+":STOP")
			n := r.feedUntil(func() bool { return a.said("failpoint") })
			b := r.start("b", "")
			r.load(n, n+records/2, true)
			r.check(n + records/2) // b has done all of it
			a.signal(syscall.SIGCONT)
			r.printed(a, proof...)
			r.stop(a)
			r.stop(b)
			r.check(n + records/2)
			r.audit(true)
		})
	}
}

// A second process with the same instance id: one of the two ends with a hint, and the
// result is right.
func TestTwins(t *testing.T) {
	r := newRun(t, kafkatest.Shared(t), 1)
	r.load(0, records/2, false)
	a := r.start("a", "")
	r.printed(a, "restored")
	twin := r.start("a", "", "-state", r.dir+"/twin")
	<-a.gone
	if a.err == nil {
		t.Error("the fenced twin ended without an error")
	}
	r.printed(a, "instance id")
	r.load(records/2, records, true)
	r.check(records)
	r.stop(twin)
	r.audit(true)
}

// A broker of three dies, with whatever it led and coordinated, and comes back while the
// worker works. With a single broker this cannot be asked: when its only replica is gone,
// Kafka 4.3.1 takes a partition for deleted and skips the commit marker that it owes it.
func TestBrokerRestart(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{Brokers: 3})
	r := newRun(t, c, -1)
	r.patience(2 * time.Minute)
	fed := r.feed(0, records/2)
	a := r.start("a", "")
	r.printed(a, "restored")
	i := c.Leader(t, r.tally.In(), 0)
	r.loading.Lock()
	c.Kill(t, i)
	c.Restart(t, i)
	r.loading.Unlock()
	fed()
	r.load(records/2, records, true)
	r.check(records)
	r.stop(a)
	r.audit(true)
}

// Three workers are restarted one after the other within their sessions: the group does
// not rebalance once.
func TestRollingRestart(t *testing.T) {
	r := newRun(t, kafkatest.Shared(t), 1)
	names := []string{"a", "b", "c"}
	procs := map[string]*proc{}
	for _, n := range names {
		procs[n] = r.start(n, "", "-lanes", "1")
	}
	r.load(0, records/2, false)
	r.members(3)
	for _, n := range names {
		r.printed(procs[n], "restored")
	}
	before := 0
	for _, n := range names {
		before = max(before, r.generation(procs[n]))
	}
	for _, n := range names {
		r.stop(procs[n])
		procs[n] = r.start(n, "", "-lanes", "1")
		r.printed(procs[n], "restored")
		if g := r.generation(procs[n]); g != before {
			t.Errorf("%s came back into generation %d, the group was at %d", n, g, before)
		}
	}
	r.load(records/2, records, true)
	r.check(records)
	for _, n := range names {
		r.stop(procs[n])
	}
	r.audit(true)
}
