package report

import (
	"fmt"
	"strings"
)

// lossTable is the part of [Report.Markdown] about what frequent commits cost: weir beside itself. CPU is the figure to look at:
// the last records of a run wait for the end of their interval, which is long beside a run of a few seconds.
func (r Report) lossTable() string {
	var b strings.Builder
	for _, slow := range r.Rows {
		often, ok := r.row(slow.Workload, slow.Keys, Weir)
		if slow.System != WeirSlow || !ok {
			continue
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "\n| weir, commits every %d ms against %d ms | K records per worker CPU-second | loss | K records/s | loss | peak RSS MiB |\n", r.Interval, slow.Interval)
			fmt.Fprintf(&b, "|---|---|---|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| %s, %s | %s | %s | %.0f against %.0f |\n", slow.Workload, keysName(slow.Keys),
			loss(FigureOf(often.Runs, perCPUSecond), FigureOf(slow.Runs, perCPUSecond)),
			loss(FigureOf(often.Runs, perSecond), FigureOf(slow.Runs, perSecond)),
			FigureOf(often.Runs, rss).Max, FigureOf(slow.Runs, rss).Max)
	}
	return b.String()
}

// loss is two cells: both figures, and what part of the second the first lacks.
func loss(often, slow Figure) string {
	return fmt.Sprintf("%s against %s | %.0f %%", thousands(often), thousands(slow), 100*(1-often.Median/slow.Median))
}
