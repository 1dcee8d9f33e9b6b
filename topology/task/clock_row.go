package task

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// The watermark vector is a system row of the first store of a sub-topology with windows:
//
//	key    0x00 'w'
//	value  version u8 = 1 | now i64 | inputs uvarint | input...
//	input  flags u8 (1: repartition) | topic length uvarint | topic | channels uvarint | channel...
//	channel  [sub uvarint | partition uvarint, of a repartition] | flags u8 (1: idle, 2: unheard) | [time - now varint, unless unheard]
//
// Fixed integers are big-endian, uvarint and varint are those of encoding/binary. Inputs
// are found again by topic, so that their order in the plan may change. Loops are left out.
const clockRowVersion = 1

var clockRowKey = []byte{rowSystem, 'w'}

var errClockRow = errors.New("watermark row is damaged")

func (c *clock) appendRow(b []byte) []byte {
	b = append(b, clockRowVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(c.now))
	loops := 0
	for i := range c.inputs {
		if c.inputs[i].loop {
			loops++
		}
	}
	b = binary.AppendUvarint(b, uint64(len(c.inputs)-loops))
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.loop {
			continue
		}
		b = append(b, bit(in.internal, 1))
		b = binary.AppendUvarint(b, uint64(len(in.topic)))
		b = append(b, in.topic...)
		b = binary.AppendUvarint(b, uint64(len(in.channels)))
		for j := range in.channels {
			ch := &in.channels[j]
			if in.internal {
				b = binary.AppendUvarint(b, uint64(ch.producer.Sub))
				b = binary.AppendUvarint(b, uint64(ch.producer.Partition))
			}
			b = append(b, bit(ch.idle, 1)|bit(ch.time == NoTime, 2))
			if ch.time != NoTime {
				b = binary.AppendVarint(b, ch.time-c.now) // wraps around as it must
			}
		}
	}
	return b
}

// rowTime is the time in a row that decodeRow took.
func rowTime(b []byte) int64 { return int64(binary.BigEndian.Uint64(b[1:])) }

// decodeRow takes over a row. Inputs and producers that the plan no longer has are left out;
// if one of them held time back, now is further than the row says.
func (c *clock) decodeRow(b []byte) error {
	r := rowReader{b: b}
	if v := r.byte(); v != clockRowVersion {
		return fmt.Errorf("decode watermark row of version %d, known is %d: %w", v, clockRowVersion, errClockRow)
	}
	now := int64(r.uint64())
	for range r.count() {
		internal := r.byte()&1 != 0
		topic := r.bytes(r.count())
		in := c.inputNamed(string(topic), internal)
		for range r.count() {
			ch := channel{time: NoTime, last: c.processing}
			if internal {
				ch.producer = offsets.Task{Sub: r.index(), Partition: r.index()}
			}
			flags := r.byte()
			ch.idle = flags&1 != 0
			if flags&2 == 0 {
				ch.time = now + r.varint()
			}
			if r.bad {
				break
			}
			if in != nil {
				in.restore(ch)
			}
		}
		if r.bad {
			break
		}
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("decode watermark row %x: %w", b[:min(len(b), 64)], errClockRow)
	}
	c.now, c.dirty = now, false
	c.settle()
	return nil
}

func (c *clock) inputNamed(topic string, internal bool) *clockInput {
	for i := range c.inputs {
		if in := &c.inputs[i]; in.topic == topic && in.internal == internal {
			return in
		}
	}
	return nil
}

func (in *clockInput) restore(ch channel) {
	i := 0
	if in.internal {
		i = in.find(ch.producer)
	}
	switch {
	case i >= 0:
		in.channels[i].time, in.channels[i].idle = ch.time, ch.idle
	case !in.known && !in.loop: // setUpstream comes later, and picks
		in.channels = append(in.channels, ch)
	}
}

func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

// rowReader reads what it can; bad is set by the first thing that is not there.
type rowReader struct {
	b   []byte
	bad bool
}

func (r *rowReader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *rowReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *rowReader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *rowReader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *rowReader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

// count is a number of things that follow, each at least a byte.
func (r *rowReader) count() int {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	if v > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(v)
}

func (r *rowReader) index() int32 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	if v > 1<<31-1 {
		r.bad = true
		return 0
	}
	return int32(v)
}
