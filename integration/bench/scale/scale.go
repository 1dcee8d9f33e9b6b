package scale

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/weir-stream/weir/integration/bench/report"
)

// Scale is one run of all curves. Figures are as measured; table and drawing round them.
type Scale struct {
	Machine string  `json:"machine"` // CPUs and system
	Kafka   string  `json:"kafka"`
	Curves  []Curve `json:"curves"`
}

// Curve is how cost grows with one cause.
type Curve struct {
	Cause    Cause   `json:"cause"`
	Workload string  `json:"workload"`
	Fixed    string  `json:"fixed"` // what stays the same, for the reader
	Points   []Point `json:"points"`
}

// Cause is what varies along a curve.
type Cause string

// The causes, with the unit of [Point.X].
const (
	Keys     Cause = "keys"            // of the input
	Tasks    Cause = "tasks"           // of one worker
	Workers  Cause = "workers"         // of one group
	State    Cause = "state"           // bytes of rows
	Interval Cause = "commit interval" // ms
	Skew     Cause = "one key's share" // of the records, in percent
)

// Point is one size of the cause, all rounds.
type Point struct {
	X       float64 `json:"x"`
	Runs    []Run   `json:"runs"`              // from nothing
	Kept    []Run   `json:"kept,omitempty"`    // starts over the state directory of a run before
	Rebuilt []Run   `json:"rebuilt,omitempty"` // starts without it
}

// Run is one verified run of all workers of a point: sums over them, and the latest of their times since their start.
type Run struct {
	report.Run
	AnonBytes   int64   `json:"anon_bytes"` // highest sum of memory that is not a file's, ten looks a second
	OpenFiles   int64   `json:"open_files"` // likewise
	Ready       float64 `json:"ready_seconds"`
	Restored    float64 `json:"restored_seconds"`
	FirstCommit float64 `json:"first_commit_seconds"`
	Replayed    int64   `json:"replayed_records"`
}

// Read reads a file of curves.
func Read(path string) (Scale, error) {
	var s Scale
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Write writes a file of curves.
func (s Scale) Write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// size is a size of the cause as people say it.
func (c Cause) size(x float64) string {
	switch c {
	case State:
		if x >= 1e9 {
			return strconv.FormatFloat(x/1e9, 'g', 3, 64) + " GB"
		}
		return strconv.FormatFloat(x/1e6, 'g', 3, 64) + " MB"
	case Interval:
		return (time.Duration(x * float64(time.Millisecond))).String()
	case Skew:
		return strconv.FormatFloat(x, 'g', 3, 64) + " %"
	}
	switch {
	case x >= 1e6:
		return strconv.FormatFloat(x/1e6, 'g', 3, 64) + " M"
	case x >= 1e3:
		return strconv.FormatFloat(x/1e3, 'g', 3, 64) + " K"
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// What is shown of a run.
func perCPUSecond(r Run) float64 { return float64(r.Records) / r.CPUSeconds / 1e3 }
func perSecond(r Run) float64    { return float64(r.Records) / r.Seconds / 1e3 }
func brokerCPU(r Run) float64    { return r.BrokerCPU * 1e6 / float64(r.Records) }
func rss(r Run) float64          { return float64(r.MaxRSSBytes) / (1 << 20) }
func anon(r Run) float64         { return float64(r.AnonBytes) / (1 << 20) }
func files(r Run) float64        { return float64(r.OpenFiles) }
func firstCommit(r Run) float64  { return r.FirstCommit }

// median is the figure that is drawn and compared.
func median(runs []Run, value func(Run) float64) float64 {
	return report.FigureOf(runs, value).Median
}

// Put adds a curve, or takes it in the place of one of the same cause and workload.
func (s *Scale) Put(c Curve) {
	i := slices.IndexFunc(s.Curves, func(old Curve) bool { return old.Cause == c.Cause && old.Workload == c.Workload })
	if i < 0 {
		s.Curves = append(s.Curves, c)
		return
	}
	s.Curves[i] = c
}
