package epoch

import (
	"strings"
	"testing"
)

// TestExplorationFindsPlantedBugs: the exploration is worth something only if it notices
// when a rule is missing. Each rule of the machine and of its driver is taken out once.
func TestExplorationFindsPlantedBugs(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("one goroutine: nothing for the race detector to find")
	}
	for _, bug := range []struct {
		name  string
		rules rules
	}{
		{"an unknown end counts as committed", rules{faults: faults{unknownIsCommitted: true}}},
		{"an unknown end counts as aborted", rules{faults: faults{unknownIsAborted: true}}},
		{"positions are compared only after an initialisation", rules{faults: faults{neverCompare: true}}},
		{"a lost lease is not noted", rules{faults: faults{trustLease: true}}},
		{"a restore goes on under a lost lease", rules{faults: faults{keepRestoring: true}, restless: true}},
		{"fencing is ignored", rules{faults: faults{ignoreFencing: true}}},
		{"effects are adopted before the end", rules{faults: faults{adoptEarly: true}}},
		{"a diverged task goes on", rules{faults: faults{keepDiverged: true}}},
		{"control is not read after an initialisation", rules{faults: faults{skipControl: true}}},
		{"work outside of the bracket", rules{loose: true}},
		{"an assignment overwrites the lease", rules{leaseByAssigned: true}},
		{"a new member id is a lease before its assignment", rules{leaseOnSight: true}},
		{"offsets without a lease", rules{noLease: true}},
		{"offsets before the flush", rules{offsetsBeforeFlush: true}},
		{"no witness", rules{noWitness: true}},
		{"acknowledgements under another identity", rules{foreignAcks: true}},
		{"unstable positions", rules{unstable: true}},
		{"an older base with newer offsets", rules{staleBase: true}},
	} {
		t.Run(bug.name, func(t *testing.T) {
			most := asked(t, "WEIR_PLANTED", 20_000)
			cov := newCoverage()
			for seed := range most {
				if err := explore(seed, bug.rules, cov, nil); err != nil {
					what, _, _ := strings.Cut(err.Error(), "\n")
					t.Log(what)
					return
				}
			}
			t.Errorf("not found in %d schedules", most)
		})
	}
}
