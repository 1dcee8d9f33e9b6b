package eos

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/admin"
)

// cutRecords are the records about cuts in the control topic.
func (r *run) cutRecords() (n int) {
	r.t.Helper()
	topic := offsets.Names{Application: r.tally.App}.Control()
	ends, err := r.cluster.Admin().ListEndOffsets(r.ctx, topic)
	end, ok := ends.Lookup(topic, 0)
	if err != nil || !ok || end.Err != nil {
		r.t.Fatalf("ends of %s: %v, %v", topic, ends, err)
	}
	_, err = changelog.ReadRange(r.ctx, []kgo.Opt{kgo.SeedBrokers(r.cluster.Addrs()...)}, topic, 0, 0, end.Offset, func(key, _ []byte, _ int64) error {
		if strings.HasPrefix(string(key), "cut.") {
			n++
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// The control topic does not grow with the number of checkpoints: the log cleaner takes all but the last word about
// each, and what was dropped and deleted altogether. A worker without a directory begins with what is left.
func TestControlTopicIsCompacted(t *testing.T) {
	r := newRun(t, kafkatest.Shared(t), 1)
	args := []string{"-interval", "20ms", "-retained", "2"}
	a := r.start("a", "", args...)
	r.settled(a)
	topic := offsets.Names{Application: r.tally.App}.Control()
	// Segments are closed by the hour otherwise, and cleaned when half of them is new.
	alter := func(name, value string) kadm.AlterConfig {
		return kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	}
	done, err := r.cluster.Admin().AlterTopicConfigs(r.ctx, []kadm.AlterConfig{
		alter("segment.ms", "100"), alter("min.cleanable.dirty.ratio", "0.01"), alter("delete.retention.ms", "0"),
	}, topic)
	if err != nil || done[0].Err != nil {
		t.Fatal(err, done)
	}
	fed := r.feed(0, records)
	cl := r.admin()
	point, err := cl.TriggerSavepoint(r.ctx, admin.SavepointOptions{ID: "early", Path: filepath.Join(t.TempDir(), "s")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last, left := uint64(0), 0
	for last < 40 || left > int(last)/3 {
		state, err := cl.Checkpoints(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(state.Kept); n > 0 {
			last = state.Kept[n-1].ID
		}
		left = r.cutRecords()
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			t.Fatalf("%d records about %d cuts", left, last)
		}
	}
	t.Logf("%d records about %d cuts", left, last)
	fed()
	r.stop(a)

	again, err := cl.Savepoints(r.ctx)
	if err != nil || len(again) != 1 || again[0].Cut != point.Cut || again[0].State != admin.SavepointCompleted {
		t.Errorf("savepoint %+v, %v", again, err)
	}
	b := r.start("b", "", args...) // it has a directory of its own
	r.printed(b, "task restored", `"base":"checkpoint"`)
	r.load(records, records, true)
	r.check(records)
	r.stop(b)
	r.audit(true)
}
