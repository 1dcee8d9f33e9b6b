package report

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func testReport() Report {
	run := func(seconds, cpu float64) Run {
		return Run{Records: 1_000_000, Seconds: seconds, CPUSeconds: cpu, UserSeconds: cpu * 0.75, SystemSeconds: cpu * 0.25, BrokerCPU: 3, MaxRSSBytes: 300 << 20, Commits: 10}
	}
	return Report{
		Machine: "2 CPUs, linux", Kafka: "4.3.1", Records: 1_000_000, Interval: 100, Lanes: 2,
		Rows: []Row{
			{Workload: "count", Keys: 100_000, System: Weir, Runs: []Run{run(2, 1.25), run(1, 2), run(4, 1)}},
			{Workload: "count", Keys: 100_000, System: WeirSlow, Interval: 1000, Runs: []Run{run(1.25, 1), run(1.25, 0.5)}},
			{Workload: "count", Keys: 100_000, System: Streams, Runs: []Run{run(8, 10), run(5, 8)}},
			{Workload: "count", Keys: 100_000, System: Flink, Interval: 1000, Runs: []Run{run(4, 5)}},
		},
		Latency:  []Latency{{Workload: "pass", System: Weir, Interval: 100, Rate: 20_000, Samples: 9, P50: 51.4, P99: 99.6, P999: 120, Cores: 0.125}},
		Recovery: recoveries(),
	}
}

func TestTable(t *testing.T) {
	lines := strings.Split(testReport().Markdown(), "\n")
	for i, want := range map[int]string{
		2:  "| count, 100 K keys | weir | 800 (500-1000) | 0.94 + 0.31 | 500 (250-1000) | 3.0 | 300 |  |",
		3:  "| count, 100 K keys | Kafka Streams | 112 (100-125) | 6.75 + 2.25 | 162 (125-200) | 3.0 | 300 | 7.1 per CPU-second, 3.1 per second |",
		4:  "| count, 100 K keys | Flink, commits every 1000 ms | 200 (200-200) | 3.75 + 1.25 | 250 (250-250) | 3.0 | 300 | 4.0 per CPU-second, 2.0 per second |",
		6:  "| weir, commits every 100 ms against 1000 ms | K records per worker CPU-second | loss | K records/s | loss | peak RSS MiB |",
		8:  "| count, 100 K keys | 800 (500-1000) against 1500 (1000-2000) | 47 % | 500 (250-1000) against 800 (800-800) | 38 % | 300 against 300 |",
		12: "| pass, 20 K records/s | weir | 100 ms | 51 ms | 100 ms | 120 ms | 0.12 |",
	} {
		if i >= len(lines) || lines[i] != want {
			t.Errorf("line %d of\n%s\nwant\n%s", i, strings.Join(lines, "\n"), want)
		}
	}
}

// Files of before have the sum alone, and what was not measured is not shown.
func TestWorkerCPU(t *testing.T) {
	runs := testReport().Rows[0].Runs
	if got, want := workerCPU(runs), "0.94 + 0.31"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range runs {
		runs[i].UserSeconds, runs[i].SystemSeconds = 0, 0
	}
	if got, want := workerCPU(runs), "1.25"; got != want {
		t.Errorf("without the two apart: got %q, want %q", got, want)
	}
}

func TestFileKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	want := testReport()
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
