package checkpoints

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestResults(t *testing.T) {
	r := Results{
		Machine: "2 CPUs", Kafka: "4.3",
		Blocking:  &Blocking{Checkpoints: 1000, Rate: 20000, Interval: 100, CutWork: Quantiles{N: 9, P50: 0.04, P999: 1.25, Max: 2}, Cuts: Quantiles{P50: 4, P99: 9, P999: 21}, Plain: Quantiles{P50: 3, P99: 8, P999: 20}},
		Durations: []Duration{{Rows: 100_000, Bytes: 11e6, Written: 2e6, Seconds: 0.5}, {Rows: 1e7, Bytes: 11e8, Written: 2e8, Seconds: 11}},
		Losses:    []Loss{{Keys: 1000, Records: 8000, Interval: 5000, Without: []Run{{CPUSeconds: 10, Seconds: 4}, {CPUSeconds: 10, Seconds: 5}, {CPUSeconds: 10, Seconds: 4}}, With: []Run{{CPUSeconds: 11, Seconds: 5}, {CPUSeconds: 9, Seconds: 5}, {CPUSeconds: 10.5, Seconds: 4}}}},
		Restores:  []Restore{{Rows: 1e6, Bytes: 11e7, Versions: 10, Snapshot: 0.5, Changelog: 3, Records: 1e7, Compacted: 1}},
		Standby:   &Standby{Keys: 1e6, Takeovers: []float64{8, 14}, Records: []int64{0, 3}, All: []float64{10.5, 11}},
		Lag:       &Lag{Records: 5_100_000, Seconds: 0.4},
	}
	text := r.Markdown()
	for _, want := range []string{
		"| 1000 checkpoints, one every 100 ms at least, 20000 records/s: a lane's own work for one | p50 0.04 ms, p99.9 1.2 ms, most 2.0 ms |",
		"| the same without | p50 3.0 ms, p99 8.0 ms, p99.9 20.0 ms |",
		"| snapshot of all state, 11 MB in 100000 rows | 0.50 s, 2 MB written, 22 MB/s |", "1.10 GB in",
		"| CPU per record +5 %, records/s +0 % |",
		"from the checkpoint 0.50 s (220 MB/s), from the changelog 3.00 s: 6.0 times; with one version 1.00 s: 2.0 times |",
		"8-14 ms from the assignment, 3 changelog records left at most; all partitions after 11.0 s",
		"| checkpoint with a backlog of 5.1 M records | 0.40 s |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	if back, err := Read(path); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("got %+v, %v", back, err)
	}
	if got := (Results{}).Markdown(); !strings.HasSuffix(got, "|---|---|\n") {
		t.Errorf("nothing was measured: %s", got)
	}
}
