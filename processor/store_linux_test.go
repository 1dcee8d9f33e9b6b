package processor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// The place for checkpoints fills up: they are given up with an error that says so and what to
// do, records are processed meanwhile, and the next one completes when there is room again,
// without a restart.
func TestStoreThatFillsUp(t *testing.T) {
	if !withMounts(t) {
		return
	}
	r := newRig(t)
	place := tmpfs(t, "8m")
	w := r.run("one", t.TempDir(), sums(t, same), processor.CheckpointInto(processor.Checkpoints{Dir: place, Interval: -1, Compression: "none"}))
	out := r.reader("out")
	sent := 0
	send := func() {
		t.Helper()
		for range 500 {
			r.cl.Produce(r.ctx, &kgo.Record{Topic: "in", Partition: int32(sent % 2), Key: fmt.Appendf(nil, "key-%d-%s", sent, strings.Repeat("x", 100)), Value: i64(1)}, nil)
			sent++
		}
		if err := r.cl.Flush(r.ctx); err != nil {
			t.Fatal(err)
		}
		out.until(sent)
	}
	cl, err := admin.New("bad", kgo.SeedBrokers(r.c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	take := func() (admin.Checkpoint, error) {
		t.Helper()
		return cl.TriggerCheckpoint(r.ctx, admin.CheckpointOptions{}, nil)
	}
	send()
	before, err := take()
	if err != nil || before.Bytes == 0 {
		t.Fatalf("%+v, %v", before, err)
	}

	var st unix.Statfs_t
	if err := unix.Statfs(place, &st); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(place, "ballast")
	if err := os.WriteFile(ballast, make([]byte, int64(st.Bavail)*st.Bsize-16<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		send()
		_, err = take()
		says(t, err, admin.ErrDeclined, "upload-failed", "no space left on device", place, "make room, or retain fewer checkpoints", "the application goes on")
	}
	status, err := cl.Checkpoints(r.ctx)
	if err != nil || len(status.Kept) != 1 || status.Kept[0].ID != before.ID || status.Declined == nil {
		t.Errorf("%+v, %v", status, err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	send()
	after, err := take()
	if err != nil || after.ID <= status.Declined.ID || after.Bytes <= before.Bytes {
		t.Fatalf("%+v, %v", after, err)
	}
	if _, err := admin.InspectSavepoint(r.ctx, filepath.Join(place, "bad", filepath.FromSlash(after.Manifest)), true); err != nil {
		t.Error(err)
	}
	found, err := filepath.Glob(filepath.Join(place, "bad", "objects", "*"))
	if err = errors.Join(err, w.stop()); err != nil || len(found) == 0 {
		t.Errorf("%v, %v", found, err)
	}
}
