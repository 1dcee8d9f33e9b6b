package task

import (
	"bytes"
	"errors"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// A row that was taken apart, given other numbers for its writers and put together again is what it
// would have been under those numbers.
func TestTimeRow(t *testing.T) {
	rows := map[int32][]byte{}
	for _, sub := range []int32{1, 4} {
		c := newClock(mixed(), false)
		c.setUpstream(1, []offsets.Task{{Sub: sub}, {Sub: sub, Partition: 1}})
		c.record(0, 100)
		c.stamp(1, offsets.Task{Sub: sub}, 80, offsets.Idle)
		rows[sub] = c.appendRow(nil)
	}
	row, err := ParseTimeRow(rows[1])
	if err != nil {
		t.Fatal(err)
	}
	if len(row.Inputs) != 2 || row.Inputs[0].Internal || row.Inputs[0].Channels[0].Time != 95 || !row.Inputs[1].Channels[0].Idle ||
		row.Inputs[1].Channels[0].Time != 80 || row.Inputs[1].Channels[1].Time != NoTime {
		t.Errorf("taken apart it is %+v", row)
	}
	for i := range row.Inputs[1].Channels {
		row.Inputs[1].Channels[i].Writer.Sub = 4
	}
	if got := row.Append(nil); !bytes.Equal(got, rows[4]) {
		t.Errorf("%x, want %x", got, rows[4])
	}
	for n := range len(rows[1]) {
		if _, err := ParseTimeRow(rows[1][:n]); !errors.Is(err, errClockRow) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	if !IsTimeRow(TimeRowKey()) || IsTimeRow(AppendKeyedRow(nil, []byte("w"))) {
		t.Error("which row is the watermarks' is mixed up")
	}
}
