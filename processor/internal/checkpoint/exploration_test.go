package checkpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/integration/tally"
)

// asked reads a number from the environment.
func asked(t *testing.T, name string, otherwise uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// enough schedules meet every action a few times at least; the race detector, which has nothing to find here, plays
// fewer.
const (
	enough = 20_000
	few    = 10
)

// TestExploration: whatever the order of things, and wherever lanes crash, a completed cut is consistent over
// all tasks, no id is used twice, one cut at most is undecided, and when nothing disturbs it a cut completes.
// WEIR_SCHEDULES says how many orders are tried, WEIR_SEED repeats one and prints its scripts.
func TestExploration(t *testing.T) {
	cov := newCoverage()
	if os.Getenv("WEIR_SEED") != "" {
		seed := asked(t, "WEIR_SEED", 0)
		w := newWorld(seed, rules{}, cov)
		if err := w.run(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		t.Log(w.scripts())
		return
	}
	n := uint64(enough)
	if raceDetector || testing.Short() {
		n = enough / 10
	}
	n = asked(t, "WEIR_SCHEDULES", n)
	start := time.Now()
	for seed := range n {
		if err := explore(seed, rules{}, cov); err != nil {
			t.Fatalf("commit %s, %v", tally.Commit(), err)
		}
	}
	t.Logf("%d schedules in %s\n%s", n, time.Since(start).Round(time.Millisecond), cov)
	if n < enough {
		return
	}
	for _, k := range actionKinds {
		for at, name := range [...]string{"before", "after"} {
			if when(at) == after && (k == "fail" || k == "stopped") {
				continue // carried out, they end the lane
			}
			if c := cov.crashes[k][at]; c < few {
				t.Errorf("crashes %s %q were tried %d times, want %d", name, k, c, few)
			}
		}
	}
	for r := TimedOut; r <= Stopping; r++ {
		if c := cov.declined[r]; c < few && r != AckedTwice {
			t.Errorf("%d cuts were declined as %s, want %d", c, r, few)
		}
	}
	for what, c := range map[string]int{"cancels that delete": cov.cancels[1], "deletions that were cut short": cov.torn} {
		if c < few {
			t.Errorf("%s: %d, want %d", what, c, few)
		}
	}
	if cov.declined[AckedTwice] > 0 {
		t.Errorf("%d cuts were acknowledged twice by a task", cov.declined[AckedTwice])
	}
}

// What a failing schedule prints can be kept in testdata: it gives the same orders again.
func TestExplorationPrintsScripts(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(seed, rules{}, newCoverage())
		for range chaos {
			w.step()
		}
		for _, tape := range w.tapes {
			want := tape.text()
			got, err := runScript(want)
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, want)
			}
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
			}
		}
	}
}

// coverage counts over many schedules.
type coverage struct {
	crashes  map[string]*[2]int // by action
	actions  map[string]int     // carried out or not
	declined [Stopping + 1]int
	ran      int
	complete [2]int // by kind of cut
	dropped  int
	restarts int
	rewinds  int
	steps    int
	cancels  [2]int // see world
	torn     int    // deletions that were cut short
}

func newCoverage() *coverage {
	c := &coverage{crashes: map[string]*[2]int{}, actions: map[string]int{}}
	for _, k := range actionKinds {
		c.crashes[k] = new([2]int)
	}
	return c
}

func (c *coverage) crash(kind string, at when) { c.crashes[kind][at]++ }

func (c *coverage) count(w *world) {
	c.ran++
	c.steps += w.steps
	c.restarts += w.restarts
	c.rewinds += w.rewinds
	for i, n := range w.cancels {
		c.cancels[i] += n
	}
	for _, cut := range w.complete {
		c.complete[cut.Kind]++
	}
	for _, e := range w.k.control.log {
		switch r := e.v.(type) {
		case Declined:
			c.declined[r.Reason]++
		case Dropped:
			c.dropped++
		}
	}
	for _, t := range w.tapes {
		for _, x := range t.said {
			if a, ok := x.(Action); ok {
				c.actions[kindOf(a)]++
			}
		}
	}
}

// actionKinds are the actions with what makes them different.
var actionKinds = []string{
	"write triggered", "write declined", "write completed", "write dropped", "write forgotten", "write-manifest", "delete", "answer", "fail", "stopped",
	"end-epoch", "end-epoch even-empty", "take ack", "take", "hold", "resume", "upload", "abandon",
}

func kindOf(a Action) string {
	switch a := a.(type) {
	case Write:
		switch a.Record.(type) {
		case Triggered:
			return "write triggered"
		case Declined:
			return "write declined"
		case Completed:
			return "write completed"
		case Forgotten:
			return "write forgotten"
		default:
			return "write dropped"
		}
	case WriteManifest:
		return "write-manifest"
	case Delete:
		return "delete"
	case Answer:
		return "answer"
	case Fail:
		return "fail"
	case Stopped:
		return "stopped"
	case EndEpoch:
		if a.Empty {
			return "end-epoch even-empty"
		}
		return "end-epoch"
	case Take:
		if a.Ack {
			return "take ack"
		}
		return "take"
	case Hold:
		return "hold"
	case Resume:
		return "resume"
	case Upload:
		return "upload"
	case Abandon:
		return "abandon"
	}
	panic(fmt.Sprintf("no kind for %T", a))
}

func (c *coverage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d steps, complete: %d checkpoints, %d savepoints; %d dropped; %d restarts of the application, %d rewinds; %d cancelled, %d of them had checkpoints and came to the end; %d deletions cut short\n", c.steps, c.complete[Checkpoint], c.complete[Savepoint], c.dropped, c.restarts, c.rewinds, c.cancels[0], c.cancels[1], c.torn)
	for r := TimedOut; r <= Stopping; r++ {
		fmt.Fprintf(&b, "declined as %-24s%8d\n", r, c.declined[r])
	}
	fmt.Fprintf(&b, "%-24s%10s%8s%8s\n", "crashes at", "ordered", "before", "after")
	for _, k := range actionKinds {
		fmt.Fprintf(&b, "%-24s%10d%8d%8d\n", k, c.actions[k], c.crashes[k][before], c.crashes[k][after])
	}
	return b.String()
}
