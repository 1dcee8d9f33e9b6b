package task

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// IsTimeRow says whether the row is the watermark vector of a task.
func IsTimeRow(row []byte) bool { return bytes.Equal(row, clockRowKey) }

// MapTimeRow gives the value of a watermark row for a plan that has other numbers for its
// sub-topologies: rename is told the uid of a repartition and a task that writes it.
func MapTimeRow(value []byte, rename func(uid string, writer offsets.Task) offsets.Task) ([]byte, error) {
	r := rowReader{b: value}
	if v := r.byte(); v != clockRowVersion {
		return nil, fmt.Errorf("watermark row of version %d, known is %d: %w", v, clockRowVersion, errClockRow)
	}
	out := binary.BigEndian.AppendUint64([]byte{clockRowVersion}, r.uint64())
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
			channel := r.byte()
			out = append(out, channel)
			if channel&2 == 0 {
				out = binary.AppendVarint(out, r.varint())
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
