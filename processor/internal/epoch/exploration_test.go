package epoch

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

// enough schedules meet every action often enough; the race detector, which has nothing to
// find here, plays fewer.
const enough = 20_000

// TestExploration: whatever the order of things, and wherever lanes crash, each input
// record's effect is there exactly once, and everything is done in the end. WEIR_SCHEDULES
// says how many orders are tried, WEIR_SEED repeats one and traces it.
func TestExploration(t *testing.T) {
	cov := newCoverage()
	if os.Getenv("WEIR_SEED") != "" {
		if err := explore(asked(t, "WEIR_SEED", 0), rules{}, cov, func(s string) { t.Log(s) }); err != nil {
			t.Fatal(err)
		}
		return
	}
	n := uint64(enough)
	if raceDetector || testing.Short() {
		n = enough / 10
	}
	n = asked(t, "WEIR_SCHEDULES", n)
	start := time.Now()
	for seed := range n {
		if err := explore(seed, rules{}, cov, nil); err != nil {
			t.Fatalf("commit %s, %v", tally.Commit(), err)
		}
	}
	t.Logf("%d schedules in %s\n%s", n, time.Since(start).Round(time.Millisecond), cov)
	if n < enough {
		return
	}
	for _, k := range actionKinds {
		for at, name := range [...]string{"before", "after"} {
			if c := cov.crashes[k]; c == nil || c[at] < 50 {
				t.Errorf("crashes before and after %q were tried %d times, want 50 %s", k, c, name)
			}
		}
	}
}

// What a failing schedule prints can be kept in testdata: it gives the same orders again.
func TestExplorationPrintsScripts(t *testing.T) {
	for seed := range uint64(20) {
		w := newSchedule(seed, rules{}, newCoverage())
		for range chaos {
			w.step()
		}
		for _, l := range w.lanes {
			want := l.text()
			if want == "" {
				continue
			}
			got, err := runScript(want)
			if err != nil {
				t.Fatalf("seed %d, %s: %v", seed, l.name, err)
			}
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Fatalf("seed %d, %s: got\n%s\nwant\n%s", seed, l.name, got, want)
			}
		}
	}
}

func (c *coverage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d schedules, %d positions moved, %d newer timelines\n\ncrashes:%24s%8s\n", c.ran, c.commits, c.rewinds, "before", "after")
	for _, k := range actionKinds {
		n := c.crashes[k]
		if n == nil {
			n = &[2]int{}
		}
		fmt.Fprintf(&b, "%-24s%8d%8d\n", k, n[0], n[1])
	}
	fmt.Fprintf(&b, "\n%-16s", "events:")
	for p := Idle; p < Exited; p++ {
		fmt.Fprintf(&b, "%10s", p)
	}
	for e, word := range eventKinds {
		fmt.Fprintf(&b, "\n%-16s", word)
		for p := Idle; p < Exited; p++ {
			fmt.Fprintf(&b, "%10d", c.events[e][p])
		}
	}
	return b.String()
}
