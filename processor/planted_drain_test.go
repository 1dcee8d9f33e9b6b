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
	for plant, want := range map[string]string{
		"read on behind the end of time":           "I2 |I3 |I9 ",
		"take the savepoint before time has ended": "is at ",
	} {
		t.Run(plant, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestVirtualDrain$/^[0-3]$", "-test.count=1", "-test.timeout="+(3*realLimit).String())
			cmd.Env = append(os.Environ(), "WEIR_PLANT="+plant)
			out, err := cmd.CombinedOutput()
			found := false
			for w := range strings.SplitSeq(want, "|") {
				found = found || strings.Contains(string(out), w)
			}
			if err == nil || !found {
				t.Errorf("not noticed: %v\n%s", err, out)
			}
		})
	}
}
