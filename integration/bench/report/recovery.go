package report

import (
	"fmt"
	"slices"
	"strings"
)

// Recovery is what kills cost one system: a worker that counts has just worked off a backlog of Records, is killed with
// SIGKILL while input goes on at Rate, and is started again.
type Recovery struct {
	System   string    `json:"system"`            // one of [Systems]
	Setting  string    `json:"setting,omitempty"` // what it has beside the defaults
	Keys     int64     `json:"keys"`
	Records  int64     `json:"records"`
	Rate     int64     `json:"records_per_second"`
	Restarts []Restart `json:"restarts"`
}

// Restart is one start after a kill, as seen by somebody who looks at the committed positions of the input.
type Restart struct {
	Directory      bool    `json:"state_directory"`   // it was there
	First          float64 `json:"first_commit_s"`    // from the start of the process to the first new position
	All            float64 `json:"all_partitions_s"`  // to a new position of each partition
	Restored       int64   `json:"changelog_records"` // that were read, as the system tells
	RestoreSeconds float64 `json:"restore_s"`         // from the first to the last, waiting for transactions of the dead included
}

func first(r Restart) float64    { return r.First }
func all(r Restart) float64      { return r.All }
func restored(r Restart) float64 { return float64(r.Restored) }

// restoreRate is 0 where so few were read that opening the store is all there is to see.
func restoreRate(r Restart) float64 {
	if r.Restored < 100_000 || r.RestoreSeconds <= 0 {
		return 0
	}
	return float64(r.Restored) / r.RestoreSeconds
}

func (r Recovery) name() string {
	if r.Setting == "" {
		return r.System
	}
	return r.System + ", " + r.Setting
}

// restarts are those that found the directory, or those that did not.
func (r Recovery) restarts(directory bool) []Restart {
	return slices.DeleteFunc(slices.Clone(r.Restarts), func(s Restart) bool { return s.Directory != directory })
}

// ours is weir with the same setting or, where weir was not measured with it, with its defaults.
func (r Report) ours(setting string) (found Recovery, ok bool) {
	for _, rec := range r.Recovery {
		if rec.System == Weir && (rec.Setting == setting || rec.Setting == "" && !ok) {
			found, ok = rec, true
		}
	}
	return found, ok
}

// recoveryTable is the part of [Report.Markdown] about kills.
func (r Report) recoveryTable() string {
	if len(r.Recovery) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n| count, killed and started again | system | first new commit, s | all partitions, s | K changelog records read | M/s | weir is ahead by |\n")
	fmt.Fprintf(&b, "|---|---|---|---|---|---|---|\n")
	for _, directory := range []bool{true, false} {
		for _, rec := range r.Recovery {
			runs := rec.restarts(directory)
			if len(runs) == 0 {
				continue
			}
			begins := "state directory lost"
			if directory {
				begins = "state directory kept"
			}
			rate, ahead := "", ""
			if f := FigureOf(runs, restoreRate); f.Min > 0 {
				rate = fmt.Sprintf("%.2f", f.Median/1e6)
			}
			if ours, ok := r.ours(rec.Setting); ok && rec.System != Weir {
				ahead = fmt.Sprintf("%.1f", FigureOf(runs, first).Median/FigureOf(ours.restarts(directory), first).Median)
			}
			fmt.Fprintf(&b, "| %s, %s | %s | %s | %s | %.0f | %s | %s |\n", keysName(rec.Keys), begins, rec.name(),
				seconds(FigureOf(runs, first)), seconds(FigureOf(runs, all)), FigureOf(runs, restored).Median/1e3, rate, ahead)
		}
	}
	return b.String()
}

func seconds(f Figure) string { return fmt.Sprintf("%.1f (%.1f-%.1f)", f.Median, f.Min, f.Max) }
