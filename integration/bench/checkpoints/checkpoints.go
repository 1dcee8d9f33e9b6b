// Package checkpoints is what `make bench CHECKPOINTS=1` measures: what checkpoints cost while an application runs, and
// what they save when a directory or a worker is lost.
package checkpoints

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Results are as measured; tables round them.
type Results struct {
	Machine   string     `json:"machine"`
	Kafka     string     `json:"kafka"`
	Blocking  *Blocking  `json:"blocking,omitempty"`
	Durations []Duration `json:"durations,omitempty"`
	Losses    []Loss     `json:"losses,omitempty"`
	Restores  []Restore  `json:"restores,omitempty"`
	Standby   *Standby   `json:"standby,omitempty"`
	Lag       *Lag       `json:"lag,omitempty"`
}

// Blocking says how long a lane processed nothing at the end of an epoch.
type Blocking struct {
	Checkpoints int       `json:"checkpoints"`
	Rate        int64     `json:"records_per_second"`
	Interval    int64     `json:"checkpoint_interval_ms"`
	Keys        int64     `json:"keys"`
	CutWork     Quantiles `json:"cut_work"` // of epochs with a checkpoint: what the lane did for it, beside the commit
	Cuts        Quantiles `json:"cuts"`     // of the same epochs: from the last record to the commit
	Plain       Quantiles `json:"plain"`    // the same of epochs without
}

// Quantiles of durations in ms.
type Quantiles struct {
	N    int     `json:"n"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Duration is that of a snapshot of all of the state, from its trigger to its completion.
type Duration struct {
	Rows    int64   `json:"rows"`
	Bytes   int64   `json:"bytes"`   // of keys and values
	Written int64   `json:"written"` // bytes of objects, compressed
	Seconds float64 `json:"seconds"`
}

// Run is one of a pair.
type Run struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	Seconds    float64 `json:"seconds"`
	Records    int64   `json:"records"`
}

// Loss is what checkpoints take of throughput: runs with and without in turn, over the same input.
type Loss struct {
	Keys     int64 `json:"keys"`
	Records  int64 `json:"records"`
	Interval int64 `json:"checkpoint_interval_ms"`
	Without  []Run `json:"without"`
	With     []Run `json:"with"`
}

// Restore is the start of a worker that has lost its directory, all tasks at once.
type Restore struct {
	Rows      int64   `json:"rows"`
	Bytes     int64   `json:"bytes"`    // of keys and values
	Versions  int64   `json:"versions"` // of each key in the changelog, which is not compacted
	Snapshot  float64 `json:"from_checkpoint_seconds"`
	Changelog float64 `json:"from_changelog_seconds"`
	Records   int64   `json:"changelog_records"`
	Compacted float64 `json:"from_compacted_changelog_seconds"` // with one version of each
}

// Standby is what it takes a worker that follows the state of tasks to be their owner.
type Standby struct {
	Keys      int64     `json:"keys"`
	Takeovers []float64 `json:"takeovers_ms"` // per kill: from the assignment until the last task processes
	Records   []int64   `json:"records"`      // of changelogs that were left to read then
	All       []float64 `json:"all_seconds"`  // per kill: until every partition has a commit again; the session's timeout is in it
}

// Lag is a checkpoint while a worker has a backlog.
type Lag struct {
	Records int64   `json:"records"` // not processed yet when the checkpoint was complete
	Seconds float64 `json:"seconds"`
}

// Read reads a file of results.
func Read(path string) (Results, error) {
	var r Results
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Write writes it.
func (r Results) Write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// Markdown is the table of all that was measured.
func (r Results) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s, Kafka %s on the same machine.\n\n| what | measured |\n|---|---|\n", r.Machine, r.Kafka)
	row := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "| %s | %s |\n", what, fmt.Sprintf(format, args...))
	}
	if k := r.Blocking; k != nil {
		what := fmt.Sprintf("%d checkpoints, one every %d ms at least, %d records/s", k.Checkpoints, k.Interval, k.Rate)
		row(what+": a lane's own work for one", "p50 %.2f ms, p99.9 %.1f ms, most %.1f ms", k.CutWork.P50, k.CutWork.P999, k.CutWork.Max)
		row("a lane stands still at the end of an epoch, with a checkpoint", "p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms", k.Cuts.P50, k.Cuts.P99, k.Cuts.P999)
		row("the same without", "p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms", k.Plain.P50, k.Plain.P99, k.Plain.P999)
	}
	for _, d := range r.Durations {
		row(fmt.Sprintf("snapshot of all state, %s in %d rows", size(d.Bytes), d.Rows), "%.2f s, %s written, %.0f MB/s", d.Seconds, size(d.Written), float64(d.Bytes)/1e6/d.Seconds)
	}
	for _, l := range r.Losses {
		cpu, wall := l.Ratios()
		row(fmt.Sprintf("a checkpoint every %g s, count, %d keys, %d records", float64(l.Interval)/1e3, l.Keys, l.Records),
			"CPU per record %s, records/s %s", change(cpu), change(wall))
	}
	for _, s := range r.Restores {
		row(fmt.Sprintf("lost directory, %s in %d rows, %d versions of each in the changelog", size(s.Bytes), s.Rows, s.Versions),
			"from the checkpoint %.2f s (%.0f MB/s), from the changelog %.2f s: %.1f times; with one version %.2f s: %.1f times",
			s.Snapshot, float64(s.Bytes)/1e6/s.Snapshot, s.Changelog, s.Changelog/s.Snapshot, s.Compacted, s.Compacted/s.Snapshot)
	}
	if s := r.Standby; s != nil && len(s.Takeovers) > 0 {
		row(fmt.Sprintf("a standby takes over, %d keys, %d kills", s.Keys, len(s.Takeovers)), "%.0f-%.0f ms from the assignment, %d changelog records left at most; all partitions after %.1f s at most, session timeout included",
			slices.Min(s.Takeovers), slices.Max(s.Takeovers), slices.Max(s.Records), slices.Max(s.All))
	}
	if l := r.Lag; l != nil {
		row(fmt.Sprintf("checkpoint with a backlog of %.1f M records", float64(l.Records)/1e6), "%.2f s", l.Seconds)
	}
	return b.String()
}

// Ratios are the medians over the pairs of CPU per record and of records per second, with checkpoints to without.
func (l Loss) Ratios() (cpu, wall float64) {
	var cpus, walls []float64
	for i := range min(len(l.With), len(l.Without)) {
		a, b := l.With[i], l.Without[i]
		cpus = append(cpus, a.CPUSeconds/b.CPUSeconds)
		walls = append(walls, b.Seconds/a.Seconds)
	}
	return median(cpus), median(walls)
}

func median(xs []float64) float64 {
	if len(xs) == 0 {
		return 1
	}
	xs = slices.Sorted(slices.Values(xs))
	n := len(xs)
	return (xs[(n-1)/2] + xs[n/2]) / 2
}

func change(ratio float64) string { return fmt.Sprintf("%+.0f %%", (ratio-1)*100) }

func size(bytes int64) string {
	if bytes >= 1e9 {
		return fmt.Sprintf("%.2f GB", float64(bytes)/1e9)
	}
	return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
}
