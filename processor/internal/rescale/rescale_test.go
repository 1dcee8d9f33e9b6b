package rescale

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// From any number of partitions to any other a row goes where Emit sends records of its key, and what
// does not lie where its key belongs is not moved at all.
func TestShard(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		s := Shard{Was: 1 + rnd.Int32N(9), Is: 1 + rnd.Int32N(9), Window: rnd.IntN(2) == 0}
		key := fmt.Appendf(nil, "key-%d", rnd.IntN(1000))
		placed := key
		if rnd.IntN(2) == 0 {
			s.Place = func(k []byte) []byte { return k[:len(k)-1] }
			placed = key[:len(key)-1]
		}
		row := task.AppendKeyedRow(nil, key)
		if s.Window {
			row = task.AppendWindowRow(nil, rnd.Int64(), key)
		}
		was := offsets.Partition(placed, s.Was)
		if got, err := s.Row(row, was); err != nil || got != offsets.Partition(placed, s.Is) {
			t.Fatalf("%+v: row %q of %d goes to %d, %v", s, row, was, got, err)
		}
		if got, err := s.Key(key, was); err != nil || got != offsets.Partition(placed, s.Is) {
			t.Fatalf("%+v: record %q of %d goes to %d, %v", s, key, was, got, err)
		}
		if _, err := s.Row(row, (was+1)%s.Was); s.Was > 1 && !errors.Is(err, ErrMisplaced) {
			t.Fatalf("%+v: row %q was not in %d: %v", s, row, was, err)
		}
		if _, err := s.Row(task.TimeRowKey(), was); !errors.Is(err, ErrNoKey) {
			t.Fatalf("a row of the task has a key: %v", err)
		}
		if _, err := s.Key(nil, was); !errors.Is(err, ErrNoKey) {
			t.Fatalf("null is a key: %v", err)
		}
	}
}

// No time of a merged row is ahead of what any of the rows had, it is the latest of which that is
// true, and a writer is idle only if it was for all of them.
func TestTimes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		writers, resized := 1+rnd.Int32N(4), rnd.IntN(2) == 0
		var rows []task.TimeRow
		low := make([]task.TimeChannel, writers) // by writer, over all rows
		for i := range low {
			low[i] = task.TimeChannel{Time: 1 << 40, Idle: true}
		}
		now := int64(1 << 40)
		for range 1 + rnd.IntN(7) {
			row := task.TimeRow{Now: rnd.Int64N(100)}
			now = min(now, row.Now)
			in := task.TimeInput{Topic: "hop", Internal: true}
			for w := range writers {
				ch := task.TimeChannel{Writer: offsets.Task{Sub: 1, Partition: w}, Time: rnd.Int64N(100), Idle: rnd.IntN(4) > 0}
				switch rnd.IntN(12) {
				case 0:
					ch.Time, ch.Idle = task.NoTime, false
					in.Channels = append(in.Channels, ch)
				case 1:
					ch.Time, ch.Idle = task.NoTime, false // and not even known
				default:
					in.Channels = append(in.Channels, ch)
				}
				low[w].Time, low[w].Idle = min(low[w].Time, ch.Time), low[w].Idle && ch.Idle
			}
			row.Inputs = []task.TimeInput{in}
			rows = append(rows, row)
		}
		of := Writers{
			Rename:  func(_ string, was offsets.Task) offsets.Task { return offsets.Task{Sub: 4, Partition: was.Partition} },
			Resized: func(string) []offsets.Task { return nil },
		}
		if resized {
			of.Resized = func(string) []offsets.Task { return []offsets.Task{{Sub: 4}, {Sub: 4, Partition: 1}} }
		}
		got := Times(rows, of)
		if got.Now != now || len(got.Inputs) != 1 {
			t.Fatalf("of %+v came %+v", rows, got)
		}
		all := task.TimeChannel{Time: 1 << 40, Idle: true} // over all writers that somebody knew
		known := map[int32]bool{}
		for _, row := range rows {
			for _, ch := range row.Inputs[0].Channels {
				known[ch.Writer.Partition] = true
			}
		}
		for w := range known {
			all.Time, all.Idle = min(all.Time, low[w].Time), all.Idle && low[w].Idle
		}
		if len(known) == 0 {
			all = task.TimeChannel{Time: task.NoTime}
		}
		if want := map[bool]int{true: 2, false: len(known)}[resized]; len(got.Inputs[0].Channels) != want {
			t.Fatalf("of %+v came %+v, want %d channels", rows, got, want)
		}
		for _, ch := range got.Inputs[0].Channels {
			want := all
			if !resized {
				want = low[ch.Writer.Partition]
			}
			if ch.Time != want.Time || ch.Idle != want.Idle || ch.Writer.Sub != 4 {
				t.Fatalf("of %+v came %+v, want %+v", rows, ch, want)
			}
		}
	}
}
