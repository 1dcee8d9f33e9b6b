package eos

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
)

// inFlight is the checkpoint with the most records in flight, among those that are complete, and
// how many offsets those take; 0: there is none.
func (r *run) inFlight() (manifest string, most int64) {
	r.t.Helper()
	state, err := r.admin().Checkpoints(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, k := range state.Kept {
		if k.Path != "" {
			continue // a savepoint
		}
		at := filepath.Join(r.cuts, r.tally.App, k.Manifest)
		b, m, err := snapshot.FindManifest(r.ctx, at, snapshot.Options{})
		if err == nil {
			err = b.Close()
		}
		if err != nil {
			r.t.Fatal(err)
		}
		n := int64(0)
		for _, part := range m.InFlight {
			n += part.To - part.From
		}
		if n > most {
			manifest, most = at, n
		}
	}
	return manifest, most
}

// feedUntilInFlight loads records until a checkpoint has some in flight, and says how many it took.
func (r *run) feedUntilInFlight() (manifest string, n int) {
	r.t.Helper()
	n = r.feedUntil(func() bool {
		name, offsets := r.inFlight()
		manifest = name
		return offsets > 0
	})
	return manifest, n
}

// rewound is what a worker has logged of its rewind.
type rewound struct {
	Message    string
	Timeline   uint32
	DoneBefore bool `json:"done_before"`
	Rows       int64
	Records    int64
	Superseded []struct {
		Topic     string
		Partition int32
		End       int64
	}
}

// rewound waits until the worker has rewound the application, or found that done.
func (r *run) rewound(p *proc) (out rewound, ends map[tally.Partition]int64) {
	r.t.Helper()
	r.printed(p, `"message":"rewound"`)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.out {
		if strings.Contains(line, `"message":"rewound"`) {
			if err := json.Unmarshal([]byte(line), &out); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	ends = map[tally.Partition]int64{}
	for _, s := range out.Superseded {
		ends[tally.Partition{Topic: s.Topic, Number: s.Partition}] = s.End
	}
	return out, ends
}

// checkRewound waits for all results of n records after a rewind, and compares them.
func (r *run) checkRewound(n int, prior tally.Outputs, ends map[tally.Partition]int64) {
	r.t.Helper()
	out, err := r.tally.AwaitRewound(r.ctx, r.cluster.Addrs(), n, prior, ends)
	if err != nil {
		r.t.Errorf("%v", err)
		r.diagnose()
	}
	report := r.tally.CheckRewound(out, n, ends)
	if err := report.Err(); err != nil {
		r.t.Errorf("%v", err)
	}
	r.t.Logf("%d updates came again", report.Again)
}

// What a rewind of an application in full flight leaves, on a real Kafka: its workers stop by
// themselves, it is killed in the middle of copying and run again, by two workers at once; it
// goes back once more; and a fork runs beside it. All counts are exact.
func TestRewind(t *testing.T) { rewinds(t, 50_000, 3*time.Minute) }

// The same with a million records.
func TestChaosRewind(t *testing.T) {
	if os.Getenv("WEIR_CHAOS") == "" {
		t.Skip("WEIR_CHAOS is not set: make chaos D=5m")
	}
	rewinds(t, 1_000_000, 20*time.Minute)
}

func rewinds(t *testing.T, all int, patience time.Duration) {
	r := newRun(t, kafkatest.Shared(t), 1)
	r.patience(patience)
	r.tally.Keys = 1000
	short := []string{"-retained", "1000", "-transaction", "2s"}
	a := r.start("a", "", short...)
	r.printed(a, "restored")
	fed := r.feed(0, all/2)
	fed()
	from, offsets := r.inFlight()
	if offsets == 0 {
		t.Fatal("no checkpoint has anything in flight")
	}
	t.Logf("%s has %d offsets in flight", filepath.Base(from), offsets)
	fed = r.feed(all/2, all*4/5)
	anew := append([]string{"-from", from, "-stop-workers"}, short...)
	b := r.start("b", "rewind.copy:1:KILL", anew...)
	r.killed(b)
	<-a.gone
	if !a.said("is intended by") {
		t.Errorf("the worker of the old timeline ended with %v:\n%s", a.err, a.tail())
	}
	fed()
	b, c := r.start("b", "", anew...), r.start("c", "", anew...)
	first, ends := r.rewound(b)
	other, _ := r.rewound(c)
	if first.Timeline != other.Timeline || first.DoneBefore == other.DoneBefore {
		t.Errorf("two workers with the same rewind: %+v, %+v", first, other)
	}
	if n := first.Records + other.Records; n == 0 {
		t.Error("nothing was in flight")
	}
	r.printed(b, "task restored", "assigned")
	r.load(all*4/5, all*9/10, false)
	r.stop(c)

	// The same place again, under the worker that is left.
	d := r.start("d", "", append(anew, "-rewind", "again")...)
	second, ends2 := r.rewound(d)
	<-b.gone
	if second.DoneBefore || second.Timeline <= first.Timeline || len(ends) != len(ends2) {
		t.Errorf("rewound again: %+v after %+v", second, first)
	}
	// A fork of what it was. It is old when it ends, and each checkpoint takes as long to judge as all of its input.
	prior := r.fork(from, append(short, "-retained", "20"), all)
	r.load(all*9/10, all, true)
	r.checkRewound(all, tally.Outputs{}, ends2)
	r.stop(d)
	r.tally.Timeline = second.Timeline
	r.audit(true)
	prior()
}

// fork starts a worker of a new application from the manifest; what is returned waits for its
// results and compares them.
func (r *run) fork(from string, args []string, all int) (check func()) {
	r.t.Helper()
	f := &run{t: r.t, ctx: r.ctx, cluster: r.cluster, dir: r.t.TempDir(), cuts: r.t.TempDir(), tally: r.tally}
	f.tally.App, f.tally.Source = r.tally.App+"-fork", ""
	if err := f.tally.CreateTopics(r.ctx, r.cluster.Addrs(), 1); err != nil {
		r.t.Fatal(err)
	}
	f.tally.Source = r.tally.In()
	p := f.start("f", "", append([]string{"-from", from, "-fork", "-source", r.tally.In()}, args...)...)
	r.mu.Lock()
	r.procs = append(r.procs, p)
	r.mu.Unlock()
	report, _ := f.rewound(p)
	if report.Timeline != 1 || report.Rows == 0 {
		r.t.Errorf("forked: %+v", report)
	}
	return func() {
		// What had happened before the cut is in the outputs of the other one alone.
		out, err := r.tally.Await(r.ctx, r.cluster.Addrs(), all)
		if err != nil {
			r.t.Fatal(err)
		}
		ends := map[tally.Partition]int64{}
		for _, topic := range []string{r.tally.Seen(), r.tally.GroupsT(), r.tally.Windows()} {
			for p := range r.tally.Partitions {
				ends[tally.Partition{Topic: topic, Number: p}] = math.MaxInt64
			}
		}
		f.checkRewound(all, out, ends)
		f.stop(p)
		f.audit(true)
	}
}

// A rewind is killed at each step: the worker that comes next ends up on the new timeline, with
// exact counts.
func TestRewindKilledAtEachStep(t *testing.T) {
	for _, point := range []string{"intent", "fence", "topics", "in-flight", "commit", "birth", "done"} {
		t.Run(point, func(t *testing.T) {
			name := "rewind." + point + ":1:KILL"
			if point == "birth" {
				name = "birth:1:KILL" // the transaction is ready and not ended
			}
			const all = 2_000
			r := newRun(t, kafkatest.Shared(t), 1)
			short := []string{"-retained", "1000", "-transaction", "2s"}
			a := r.start("a", "", short...)
			r.printed(a, "restored")
			from, n := r.feedUntilInFlight()
			r.load(n, n+all, false)
			anew := append([]string{"-from", from, "-stop-workers"}, short...)
			r.killed(r.start("b", name, anew...))
			b := r.start("b", "", anew...)
			report, ends := r.rewound(b)
			if report.DoneBefore != (point == "done") {
				t.Errorf("%+v", report)
			}
			<-a.gone
			r.load(n+all, n+2*all, true)
			r.checkRewound(n+2*all, tally.Outputs{}, ends)
			r.stop(b)
			r.tally.Timeline = report.Timeline
			r.audit(true)
		})
	}
}

// A worker of the old timeline is stopped with a transaction that is ready to be committed, and
// goes on when the application was rewound: the broker refuses what it had open.
func TestZombieOfAnOldTimeline(t *testing.T) {
	const all = 10_000
	r := newRun(t, kafkatest.Shared(t), 1)
	r.patience(3 * time.Minute)
	a := r.start("a", "end:60:STOP", "-retained", "1000", "-transaction", "60s")
	n := r.feedUntil(func() bool { return a.said("failpoint") })
	from, offsets := r.inFlight()
	if offsets == 0 {
		t.Fatal("no checkpoint has anything in flight")
	}
	b := r.start("b", "", "-retained", "1000", "-from", from, "-stop-workers")
	report, ends := r.rewound(b)
	a.signal(syscall.SIGCONT)
	<-a.gone
	if !a.said("is newer") && !a.said("is intended by") {
		t.Errorf("the zombie ended with %v:\n%s", a.err, a.tail())
	}
	r.load(n, n+all, true)
	r.checkRewound(n+all, tally.Outputs{}, ends)
	r.stop(b)
	r.tally.Timeline = report.Timeline
	r.audit(true)
}

// A transaction is open in the control topic, as that of a coordinator that was stopped amid an epoch, longer than most
// are: the rewind says whose it is, and waits until the brokers end it.
func TestRewindBehindAnOpenTransaction(t *testing.T) {
	const all = 1_000
	r := newRun(t, kafkatest.Shared(t), 1)
	r.patience(3 * time.Minute)
	a := r.start("a", "", "-retained", "1000", "-transaction", "2s")
	r.printed(a, "restored")
	from, n := r.feedUntilInFlight()
	r.load(n, n+all, false)
	r.stop(a)
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.Addrs()...), kgo.TransactionalID(r.tally.App+"-stopped"), kgo.TransactionTimeout(15*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(r.ctx, &kgo.Record{Topic: r.names().Control(), Key: []byte("not"), Value: []byte("read")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b := r.start("b", "", "-retained", "1000", "-transaction", "2s", "-from", from)
	report, ends := r.rewound(b)
	if !b.said(`a transaction of ` + r.tally.App + `-stopped is open in it since offset`) {
		t.Errorf("it did not say what it waits for:\n%s", b.tail())
	}
	r.load(n+all, n+2*all, true)
	r.checkRewound(n+2*all, tally.Outputs{}, ends)
	r.stop(b)
	r.tally.Timeline = report.Timeline
	r.audit(true)
}
