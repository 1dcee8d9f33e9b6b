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

// MapTimeRow gives the value of a watermark row for a plan that has other numbers for its
// sub-topologies: rename is told the uid of a repartition and a task that writes it. Time that
// has ended begins anew: see Reborn.
func MapTimeRow(value []byte, rename func(uid string, writer offsets.Task) offsets.Task) ([]byte, error) {
	r := rowReader{b: value}
	if v := r.byte(); v != clockRowVersion {
		return nil, fmt.Errorf("watermark row of version %d, known is %d: %w", v, clockRowVersion, errClockRow)
	}
	was := int64(r.uint64())
	now := Reborn(was)
	out := binary.BigEndian.AppendUint64([]byte{clockRowVersion}, uint64(now))
	inputs := r.count()
	out = binary.AppendUvarint(out, uint64(inputs))
	for range inputs {
		flags := r.byte()
		uid := r.bytes(r.count())
		channels := r.count()
		out = append(out, flags)
		out = binary.AppendUvarint(out, uint64(len(uid)))
		out = append(out, uid...)
		out = binary.AppendUvarint(out, uint64(channels))
		for range channels {
			if flags&1 != 0 {
				t := rename(string(uid), offsets.Task{Sub: r.index(), Partition: r.index()})
				out = binary.AppendUvarint(out, uint64(t.Sub))
				out = binary.AppendUvarint(out, uint64(t.Partition))
			}
			channel, time := r.byte(), int64(NoTime)
			if channel&2 == 0 {
				time = Reborn(was + r.varint())
			}
			if out = append(out, channel|bit(time == NoTime, 2)); time != NoTime {
				out = binary.AppendVarint(out, time-now)
			}
			if r.bad {
				break
			}
		}
		if r.bad {
			break
		}
	}
	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("watermark row %x: %w", value[:min(len(value), 64)], errClockRow)
	}
	return out, nil
}
