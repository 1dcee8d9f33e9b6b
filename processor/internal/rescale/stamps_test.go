package rescale

import (
	"math/rand/v2"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// What was sent before the cut comes along, under the new timeline, its sender's new name and the cut that all have
// taken. Its time does where the order is as it was, but not the end of time; where it is not, records come without,
// and what was time alone stays behind.
func TestStamps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	seen := map[[4]bool]int{}
	for range 5000 {
		s := Stamps{From: 1 + rnd.Uint32N(3), Cut: 1 + rnd.Uint64N(5), To: 4, Taken: 9, Timeless: rnd.IntN(2) == 0}
		was := offsets.Stamp{
			Kind: []offsets.StampKind{offsets.Data, offsets.Heartbeat, offsets.Idle}[rnd.IntN(3)], Timeline: 1 + rnd.Uint32N(3),
			Task: offsets.Task{Sub: 1, Partition: 2}, Cut: rnd.Uint64N(6), Watermark: []int64{offsets.NoTime, 7, offsets.EndOfTime}[rnd.IntN(3)],
		}
		writer := offsets.Task{Sub: 3, Partition: 2}
		belongs, data := was.Timeline == s.From && was.Cut < s.Cut, was.Kind == offsets.Data
		got, comes := s.Of(was, writer)
		seen[[4]bool{belongs, data, s.Timeless, comes}]++
		if want := belongs && (data || !s.Timeless); comes != want {
			t.Fatalf("%+v: %+v comes along: %t", s, was, comes)
		}
		if !comes {
			continue
		}
		want := offsets.Stamp{Kind: was.Kind, Timeline: 4, Task: writer, Cut: 9, Watermark: was.Watermark}
		if s.Timeless || was.Watermark == offsets.EndOfTime {
			want.Watermark = offsets.NoTime
		}
		if got != want {
			t.Fatalf("%+v: %+v becomes %+v, want %+v", s, was, got, want)
		}
	}
	if len(seen) != 8 {
		t.Errorf("only %v were tried", seen)
	}
}
