package eos

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor/admin"
)

// On a real Kafka an application with 3 internal partitions goes to 7 and to 2, each time back to a savepoint that was
// taken while records flowed, with open windows: counts are exact, the windows' too.
func TestRescale(t *testing.T) {
	const all = 50_000
	r := newRun(t, kafkatest.Shared(t), 1)
	r.patience(3 * time.Minute)
	r.tally.Keys, r.tally.Groups = 1000, 50
	short := []string{"-transaction", "2s"}
	p := r.start("a", "", short...)
	var ends map[tally.Partition]int64
	for i, n := range []int{7, 2} {
		from := i * all * 2 / 5
		fed := r.feed(from, from+all*2/5)
		r.settled(p)
		path := filepath.Join(t.TempDir(), "savepoint")
		s, err := r.admin().TriggerSavepoint(r.ctx, admin.SavepointOptions{Path: path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		fed()
		old := p
		p = r.start([]string{"b", "c"}[i], "", append([]string{"-from", path, "-stop-workers", "-internal", []string{"7", "2"}[i]}, short...)...)
		var report rewound
		report, ends = r.rewound(p)
		<-old.gone
		if report.DoneBefore || report.Rows == 0 || s.Timeline >= report.Timeline {
			t.Fatalf("%+v from %+v", report, s)
		}
		if err := r.tally.Rescaled(r.ctx, path, int32(n), report.Timeline); err != nil {
			t.Fatal(err)
		}
	}
	r.load(all*4/5, all, true)
	r.checkRewound(all, tally.Outputs{}, ends)
	r.stop(p)
	r.audit(true)
}
