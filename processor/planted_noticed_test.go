//go:build synctests && failpoints

package processor_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// planted is a test that notices a mistake, and what it says then, one of several.
type planted struct{ test, says string }

// The schedules of drains notice when a drain is wrong.
func TestVirtualPlantedDrains(t *testing.T) {
	const drain, loops = "^TestVirtualDrain$/^[0-3]$", "^TestVirtualDrainOfALoop$/^[0-3]$"
	noticed(t, map[string]planted{
		"read on behind the end of time":           {drain, "I2 |I3 |I9 "},
		"take the savepoint before time has ended": {drain, "is at "},
		"end loops with records in them":           {loops, "its window has"},
		"leave what windows send at the end":       {loops, "went round|was on its way"},
	})
}

// The tests of another number of partitions notice when rows, records or times go elsewhere.
func TestVirtualPlantedRescales(t *testing.T) {
	const rescale, late = "^TestVirtualRescale$", "^TestVirtualRescaleMakesNobodyLate$"
	noticed(t, map[string]planted{
		"leave rows where they were":            {rescale, "I2 |I3 |I4 |I9 |cannot be given"},
		"leave what is in flight where it was":  {rescale, "I2 |I3 |I4 |I9 |cannot be given"},
		"lose what is in flight":                {rescale, "I2 |I3 |I4 |I9 "},
		"keep the time of what is in flight":    {late, "windows have fired|window "},
		"take the time of the task furthest on": {late, "windows have fired"},
	})
}

func noticed(t *testing.T, mistakes map[string]planted) {
	for plant, by := range mistakes {
		t.Run(plant, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run="+by.test, "-test.count=1", "-test.timeout="+(3*realLimit).String())
			cmd.Env = append(os.Environ(), "WEIR_PLANT="+plant, "WEIR_SEEDS=120")
			out, err := cmd.CombinedOutput()
			found := false
			for says := range strings.SplitSeq(by.says, "|") {
				found = found || strings.Contains(string(out), says)
			}
			if err == nil || !found {
				t.Errorf("not noticed: %v\n%s", err, out)
			}
		})
	}
}
