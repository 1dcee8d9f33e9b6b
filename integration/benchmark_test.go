package integration

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/integration/bench/report"
)

const benchHeading = "## How fast it is\n"

// What README.md says of speed is what was measured: its tables are those of the results that are committed, whole, or
// there are neither tables nor results.
func TestReadmeShowsWhatWasMeasured(t *testing.T) {
	dir := root(t)
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := report.Read(filepath.Join(dir, "integration/bench/results.json"))
	measured := !errors.Is(err, fs.ErrNotExist)
	if err != nil && measured {
		t.Fatal(err)
	}
	for _, wrong := range compareTables(string(readme), results, measured) {
		t.Error(wrong)
	}
}

// compareTables says what is wrong with the figures of a readme.
func compareTables(readme string, results report.Report, measured bool) (wrong []string) {
	_, section, shown := strings.Cut(readme, benchHeading)
	section, _, _ = strings.Cut(section, "\n## ")
	switch {
	case !measured && shown:
		return []string{"README.md has figures and integration/bench/results.json is not there: make bench JSON=integration/bench/results.json"}
	case !measured:
		return nil
	case !shown:
		return []string{"integration/bench/results.json is there and README.md has no section " + strings.TrimSpace(benchHeading)}
	}
	var got, want []string
	for _, line := range strings.Split(section, "\n") {
		if strings.HasPrefix(line, "|") {
			got = append(got, line)
		}
	}
	for _, line := range strings.Split(results.Markdown(), "\n") {
		if strings.HasPrefix(line, "|") {
			want = append(want, line)
		}
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			wrong = append(wrong, "README.md lacks: "+want[i])
		case i >= len(want):
			wrong = append(wrong, "README.md has what was not measured: "+got[i])
		case got[i] != want[i]:
			wrong = append(wrong, "README.md has: "+got[i]+"\nmeasured was:  "+want[i])
		}
	}
	return wrong
}

// The comparison is worth nothing if it lets everything pass.
func TestReadmeFiguresAreCompared(t *testing.T) {
	r := report.Report{Rows: []report.Row{{Workload: "pass", Keys: 100_000, System: report.Weir, Runs: []report.Run{{Records: 1000, Seconds: 1, CPUSeconds: 1}}}}}
	right := "# weir\n\n" + benchHeading + "\nText.\n\n" + r.Markdown() + "\nText.\n\n## Next\n\n| another | table |\n"
	for _, c := range []struct {
		name     string
		readme   string
		measured bool
		wrong    int
	}{
		{"the same", right, true, 0},
		{"figures without results", right, false, 1},
		{"neither", "# weir\n", false, 0},
		{"results without figures", "# weir\n", true, 1},
		{"another figure", strings.Replace(right, "| 1 (1-1) |", "| 2 (1-1) |", 1), true, 1},
		{"a line more", strings.Replace(right, "\nText.\n\n## Next", "| pass | more |\n\n## Next", 1), true, 1},
		{"a line less", strings.Replace(right, "|---|---|---|---|---|---|---|---|\n", "", 1), true, 2},
	} {
		if got := compareTables(c.readme, r, c.measured); len(got) != c.wrong {
			t.Errorf("%s: %d complaints, want %d: %q", c.name, len(got), c.wrong, got)
		}
	}
}
