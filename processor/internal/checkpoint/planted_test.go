package checkpoint

import (
	"strings"
	"testing"
)

// TestExplorationFindsPlantedBugs: the exploration is worth something only if it notices when a rule is
// missing. Each rule of the machines and of their driver is taken out once.
func TestExplorationFindsPlantedBugs(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("one goroutine: nothing for the race detector to find")
	}
	for _, bug := range []struct {
		name  string
		rules rules
		want  string // what is found says this
	}{
		{"a higher stamp is not looked at", rules{noLaiYang: true}, "not consistent"},
		{"a stamp is followed before control shows its cut", rules{participantFaults: participantFaults{dontWait: true}}, "not done"},
		{"records carry a cut that is not committed", rules{stampUncommitted: true}, "not consistent"},
		{"acknowledgements outside of the transaction", rules{looseAcks: true}, "not consistent"},
		{"control records outside of the transaction", rules{looseControl: true}, "control record"},
		{"the control log is read uncommitted", rules{readUncommitted: true}, "control record"},
		{"uploads show a later state", rules{lateState: true}, "not consistent"},
		{"a cut counts as taken although its epoch was aborted", rules{participantFaults: participantFaults{keepAborted: true}}, "not consistent"},
		{"an undecided cut is taken without an acknowledgement", rules{participantFaults: participantFaults{raiseOnly: true}}, "not done"},
		{"idle tasks take no cuts", rules{participantFaults: participantFaults{touchedOnly: true}}, "not done"},
		{"the cut is not kept in the metadata", rules{forgetCut: true}, "follows"},
		{"input is trimmed under an undecided cut", rules{trimUndecided: true}, "was trimmed"},
		{"input is trimmed by an owner that does not know where its predecessor took the cut", rules{trimOwn: true}, "was trimmed"},
		{"a rewind forgets what was in flight", rules{forgetInFlight: true}, "are lost"},
		{"what is in flight is measured at the trigger", rules{earlyEnd: true}, "not consistent"},
		{"the coordinator trusts the last stable offset", rules{stableIsEnd: true}, "control record"},
		{"ids are used again", rules{coordinatorFaults: coordinatorFaults{reuseIDs: true}}, "used before"},
		{"the next cut is triggered while one is undecided", rules{coordinatorFaults: coordinatorFaults{overlap: true}}, "is undecided"},
		{"a cut of the predecessor is left undecided", rules{coordinatorFaults: coordinatorFaults{keepForeign: true}}, "not done"},
		{"a zombie's upload counts", rules{coordinatorFaults: coordinatorFaults{anyEpoch: true}}, "not consistent"},
		{"a cut completes without uploads", rules{coordinatorFaults: coordinatorFaults{withoutUpload: true}}, "not consistent"},
		{"a record that was lost counts as written", rules{coordinatorFaults: coordinatorFaults{ignoreLoss: true}}, "not done"},
		{"acknowledgements before the trigger is seen are ignored", rules{coordinatorFaults: coordinatorFaults{deafUntilSeen: true}}, "not done"},
		{"a cut is declined while its completion is on its way", rules{coordinatorFaults: coordinatorFaults{changeOfMind: true}}, "control record"},
		{"a cut is forgotten before its objects are deleted", rules{coordinatorFaults: coordinatorFaults{forgetFirst: true}}, "is forgotten"},
		{"the cut of a drain is triggered before the end of time", rules{coordinatorFaults: coordinatorFaults{drainEarly: true}}, "time has not ended"},
		{"a cancel drops checkpoints while a cut is undecided", rules{coordinatorFaults: coordinatorFaults{dropOpen: true}}, "which does not count"},
		{"a cancel does not wait for objects to be deleted", rules{coordinatorFaults: coordinatorFaults{leaveEarly: true}}, "has left is there"},
		{"what is deleted takes along what others need", rules{keepNothing: true}, "counts, and an object of it is deleted"},
		{"what is deleted takes along what is deleted later", rules{keepCounted: true}, "lies there, and an object of it is deleted"},
		{"uploads build on a cut that does not count", rules{buildOnAnything: true}, "which does not count"},
		{"objects are deleted before the log says so", rules{coordinatorFaults: coordinatorFaults{deleteFirst: true}}, "is deleted while"},
	} {
		t.Run(bug.name, func(t *testing.T) {
			most := asked(t, "WEIR_PLANTED", 20_000)
			cov := newCoverage()
			for seed := range most {
				if err := explore(seed, bug.rules, cov); err != nil && strings.Contains(err.Error(), bug.want) {
					what, _, _ := strings.Cut(err.Error(), "\n")
					t.Log(what)
					return
				}
			}
			t.Errorf("not found in %d schedules", most)
		})
	}
}
