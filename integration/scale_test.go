package integration

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/integration/bench/scale"
)

// docs/scale.md and docs/scale.svg show the curves that are committed, whole, or there are neither.
func TestScalePageShowsWhatWasMeasured(t *testing.T) {
	dir := root(t)
	page, err := os.ReadFile(filepath.Join(dir, "docs/scale.md"))
	if err != nil {
		t.Fatal(err)
	}
	drawing, err := os.ReadFile(filepath.Join(dir, "docs/scale.svg"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	results, err := scale.Read(filepath.Join(dir, "integration/bench/scale.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if wrong := compareScale(string(page), drawing, results); wrong != "" {
		t.Errorf("%s: make bench SCALE=1 JSON=integration/bench/scale.json PAGE=docs/scale.md", wrong)
	}
}

// compareScale says what is wrong with the page; no results have no curves.
func compareScale(page string, drawing []byte, results scale.Scale) string {
	want, err := results.Page(page)
	if err != nil {
		return "docs/scale.md: " + err.Error()
	}
	if len(results.Curves) == 0 {
		if want != page || drawing != nil {
			return "docs/scale.md or docs/scale.svg shows what was not measured"
		}
		return ""
	}
	if want != page {
		return "the tables of docs/scale.md are not those of integration/bench/scale.json"
	}
	if !strings.Contains(page, "(scale.svg)") {
		return "docs/scale.md does not show docs/scale.svg"
	}
	right, err := results.SVG()
	if err != nil {
		return err.Error()
	}
	if !bytes.Equal(drawing, right) {
		return "docs/scale.svg is not drawn from integration/bench/scale.json"
	}
	return ""
}

// The comparison is worth nothing if it lets everything pass.
func TestScalePageIsCompared(t *testing.T) {
	results := scale.Scale{Curves: []scale.Curve{{Cause: scale.Tasks, Workload: "count", Points: []scale.Point{
		{X: 4, Runs: []scale.Run{{FirstCommit: 1}}}, {X: 16, Runs: []scale.Run{{FirstCommit: 2}}},
	}}}}
	results.Curves[0].Points[0].Runs[0].Records, results.Curves[0].Points[1].Runs[0].Records = 1000, 1000
	for i := range results.Curves[0].Points {
		r := &results.Curves[0].Points[i].Runs[0]
		r.Seconds, r.CPUSeconds = 1, 2
	}
	empty := "![curves](scale.svg)\n<!-- measured -->\n\n\n<!-- end of what was measured -->\n"
	page, err := results.Page(empty)
	if err != nil {
		t.Fatal(err)
	}
	drawing, err := results.SVG()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, page string
		drawing    []byte
		results    scale.Scale
		right      bool
	}{
		{"the same", page, drawing, results, true},
		{"neither", empty, nil, scale.Scale{}, true},
		{"a page without results", page, nil, scale.Scale{}, false},
		{"a drawing without results", empty, drawing, scale.Scale{}, false},
		{"results without a page", empty, drawing, results, false},
		{"another figure", strings.Replace(page, "| 2.0 |", "| 2.1 |", 1), drawing, results, false},
		{"no drawing", page, nil, results, false},
		{"another drawing", page, append([]byte(" "), drawing...), results, false},
		{"not shown", strings.Replace(page, "(scale.svg)", "", 1), drawing, results, false},
		{"no marks", "# Scale\n", nil, scale.Scale{}, false},
	} {
		if wrong := compareScale(c.page, c.drawing, c.results); (wrong == "") != c.right {
			t.Errorf("%s: %q", c.name, wrong)
		}
	}
}
