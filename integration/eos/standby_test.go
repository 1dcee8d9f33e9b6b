package eos

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/integration/kafkatest"
)

// A worker dies in mid-work. The other one has followed the state of its tasks, and has only the
// last records to read.
func TestStandbyTakesOver(t *testing.T) {
	r := newRun(t, kafkatest.Shared(t), 1)
	opts := []string{"-standbys", "1", "-lanes", "1", "-session", "3s"}
	a, b := r.start("a", "", opts...), r.start("b", "", opts...)
	r.printed(a, `"partitions":{"`)
	r.printed(b, `"partitions":{"`)
	n := r.feedUntil(func() bool { return b.count("standby ready") >= 4 && a.count("standby ready") >= 4 })
	r.load(n, n+records, false)
	at := b.lines()
	a.signal(syscall.SIGKILL)
	<-a.gone
	r.load(n+records, n+2*records, true)
	r.check(n + 2*records)
	restored := b.bases(at)
	t.Logf("%v", restored)
	if restored["standby"] == 0 || len(restored) != 1 {
		t.Errorf("restored from %v\n%s", restored, strings.Join(b.since(at), "\n"))
	}
	r.stop(b)
	r.audit(true)
}

// bases counts the restores of tasks with state since a line by what they began with.
func (p *proc) bases(line int) map[string]int {
	restored := map[string]int{}
	for _, line := range p.since(line) {
		var said struct{ Message, Base string }
		if err := json.Unmarshal([]byte(line), &said); err == nil && said.Message == "task restored" && said.Base != "none" {
			restored[said.Base]++
		}
	}
	return restored
}

// A worker joins one that has everything. What moves to it does so when it has a copy of the state; until then the
// other one goes on with it.
func TestMoveWaitsForACopy(t *testing.T) {
	r := newRun(t, kafkatest.Shared(t), 1)
	opts := []string{"-standbys", "1", "-lanes", "1"}
	a := r.start("a", "", opts...)
	r.printed(a, "task restored")
	r.load(0, records, false)
	fed := r.feed(records, 2*records)
	b := r.start("b", "", opts...)
	for b.bases(0)["standby"] < 2 && r.pass(20*time.Millisecond) {
	}
	fed()
	r.load(2*records, 2*records, true)
	r.check(2 * records)
	if got := b.bases(0); got["standby"] < 2 || len(got) != 1 {
		t.Errorf("restored from %v", got)
	}
	r.stop(a)
	r.stop(b)
	r.audit(true)
}
