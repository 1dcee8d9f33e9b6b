package eos

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

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
	n := r.feedUntil(func() bool { return b.count("standby ready") == 4 && a.count("standby ready") == 4 })
	r.load(n, n+records, false)
	at := b.lines()
	a.signal(syscall.SIGKILL)
	<-a.gone
	r.load(n+records, n+2*records, true)
	r.check(n + 2*records)
	restored := map[string]int{}
	for _, line := range b.since(at) {
		var said struct {
			Message, Task, Base string
			Records             int64
			Took                float64 `json:"took_ms"`
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil || said.Message != "task restored" || said.Base == "none" {
			continue
		}
		restored[said.Base]++
		t.Logf("task %s: %s, %d records, %.1f ms", said.Task, said.Base, said.Records, said.Took)
	}
	if restored["standby"] == 0 || len(restored) != 1 {
		t.Errorf("restored from %v\n%s", restored, strings.Join(b.since(at), "\n"))
	}
	r.stop(b)
	r.audit(true)
}
