package rescale

import (
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// Stamps says what becomes of records in flight when a timeline begins with what was on its way at a cut.
type Stamps struct {
	From     uint32 // timeline of the cut
	Cut      uint64 // what was sent behind it does not belong to it
	To       uint32 // timeline that begins
	Taken    uint64 // the cut that all tasks have taken when it begins
	Timeless bool   // the order of the records is not that of their senders' time any more
}

// Of gives the stamp of a record that writer, as its sender is called now, has sent; false: it is left behind. Without an
// order in time no stamp says anything of it: the first record with a late one would make those behind it late. What
// says nothing else is left behind then, as whoever writes says it again, to all partitions.
func (s Stamps) Of(was offsets.Stamp, writer offsets.Task) (offsets.Stamp, bool) {
	if was.Timeline != s.From || was.Cut >= s.Cut || s.Timeless && was.Kind != offsets.Data {
		return offsets.Stamp{}, false
	}
	is := offsets.Stamp{Kind: was.Kind, Timeline: s.To, Task: writer, Cut: s.Taken, Watermark: task.Reborn(was.Watermark)}
	if s.Timeless {
		is.Watermark = offsets.NoTime
	}
	return is, true
}
