package integration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/integration/bench/checkpoints"
)

const costHeading = "## What it costs\n"

// What docs/fault-tolerance.md says of costs is what was measured, whole, or there are neither figures nor results.
func TestCostsOfCheckpointsAreThoseMeasured(t *testing.T) {
	dir := root(t)
	page, err := os.ReadFile(filepath.Join(dir, "docs/fault-tolerance.md"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := checkpoints.Read(filepath.Join(dir, "integration/bench/checkpoints.json"))
	measured := !errors.Is(err, fs.ErrNotExist)
	if err != nil && measured {
		t.Fatal(err)
	}
	if wrong := compareCosts(string(page), results, measured); wrong != "" {
		t.Error(wrong)
	}
}

// compareCosts says what is wrong with the section of a page.
func compareCosts(page string, results checkpoints.Results, measured bool) string {
	_, section, shown := strings.Cut(page, costHeading)
	section, _, _ = strings.Cut(section, "\n## ")
	switch {
	case !shown && !measured:
		return ""
	case !shown:
		return "integration/bench/checkpoints.json is there and docs/fault-tolerance.md has no section " + strings.TrimSpace(costHeading)
	case !measured:
		return "docs/fault-tolerance.md has figures and integration/bench/checkpoints.json is not there: make bench CHECKPOINTS=1 JSON=integration/bench/checkpoints.json"
	case strings.Count(section, "\n|") != strings.Count(results.Markdown(), "\n|"), !strings.Contains(section, results.Markdown()):
		return "docs/fault-tolerance.md shows other figures than were measured, which are\n" + results.Markdown()
	}
	return ""
}

// The comparison is worth nothing if it lets everything pass.
func TestCostsAreCompared(t *testing.T) {
	r := checkpoints.Results{Machine: "m", Lag: &checkpoints.Lag{Records: 5e6, Seconds: 1}}
	right := "# page\n\n" + costHeading + "\nText.\n\n" + r.Markdown() + "\nText.\n\n## Next\n\n| another | table |\n"
	for _, c := range []struct {
		name, page string
		measured   bool
		right      bool
	}{
		{"the same", right, true, true},
		{"neither", "# page\n", false, true},
		{"figures without results", right, false, false},
		{"results without figures", "# page\n", true, false},
		{"another figure", strings.Replace(right, "1.00 s", "2.00 s", 1), true, false},
		{"a line more", strings.Replace(right, "|---|---|\n", "|---|---|\n| x | y |\n", 1), true, false},
		{"a line more behind it", strings.Replace(right, "\nText.\n\n## Next", "| x | y |\n\n## Next", 1), true, false},
	} {
		if got := compareCosts(c.page, r, c.measured); (got == "") != c.right {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
