package rescale

import (
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// Writers says who writes a repartition now.
type Writers struct {
	Rename  func(uid string, was offsets.Task) offsets.Task // where there are as many as before
	Resized func(uid string) []offsets.Task                 // all of them, where there are not; else nil
}

// Times makes the watermark vectors of all tasks from which a task gets rows into its own: one
// row each, at least one. No time in it is ahead of what any of them had.
//
//	now      the lowest: no window closes that was open in one of them
//	channel  the lowest that any of them heard of the writer, and idle if it was for all
//
// Where a repartition has other writers than before, each may send what any of the old ones would
// have sent: each gets the lowest of all. So what was on its way, and what is sent from now on, is
// as late as it was at most.
func Times(rows []task.TimeRow, w Writers) task.TimeRow {
	out := task.TimeRow{Now: rows[0].Now}
	for _, row := range rows {
		out.Now = min(out.Now, row.Now)
		for _, in := range row.Inputs {
			if input(out, in) == nil {
				out.Inputs = append(out.Inputs, task.TimeInput{Topic: in.Topic, Internal: in.Internal})
			}
		}
	}
	for i := range out.Inputs {
		in := &out.Inputs[i]
		in.Channels = heard(rows, *in)
		if !in.Internal {
			continue
		}
		now := w.Resized(in.Topic)
		if now == nil {
			for j := range in.Channels {
				in.Channels[j].Writer = w.Rename(in.Topic, in.Channels[j].Writer)
			}
			continue
		}
		low := lowest(in.Channels)
		in.Channels = nil
		for _, t := range now {
			in.Channels = append(in.Channels, task.TimeChannel{Writer: t, Time: low.Time, Idle: low.Idle})
		}
	}
	return out
}

// heard folds what all rows say of an input, writer by writer.
func heard(rows []task.TimeRow, of task.TimeInput) (out []task.TimeChannel) {
	var writers []offsets.Task
	by := map[offsets.Task][]task.TimeChannel{}
	for _, row := range rows {
		if in := input(row, of); in != nil {
			for _, ch := range in.Channels {
				if by[ch.Writer] == nil {
					writers = append(writers, ch.Writer)
				}
				by[ch.Writer] = append(by[ch.Writer], ch)
			}
		}
	}
	for _, t := range writers {
		ch := lowest(by[t])
		if len(by[t]) < len(rows) {
			ch = task.TimeChannel{Time: task.NoTime} // one of them never heard of it
		}
		ch.Writer = t
		out = append(out, ch)
	}
	return out
}

func lowest(all []task.TimeChannel) task.TimeChannel {
	if len(all) == 0 {
		return task.TimeChannel{Time: task.NoTime}
	}
	low := all[0]
	for _, ch := range all {
		low.Time, low.Idle = min(low.Time, ch.Time), low.Idle && ch.Idle
	}
	return low
}

func input(row task.TimeRow, of task.TimeInput) *task.TimeInput {
	for i := range row.Inputs {
		if in := &row.Inputs[i]; in.Topic == of.Topic && in.Internal == of.Internal {
			return in
		}
	}
	return nil
}
