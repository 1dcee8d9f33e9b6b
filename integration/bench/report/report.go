package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Report is one run of the benchmark. Figures are as measured; tables round them.
type Report struct {
	Machine  string     `json:"machine"` // CPUs and system
	Kafka    string     `json:"kafka"`
	Records  int64      `json:"records"`     // of each run, 100 bytes of value, uncompressed
	Interval int64      `json:"interval_ms"` // between commits
	Lanes    int        `json:"lanes"`
	Rows     []Row      `json:"rows"`
	Latency  []Latency  `json:"latency"`
	Recovery []Recovery `json:"recovery,omitempty"`
}

// Row is one system on one workload, all rounds.
type Row struct {
	Workload string `json:"workload"`
	Keys     int64  `json:"keys"`
	System   string `json:"system"`                // one of [Systems]
	Interval int64  `json:"interval_ms,omitempty"` // between commits, where it is not the report's
	Runs     []Run  `json:"runs"`
}

// Systems are what is compared, in the order of the tables. "tuned" has larger producer batches and fetches.
var Systems = []string{Weir, WeirSlow, Streams, StreamsTuned, Flink, FlinkTuned}

// Names of the systems.
const (
	Weir         = "weir"
	WeirSlow     = "weir, commits every second" // beside weir alone
	Streams      = "Kafka Streams"
	StreamsTuned = "Kafka Streams, tuned"
	Flink        = "Flink"
	FlinkTuned   = "Flink, tuned"
)

// Run is one verified run of one worker process.
type Run struct {
	Records       int64   `json:"records"`
	Seconds       float64 `json:"seconds"`                      // from the first to the last committed record
	CPUSeconds    float64 `json:"cpu_seconds"`                  // user and system, whole life of the worker process
	UserSeconds   float64 `json:"user_cpu_seconds,omitempty"`   // absent in older files
	SystemSeconds float64 `json:"system_cpu_seconds,omitempty"` // absent in older files
	BrokerCPU     float64 `json:"broker_cpu_seconds"`
	MaxRSSBytes   int64   `json:"max_rss_bytes"`
	Commits       int64   `json:"commits"`
	Aborts        int64   `json:"aborts"`
}

// Latency is from the time at which a record was due to its sight by a read_committed reader of the output.
type Latency struct {
	Workload string  `json:"workload"`
	System   string  `json:"system"`
	Interval int64   `json:"interval_ms"`
	Rate     int64   `json:"records_per_second"`
	Samples  int64   `json:"samples"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	P999     float64 `json:"p99_9_ms"`
	Cores    float64 `json:"cores"` // of the worker
}

// Read reads a report's file.
func Read(path string) (Report, error) {
	var r Report
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Write writes a report's file.
func (r Report) Write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// A Figure is the middle of some rounds with the smallest and the largest.
type Figure struct{ Min, Median, Max float64 }

// FigureOf is the figure of a value that each run has.
func FigureOf[R any](runs []R, value func(R) float64) Figure {
	all := make([]float64, len(runs))
	for i, r := range runs {
		all[i] = value(r)
	}
	slices.SortFunc(all, cmp.Compare[float64])
	n := len(all)
	if n == 0 {
		return Figure{}
	}
	return Figure{Min: all[0], Median: (all[(n-1)/2] + all[n/2]) / 2, Max: all[n-1]}
}

// What the tables show of a run.
func perSecond(r Run) float64    { return float64(r.Records) / r.Seconds }
func perCPUSecond(r Run) float64 { return float64(r.Records) / r.CPUSeconds }
func userCPU(r Run) float64      { return r.UserSeconds * 1e6 / float64(r.Records) }
func systemCPU(r Run) float64    { return r.SystemSeconds * 1e6 / float64(r.Records) }
func rss(r Run) float64          { return float64(r.MaxRSSBytes) / (1 << 20) }
func brokerCPU(r Run) float64    { return r.BrokerCPU * 1e6 / float64(r.Records) }

func thousands(f Figure) string {
	return fmt.Sprintf("%.0f (%.0f-%.0f)", f.Median/1e3, f.Min/1e3, f.Max/1e3)
}

// workerCPU is user + system time per record; their sum where a file does not have them apart.
func workerCPU(runs []Run) string {
	if user := FigureOf(runs, userCPU); user.Max > 0 {
		return fmt.Sprintf("%.2f + %.2f", user.Median, FigureOf(runs, systemCPU).Median)
	}
	return fmt.Sprintf("%.2f", 1e6/FigureOf(runs, perCPUSecond).Median)
}

// name is the system, and what the report says of all rows where it is not true of this one.
func (r Row) name() string {
	if r.Interval == 0 {
		return r.System
	}
	return fmt.Sprintf("%s, commits every %d ms", r.System, r.Interval)
}

func keysName(n int64) string {
	if n >= 1_000_000 && n%1_000_000 == 0 {
		return fmt.Sprintf("%d M keys", n/1_000_000)
	}
	return fmt.Sprintf("%d K keys", n/1000)
}

// Markdown are the tables of README.md: medians, with the smallest and the largest of the rounds in brackets.
func (r Report) Markdown() string {
	var b strings.Builder
	if len(r.Rows) > 0 {
		fmt.Fprintf(&b, "| workload | system | K records per worker CPU-second | worker CPU µs per record, user + system | K records/s | broker CPU µs per record | peak RSS MiB | weir is ahead by |\n")
		fmt.Fprintf(&b, "|---|---|---|---|---|---|---|---|\n")
	}
	for _, row := range r.Rows {
		if row.System == WeirSlow {
			continue
		}
		ahead := ""
		if ours, ok := r.row(row.Workload, row.Keys, Weir); ok && row.System != Weir {
			ahead = fmt.Sprintf("%.1f per CPU-second, %.1f per second",
				FigureOf(ours.Runs, perCPUSecond).Median/FigureOf(row.Runs, perCPUSecond).Median,
				FigureOf(ours.Runs, perSecond).Median/FigureOf(row.Runs, perSecond).Median)
		}
		fmt.Fprintf(&b, "| %s, %s | %s | %s | %s | %s | %.1f | %.0f | %s |\n", row.Workload, keysName(row.Keys), row.name(),
			thousands(FigureOf(row.Runs, perCPUSecond)), workerCPU(row.Runs), thousands(FigureOf(row.Runs, perSecond)),
			FigureOf(row.Runs, brokerCPU).Median, FigureOf(row.Runs, rss).Max, ahead)
	}
	b.WriteString(r.lossTable())
	if len(r.Latency) > 0 {
		fmt.Fprintf(&b, "\n| workload | system | commits every | p50 | p99 | p99.9 | cores |\n|---|---|---|---|---|---|---|\n")
		for _, l := range r.Latency {
			fmt.Fprintf(&b, "| %s, %d K records/s | %s | %d ms | %.0f ms | %.0f ms | %.0f ms | %.2f |\n",
				l.Workload, l.Rate/1000, l.System, l.Interval, l.P50, l.P99, l.P999, l.Cores)
		}
	}
	b.WriteString(r.recoveryTable())
	return b.String()
}

func (r Report) row(workload string, keys int64, system string) (Row, bool) {
	i := slices.IndexFunc(r.Rows, func(row Row) bool {
		return row.Workload == workload && row.Keys == keys && row.System == system
	})
	if i < 0 {
		return Row{}, false
	}
	return r.Rows[i], true
}
