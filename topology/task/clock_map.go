package task

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// Reborn is a time for another life of a task: what is drained in this one has not ended there.
func Reborn(time int64) int64 {
	if time == EndOfTime {
		return NoTime
	}
	return time
}

// IsTimeRow says whether the row is the watermark vector of a task.
func IsTimeRow(row []byte) bool { return bytes.Equal(row, clockRowKey) }

// TimeRowKey is the key of that row.
func TimeRowKey() []byte { return bytes.Clone(clockRowKey) }

// TimeRow is a watermark vector outside of its task, to be changed for another plan or for
// another number of tasks.
type TimeRow struct {
	Now    int64
	Inputs []TimeInput
}

// TimeInput is what was heard of an input.
type TimeInput struct {
	Topic    string // the uid, when Internal
	Internal bool
	Channels []TimeChannel
}

// TimeChannel is what was heard of a source, or of a task that writes a repartition.
type TimeChannel struct {
	Writer offsets.Task // of a repartition
	Time   int64        // NoTime: never heard
	Idle   bool
}

// ParseTimeRow reads the value of the row.
func ParseTimeRow(value []byte) (TimeRow, error) {
	r := rowReader{b: value}
	if v := r.byte(); v != clockRowVersion {
		return TimeRow{}, fmt.Errorf("watermark row of version %d, known is %d: %w", v, clockRowVersion, errClockRow)
	}
	row := TimeRow{Now: int64(r.uint64())}
	for range r.count() {
		in := TimeInput{Internal: r.byte()&1 != 0, Topic: string(r.bytes(r.count()))}
		for range r.count() {
			ch := TimeChannel{Time: NoTime}
			if in.Internal {
				ch.Writer = offsets.Task{Sub: r.index(), Partition: r.index()}
			}
			flags := r.byte()
			ch.Idle = flags&1 != 0
			if flags&2 == 0 {
				ch.Time = row.Now + r.varint()
			}
			if r.bad {
				break
			}
			in.Channels = append(in.Channels, ch)
		}
		if r.bad {
			break
		}
		row.Inputs = append(row.Inputs, in)
	}
	if r.bad || len(r.b) > 0 {
		return TimeRow{}, fmt.Errorf("watermark row %x: %w", value[:min(len(value), 64)], errClockRow)
	}
	return row, nil
}

// Reborn lets time that has ended begin anew: see Reborn.
func (row TimeRow) Reborn() TimeRow {
	row.Now = Reborn(row.Now)
	for i := range row.Inputs {
		for j := range row.Inputs[i].Channels {
			ch := &row.Inputs[i].Channels[j]
			ch.Time = Reborn(ch.Time)
		}
	}
	return row
}

// Append writes the value of the row.
func (row TimeRow) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, clockRowVersion), uint64(row.Now))
	b = binary.AppendUvarint(b, uint64(len(row.Inputs)))
	for _, in := range row.Inputs {
		b = append(b, bit(in.Internal, 1))
		b = binary.AppendUvarint(b, uint64(len(in.Topic)))
		b = append(b, in.Topic...)
		b = binary.AppendUvarint(b, uint64(len(in.Channels)))
		for _, ch := range in.Channels {
			if in.Internal {
				b = binary.AppendUvarint(b, uint64(ch.Writer.Sub))
				b = binary.AppendUvarint(b, uint64(ch.Writer.Partition))
			}
			b = append(b, bit(ch.Idle, 1)|bit(ch.Time == NoTime, 2))
			if ch.Time != NoTime {
				b = binary.AppendVarint(b, ch.Time-row.Now) // wraps around as it must
			}
		}
	}
	return b
}
