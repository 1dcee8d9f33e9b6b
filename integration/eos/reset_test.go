package eos

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
)

// reset is what a worker says of its reset.
func (r *run) reset(p *proc) (out processor.ResetReport, ends map[tally.Partition]int64) {
	r.t.Helper()
	r.printed(p, "reset {")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.out {
		if text, ok := strings.CutPrefix(line, "reset "); ok {
			if err := json.Unmarshal([]byte(text), &out); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	ends = map[tally.Partition]int64{}
	for _, s := range out.Superseded {
		ends[tally.Partition{Topic: s.Topic, Number: s.Partition}] = s.End
	}
	return out, ends
}

// A reset of an application in full flight is killed at a step, on a real Kafka: the worker that comes next ends up on the new
// timeline, reads the input from its beginning with empty state, and all counts are exact.
func TestResetKilledAtEachStep(t *testing.T) {
	for _, point := range []string{"intent", "fence", "topics", "commit", "birth", "done"} {
		t.Run(point, func(t *testing.T) {
			name := "rewind." + point + ":1:KILL" // the steps have the names of a rewind's
			if point == "birth" {
				name = "birth:1:KILL" // the transaction is ready and not ended
			}
			const all = 2_000
			r := newRun(t, kafkatest.Shared(t), 1)
			short := []string{"-transaction", "2s"}
			a := r.start("a", "", short...)
			r.printed(a, "restored")
			r.load(0, all, false)
			anew := append([]string{"-reset", "again", "-stop-workers"}, short...)
			r.killed(r.start("b", name, anew...))
			b := r.start("b", "", anew...)
			report, ends := r.reset(b)
			if report.Done != (point == "done") || report.Timeline < 2 || report.Previous != 1 || len(ends) == 0 {
				t.Errorf("%+v", report)
			}
			<-a.gone
			r.load(all, 2*all, true)
			r.checkRewound(2*all, tally.Outputs{}, ends)
			r.stop(b)
			r.tally.Timeline = report.Timeline
			r.audit(true)
		})
	}
}
