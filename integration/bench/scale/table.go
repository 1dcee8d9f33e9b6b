package scale

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/weir-stream/weir/integration/bench/report"
)

// A price is what a unit of the cause costs on top of the point that others are compared with.
type price struct {
	title string
	of    func(base, p Point) float64
}

// rise is how much a figure rises from base to p, per unit of what the cause is counted in.
func rise(runs func(Point) []Run, value func(Run) float64, unit float64) func(base, p Point) float64 {
	return func(base, p Point) float64 {
		return (median(runs(p), value) - median(runs(base), value)) / (p.X - base.X) * unit
	}
}

func fresh(p Point) []Run   { return p.Runs }
func kept(p Point) []Run    { return p.Kept }
func rebuilt(p Point) []Run { return p.Rebuilt }

const mib = 1 << 20

// prices per cause, against its first point. A shorter commit interval has none: what its commits cost is saved by the memory
// that its epochs do not fill.
var prices = map[Cause][]price{
	Keys:    {{"bytes of RSS per key", rise(fresh, rss, mib)}},
	Tasks:   {{"KiB of RSS per task", rise(fresh, rss, 1024)}, {"files per task", rise(fresh, files, 1)}, {"ms of start per task", rise(fresh, firstCommit, 1000)}},
	Workers: {{"MiB of RSS per worker", rise(fresh, rss, 1)}},
	State: {{"anonymous MiB per GB", rise(fresh, anon, 1e9)}, {"s to open per GB", rise(kept, firstCommit, 1e9)},
		{"s to rebuild per GB", rise(rebuilt, firstCommit, 1e9)}},
}

func (c Curve) title() string { return fmt.Sprintf("%s: workload %s", c.Cause, c.Workload) }

// Markdown is a table per curve: medians, with the smallest and the largest of the rounds in brackets where there is more
// than one.
func (s Scale) Markdown() string {
	var b strings.Builder
	for i, c := range s.Curves {
		if i > 0 {
			b.WriteByte('\n')
		}
		c.markdown(&b)
	}
	return b.String()
}

// Marks of a page: what is between them is measured.
const (
	pageBegin = "<!-- measured -->\n"
	pageEnd   = "<!-- end of what was measured -->\n"
)

// Page puts the tables between the marks of a page, in place of what is there.
func (s Scale) Page(page string) (string, error) {
	before, rest, ok := strings.Cut(page, pageBegin)
	_, after, ok2 := strings.Cut(rest, pageEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("the page has no lines %q and %q", strings.TrimSpace(pageBegin), strings.TrimSpace(pageEnd))
	}
	return before + pageBegin + "\n" + s.Markdown() + "\n" + pageEnd + after, nil
}

func (c Curve) markdown(b *strings.Builder) {
	heads := []string{string(c.Cause), "K records per CPU-second", "K records/s", "broker CPU µs per record", "peak RSS MiB", "of it anonymous", "open files", "s to first commit"}
	restarts := c.Cause == State
	if restarts {
		heads = append(heads, "s with its directory", "s without", "peak RSS MiB with", "without")
	}
	for _, p := range prices[c.Cause] {
		heads = append(heads, p.title)
	}
	fmt.Fprintf(b, "**%s**, %s\n\n| %s |\n|%s\n", c.title(), c.Fixed, strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for i, p := range c.Points {
		cells := []string{
			c.Cause.size(p.X), spread(p.Runs, perCPUSecond, 0), spread(p.Runs, perSecond, 0), spread(p.Runs, brokerCPU, 1), spread(p.Runs, rss, 0), spread(p.Runs, anon, 0),
			fmt.Sprintf("%.0f", median(p.Runs, files)), spread(p.Runs, firstCommit, 1),
		}
		if restarts {
			cells = append(cells, spread(p.Kept, firstCommit, 1), spread(p.Rebuilt, firstCommit, 1), spread(p.Kept, rss, 0), spread(p.Rebuilt, rss, 0))
		}
		for _, price := range prices[c.Cause] {
			cell := ""
			if i > 0 {
				cell = number(price.of(c.Points[0], p))
			}
			cells = append(cells, cell)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

// number has three digits, or all before the point.
func number(x float64) string {
	digits := 0
	for size := math.Abs(x); size > 0 && size < 100 && digits < 3; size *= 10 {
		digits++
	}
	return strconv.FormatFloat(x, 'f', digits, 64)
}

func spread(runs []Run, value func(Run) float64, digits int) string {
	f := report.FigureOf(runs, value)
	if len(runs) < 2 {
		return fmt.Sprintf("%.*f", digits, f.Median)
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, f.Median, digits, f.Min, digits, f.Max)
}
