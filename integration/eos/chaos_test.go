package eos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/admin"
)

// steps are the failpoints that chaos draws from.
var steps = []string{
	"poll", "process", "flush", "produce", "flushed", "offsets", "offsets.sent", "end", "end.written", "ended", "apply", "assign", "revoke", "restore", "first-record",
	"decide", "cut.ack", "cut.taken", "upload", "uploaded", "manifest", "manifest.written", "discard", "copy", "copied",
}

// faults are what happens to the others while the first worker is on its way to a step. A
// run of len(steps) x len(faults) rounds has seen every pair.
var faults = []string{"nothing", "join", "freeze", "storm", "broker", "defaults"}

// TestChaos plays random mixtures of everything for as long as WEIR_CHAOS says: kills at
// failpoints and at any moment, stops beyond the session, clean restarts, joins and leaves,
// storms of both, broker restarts. Each round begins with the next pair of a step and a
// fault. WEIR_SEED repeats a round: the pair follows from the seed.
func TestChaos(t *testing.T) {
	text := os.Getenv("WEIR_CHAOS")
	if text == "" {
		t.Skip("WEIR_CHAOS is not set: make chaos D=5m")
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("WEIR_CHAOS: %v", err)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("WEIR_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("WEIR_SEED: %v", err)
		}
	}
	for end := time.Now().Add(d); time.Now().Before(end); seed++ {
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { chaos(t, seed) })
		if !ok {
			t.Fatalf("commit %s; again with: make chaos D=1s SEED=%d", tally.Commit(), seed)
		}
	}
}

func chaos(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	// Both change with each round, and each full turn of the steps meets other faults.
	at := seed % uint64(len(steps))
	step, fault := steps[at], faults[(at+seed/uint64(len(steps)))%uint64(len(faults))]
	brokers := 1
	if fault == "broker" || rnd.IntN(4) == 0 {
		brokers = 3
	}
	t.Logf("%s while %s, %d brokers", step, fault, brokers)
	c := kafkatest.Start(t, kafkatest.Options{Brokers: brokers})
	r := newRun(t, c, -1)
	r.patience(3 * time.Minute)
	const n = 40_000
	fed := r.feed(0, n)
	names := []string{"a", "b", "c"}
	procs := map[string]*proc{}
	timeouts := []string{"-standbys", strconv.Itoa(rnd.IntN(2))}
	if fault == "defaults" {
		timeouts = append(timeouts, "-session", "10s", "-transaction", "10s", "-commit", "100ms")
	}
	startAt := func(name, failpoint string) {
		t.Logf("start %s %s", name, failpoint)
		procs[name] = r.start(name, failpoint, append([]string{"-lanes", strconv.Itoa(1 + rnd.IntN(2))}, timeouts...)...)
	}
	start := func(name string) {
		failpoint := ""
		if rnd.IntN(2) == 0 {
			failpoint = fmt.Sprintf("%s:%d:KILL", steps[rnd.IntN(len(steps))], 1+rnd.IntN(30))
		}
		startAt(name, failpoint)
	}
	again := func(name string, s syscall.Signal) {
		t.Logf("%v %s", s, name)
		procs[name].signal(s)
		<-procs[name].gone
		start(name)
	}
	freeze := func(name string) {
		d := time.Duration(rnd.IntN(9000)) * time.Millisecond
		t.Logf("freeze %s for %s", name, d)
		procs[name].signal(syscall.SIGSTOP)
		r.pass(d)
		procs[name].signal(syscall.SIGCONT)
	}
	storm := func() {
		t.Log("storm")
		for range 10 {
			name := names[rnd.IntN(len(names))]
			if p := procs[name]; p != nil && !p.over() {
				p.signal([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[rnd.IntN(2)])
				<-p.gone
			}
			startAt(name, "")
			r.pass(time.Duration(rnd.IntN(300)) * time.Millisecond)
		}
	}
	killBroker := func() {
		i := rnd.IntN(brokers)
		t.Logf("kill broker %d", i)
		r.loading.Lock()
		c.Kill(t, i)
		c.Restart(t, i)
		r.loading.Unlock()
	}
	if step == "revoke" {
		startAt("a", "revoke:1:KILL") // the next one to join takes from it
	} else {
		startAt("a", fmt.Sprintf("%s:%d:KILL", step, 1+rnd.IntN(8)))
	}
	switch fault {
	case "join":
		startAt("b", "")
	case "freeze":
		startAt("b", "")
		freeze("b")
	case "storm":
		storm()
	case "broker":
		killBroker()
	default:
		for _, name := range names[1 : 1+rnd.IntN(3)] {
			start(name)
		}
	}
	for range 8 + rnd.IntN(8) {
		if !r.pass(time.Duration(rnd.IntN(1500)) * time.Millisecond) {
			t.Fatal("out of time")
		}
		name := names[rnd.IntN(len(names))]
		p := procs[name]
		if p == nil || p.over() {
			start(name)
			continue
		}
		switch rnd.IntN(14) {
		case 0, 1, 2, 3:
			again(name, syscall.SIGKILL)
		case 4, 5:
			again(name, syscall.SIGTERM)
		case 6, 7:
			freeze(name)
		case 8, 9:
			if brokers > 1 { // see TestBrokerRestart
				killBroker()
			}
		case 10:
			storm()
		case 11: // nobody waits for it; the audit judges it if it is taken
			s, err := r.admin().RequestSavepoint(r.ctx, admin.SavepointOptions{})
			t.Logf("savepoint %s: %v", s.ID, err)
		case 12, 13:
			if name := r.coordinator(); procs[name] != nil && !procs[name].over() {
				t.Logf("%s has the control task", name)
				again(name, syscall.SIGKILL)
			}
		}
	}
	fed()
	r.load(n, n, true)
	for _, name := range names {
		if p := procs[name]; p == nil || p.over() {
			procs[name] = r.start(name, "", timeouts...)
		}
	}
	// One worker without a failpoint must do it in the end, also when others die late.
	r.start("d", "", timeouts...)
	r.check(n)
	r.completes()
	for _, p := range r.procs {
		if !p.over() {
			p.signal(syscall.SIGTERM)
		}
	}
	for _, p := range r.procs {
		<-p.gone
	}
	r.audit(false)
}

// coordinator is the worker that has the control task, "" if nobody says so.
func (r *run) coordinator() string {
	r.t.Helper()
	got, err := r.cluster.Admin().DescribeGroups(r.ctx, r.names().Group())
	if err != nil {
		r.t.Logf("who coordinates: %v", err)
		return ""
	}
	for _, g := range got {
		for _, m := range g.Members {
			assigned, ok := m.Assigned.AsConsumer()
			if !ok || m.InstanceID == nil {
				continue
			}
			for _, topic := range assigned.Topics {
				if topic.Topic == r.names().Control() && len(topic.Partitions) > 0 {
					name, _, _ := offsets.ParseGroupInstance(*m.InstanceID)
					return name
				}
			}
		}
	}
	return ""
}

// completes waits until another checkpoint is complete.
func (r *run) completes() {
	r.t.Helper()
	cl := r.admin()
	newest := func() (id uint64) {
		all, err := cl.Checkpoints(r.ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, k := range all.Kept {
			id = max(id, k.ID)
		}
		return id
	}
	for before := newest(); newest() <= before; {
		if !r.pass(100 * time.Millisecond) {
			r.t.Fatal("no checkpoint is completed any more")
		}
	}
}

// patience gives the run another limit.
func (r *run) patience(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	r.t.Cleanup(cancel)
	r.ctx = ctx
}

// pass lets time go by, which is what chaos consists of; false when the run is over.
func (r *run) pass(d time.Duration) bool {
	select {
	case <-r.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// TestSoak makes more commits on one transactional id than a producer epoch has numbers
// (32,767): the id must be renewed without a record lost or doubled.
func TestSoak(t *testing.T) {
	text := os.Getenv("WEIR_SOAK")
	if text == "" {
		t.Skip("WEIR_SOAK is not set: make soak")
	}
	commits, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("WEIR_SOAK: %v", err)
	}
	r := newRun(t, kafkatest.Start(t, kafkatest.Options{LongRun: true}), 1)
	r.patience(2 * time.Hour)
	a := r.start("a", "", "-lanes", "1", "-commit", "1ms")
	r.printed(a, "restored")
	n := 0
	for r.committedEpochs() < commits {
		r.load(n, n+20, false)
		n += 20
	}
	r.load(n, n, true)
	r.check(n)
	r.stop(a)
	r.audit(false)
}
