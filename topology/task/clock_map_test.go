package task

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// Under other numbers of its writers a row is what it was under the old ones.
func TestMapTimeRow(t *testing.T) {
	rows := map[int32][]byte{}
	for _, sub := range []int32{1, 4} {
		c := newClock(mixed(), false)
		c.setUpstream(1, []offsets.Task{{Sub: sub}, {Sub: sub, Partition: 1}})
		c.record(0, 100)
		c.stamp(1, offsets.Task{Sub: sub}, 80, offsets.Data)
		rows[sub] = c.appendRow(nil)
	}
	rename := func(uid string, w offsets.Task) offsets.Task {
		if uid != "hop" || w.Sub != 1 {
			t.Errorf("asked for %s of %s", w, uid)
		}
		return offsets.Task{Sub: 4, Partition: w.Partition}
	}
	if got, err := MapTimeRow(rows[1], rename); err != nil || !bytes.Equal(got, rows[4]) {
		t.Errorf("%x, %v, want %x", got, err, rows[4])
	}
	for n := range len(rows[1]) {
		if _, err := MapTimeRow(rows[1][:n], func(_ string, w offsets.Task) offsets.Task { return w }); !errors.Is(err, errClockRow) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	if !IsTimeRow(clockRowKey) || IsTimeRow(AppendKeyedRow(nil, []byte("w"))) {
		t.Error("which row is the watermarks' is mixed up")
	}
}
