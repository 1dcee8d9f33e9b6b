//go:build failpoints

package changelog

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The model is worth something only if it notices when cuts are wrong.
func TestPlantedMistakesOfCuts(t *testing.T) {
	for _, mistake := range []string{
		"",
		"cut without copy-on-write",
		"cut with rows changed after it",
		"discard not pinned",
		"increment without deletes",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestModel$", "-test.count=1", "-test.failfast")
		cmd.Env = append(os.Environ(), "WEIR_PLANT="+mistake)
		out, err := cmd.CombinedOutput()
		found := regexp.MustCompile(`cut \d+ at end.*`).FindString(string(out))
		switch {
		case mistake == "" && err != nil:
			t.Errorf("without a mistake: %v\n%s", err, out)
		case mistake != "" && (err == nil || found == ""):
			t.Errorf("%s: not noticed (%v)\n%s", mistake, err, out)
		default:
			t.Logf("%s: %s", mistake, strings.TrimSpace(found))
		}
	}
}
