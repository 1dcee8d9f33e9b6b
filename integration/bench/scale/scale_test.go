package scale

import (
	"bytes"
	"encoding/xml"
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-stream/weir/integration/bench/report"
)

func testRun(cpu float64, mib int64, first float64) Run {
	return Run{
		Run:       report.Run{Records: 1_000_000, Seconds: 2, CPUSeconds: cpu, BrokerCPU: 1.5, MaxRSSBytes: mib << 20, Commits: 10},
		AnonBytes: (mib - 10) << 20, OpenFiles: 30, FirstCommit: first,
	}
}

func testScale() Scale {
	return Scale{Machine: "2 CPUs", Kafka: "4.3.1", Curves: []Curve{
		{Cause: Tasks, Workload: "count", Fixed: "1000 K records", Points: []Point{
			{X: 4, Runs: []Run{testRun(2, 300, 2.5), testRun(1, 310, 2), testRun(4, 320, 3)}},
			{X: 16, Runs: []Run{testRun(2, 322, 3.7)}},
		}},
		{Cause: State, Workload: "state", Fixed: "rows of 1000 bytes", Points: []Point{
			{X: 1e7, Runs: []Run{testRun(2, 100, 2)}, Kept: []Run{testRun(2, 110, 1)}, Rebuilt: []Run{testRun(2, 120, 1.5)}},
			{X: 2.01e9, Runs: []Run{testRun(2, 2100, 2)}, Kept: []Run{testRun(2, 3000, 3)}, Rebuilt: []Run{testRun(2, 2000, 6.5)}},
		}},
		{Cause: Interval, Workload: "pass", Fixed: "", Points: []Point{
			{X: 10, Runs: []Run{{Run: report.Run{Records: 1000, Seconds: 1, CPUSeconds: 3, Commits: 1010}}}},
			{X: 5000, Runs: []Run{{Run: report.Run{Records: 1000, Seconds: 1, CPUSeconds: 1, Commits: 10}}}},
		}},
		{Cause: Skew, Workload: "count", Fixed: "", Points: []Point{{X: 0, Runs: []Run{testRun(2, 300, 2)}}, {X: 90, Runs: []Run{testRun(2, 300, 2)}}}},
	}}
}

func TestTables(t *testing.T) {
	table := testScale().Markdown()
	for _, want := range []string{
		"**tasks: workload count**, 1000 K records\n",
		"| 4 | 500 (250-1000) | 500 (500-500) | 1.5 (1.5-1.5) | 310 (300-320) | 300 (290-310) | 30 | 2.5 (2.0-3.0) |  |  |  |\n",
		"| 16 | 500 | 500 | 1.5 | 322 | 312 | 30 | 3.7 | 1024 | 0 | 100 |\n", // 12 MiB and 1.2 s more for 12 tasks more
		"| 10 MB | 500 | 500 | 1.5 | 100 | 90 | 30 | 2.0 | 1.0 | 1.5 | 110 | 120 |  |  |  |\n",
		"| 2.01 GB | 500 | 500 | 1.5 | 2100 | 2090 | 30 | 2.0 | 3.0 | 6.5 | 3000 | 2000 | 1000 | 1.00 | 2.50 |\n",
		"| 10ms | 0 | 1 | 0.0 | 0 | 0 | 0 | 0.0 |\n",
		"| 5s | 1 | 1 | 0.0 | 0 | 0 | 0 | 0.0 |\n",
		"| 90 % | 500 |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the tables lack\n%s\nThey are\n%s", want, table)
		}
	}
}

func TestFileKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scale.json")
	want := testScale()
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

func TestPutReplacesACurve(t *testing.T) {
	s := testScale()
	s.Put(Curve{Cause: Tasks, Workload: "count", Fixed: "new"})
	s.Put(Curve{Cause: Interval, Workload: "count"})
	if len(s.Curves) != 5 || s.Curves[0].Fixed != "new" || s.Curves[0].Points != nil || s.Curves[4].Workload != "count" {
		t.Errorf("%+v", s.Curves)
	}
}

// The drawing is well-formed, says what it shows, is drawn alike from the same figures and differently from others.
func TestDrawing(t *testing.T) {
	page, err := testScale().SVG()
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for d := xml.NewDecoder(bytes.NewReader(page)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "path" {
			lines++
		}
	}
	if lines < 4*len(rows) {
		t.Errorf("%d lines for %d panels", lines, 4*len(rows))
	}
	for _, text := range []string{"tasks: workload count", "K records per CPU-second", "2.01 GB", "5s", "90 %", "without"} {
		if !bytes.Contains(page, []byte(">"+text+"<")) {
			t.Errorf("the drawing does not say %q", text)
		}
	}
	again, err := testScale().SVG()
	if err != nil || !bytes.Equal(page, again) {
		t.Errorf("drawn again it differs, or %v", err)
	}
	other := testScale()
	other.Curves[0].Points[1].Runs[0].CPUSeconds = 3
	if changed, err := other.SVG(); err != nil || bytes.Equal(page, changed) {
		t.Errorf("other figures look the same, or %v", err)
	}
	if _, err := (Scale{}).SVG(); err == nil {
		t.Error("nothing was drawn without an error")
	}
}

func TestPage(t *testing.T) {
	s := testScale()
	page, err := s.Page("# Title\n\n" + pageBegin + "old\n" + pageEnd + "\nText.\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := "# Title\n\n" + pageBegin + "\n" + s.Markdown() + "\n" + pageEnd + "\nText.\n"; page != want {
		t.Errorf("%s\nwant\n%s", page, want)
	}
	if again, err := s.Page(page); err != nil || again != page {
		t.Errorf("a second time: %v\n%s", err, again)
	}
	for _, bad := range []string{"", pageBegin, pageEnd + pageBegin} {
		if _, err := s.Page(bad); err == nil {
			t.Errorf("page %q was filled", bad)
		}
	}
}
