//go:build synctests && failpoints

package processor_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The schedules of drains notice when a drain is wrong.
func TestVirtualPlantedDrains(t *testing.T) {
	const drain, loops = "^TestVirtualDrain$/^[0-3]$", "^TestVirtualDrainOfALoop$/^[0-3]$"
	for plant, by := range map[string]struct{ test, want string }{
		"read on behind the end of time":           {drain, "I2 |I3 |I9 "},
		"take the savepoint before time has ended": {drain, "is at "},
		"end loops with records in them":           {loops, "its window has"},
		"leave what windows send at the end":       {loops, "went round|was on its way"},
	} {
		t.Run(plant, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run="+by.test, "-test.count=1", "-test.timeout="+(3*realLimit).String())
			cmd.Env = append(os.Environ(), "WEIR_PLANT="+plant, "WEIR_SEEDS=120")
			out, err := cmd.CombinedOutput()
			found := false
			for w := range strings.SplitSeq(by.want, "|") {
				found = found || strings.Contains(string(out), w)
			}
			if err == nil || !found {
				t.Errorf("not noticed: %v\n%s", err, out)
			}
		})
	}
}
