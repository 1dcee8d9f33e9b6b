package offsets

import (
	"encoding/binary"
	"fmt"
)

// StampHeader is the key of the record header that carries a Stamp.
const StampHeader = "weir"

// StampKind says what a record of a repartition topic is.
type StampKind uint8

const (
	Data      StampKind = iota // a record with the producer's time
	Heartbeat                  // no record: only the producer's time
	Idle                       // no record: do not wait for this producer until it is heard again
)

func (k StampKind) String() string {
	switch k {
	case Data:
		return "data"
	case Heartbeat:
		return "heartbeat"
	case Idle:
		return "idle"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

const (
	stampVersion = 1
	stampSize    = 1 + 1 + 4 + 4 + 4 + 8 + 8
)

// Stamp is the header of each record in a repartition topic: who sent it, on which side of
// which cut, and how far the sender's time was.
type Stamp struct {
	Kind      StampKind
	Timeline  uint32
	Task      Task   // the producer
	Cut       uint64 // highest cut that the producer had taken and committed
	Watermark int64  // of the producer, ms since 1970, or NoTime
}

// Append adds the stamp's bytes to dst.
func (s Stamp) Append(dst []byte) []byte {
	dst = append(dst, stampVersion, byte(s.Kind))
	dst = binary.BigEndian.AppendUint32(dst, s.Timeline)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Task.Sub))
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Task.Partition))
	dst = binary.BigEndian.AppendUint64(dst, s.Cut)
	return binary.BigEndian.AppendUint64(dst, uint64(s.Watermark))
}

// DecodeStamp reads what Append gives. Errors wrap ErrCorrupt or ErrVersion. It does not
// allocate when the stamp is good.
func DecodeStamp(b []byte) (Stamp, error) {
	if len(b) > 0 && b[0] > stampVersion {
		return Stamp{}, fmt.Errorf("decode stamp of version %d, known is %d: %w", b[0], stampVersion, ErrVersion)
	}
	if len(b) != stampSize || b[0] != stampVersion || StampKind(b[1]) > Idle {
		return Stamp{}, fmt.Errorf("decode stamp %x: want %d bytes of version %d: %w", b[:min(len(b), 2*stampSize)], stampSize, stampVersion, ErrCorrupt)
	}
	s := Stamp{
		Kind:     StampKind(b[1]),
		Timeline: binary.BigEndian.Uint32(b[2:]),
		Task: Task{
			Sub:       int32(binary.BigEndian.Uint32(b[6:])),
			Partition: int32(binary.BigEndian.Uint32(b[10:])),
		},
		Cut:       binary.BigEndian.Uint64(b[14:]),
		Watermark: int64(binary.BigEndian.Uint64(b[22:])),
	}
	if s.Task.Sub < 0 || s.Task.Partition < 0 {
		return Stamp{}, fmt.Errorf("decode stamp %x: negative task: %w", b, ErrCorrupt)
	}
	return s, nil
}
