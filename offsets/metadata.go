package offsets

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

const (
	// NoTime is the watermark of a channel that was never heard: minus infinity.
	NoTime = math.MinInt64
	// EndOfTime is the watermark of a channel that is drained: nothing comes after it.
	EndOfTime = math.MaxInt64
	// MetadataLimit is Kafka's default offset.metadata.max.bytes.
	MetadataLimit = 4096
	// MaxStores is a number of stores per task whose metadata fits whatever the values are.
	MaxStores = 256

	metadataVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Metadata is what an epoch commits beside each position of a task. It makes the offset
// commit the witness of the epoch: who reads it knows exactly which epoch is the last one and
// up to where the changelog of each store belongs to it.
type Metadata struct {
	Timeline    uint32
	Epoch, Prev EpochID
	Cut         uint64  // highest cut that the task has taken
	Time        int64   // watermark of the task, ms since 1970
	InputTime   int64   // watermark of this input alone, ms since 1970
	Wall        int64   // wall clock of the commit, ms since 1970; for people, never for decisions
	Ends        []int64 // changelog end of each store of the task, in plan order
}

// Encode gives the metadata string, at most MetadataLimit bytes, else *TooLargeError.
func (m Metadata) Encode() (string, error) {
	b := make([]byte, 0, 64+binary.MaxVarintLen64*len(m.Ends))
	b = append(b, metadataVersion)
	b = binary.AppendUvarint(b, uint64(m.Timeline))
	b = appendEpoch(b, m.Epoch)
	b = appendEpoch(b, m.Prev)
	b = binary.AppendUvarint(b, m.Cut)
	b = binary.AppendVarint(b, m.Time)
	b = binary.AppendVarint(b, m.InputTime)
	b = binary.AppendVarint(b, m.Wall)
	b = binary.AppendUvarint(b, uint64(len(m.Ends)))
	for _, end := range m.Ends {
		b = binary.AppendVarint(b, end)
	}
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if size := base64.StdEncoding.EncodedLen(len(b)); size > MetadataLimit {
		return "", &TooLargeError{Size: size, Limit: MetadataLimit, Stores: len(m.Ends)}
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

func appendEpoch(b []byte, e EpochID) []byte {
	b = binary.AppendUvarint(b, e.Counter)
	b = binary.AppendVarint(b, e.ProducerID)
	return binary.AppendVarint(b, int64(e.ProducerEpoch))
}

// DecodeMetadata reads what Encode gives. Errors wrap ErrCorrupt or ErrVersion.
func DecodeMetadata(s string) (Metadata, error) {
	if len(s) > MetadataLimit {
		return Metadata{}, fmt.Errorf("decode offset metadata: %d bytes are more than %d: %w", len(s), MetadataLimit, ErrCorrupt)
	}
	// Go's decoder skips line ends; a canonical format may not.
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return Metadata{}, fmt.Errorf("decode offset metadata %.40q: not base64: %w", s, ErrCorrupt)
	}
	const shortest = 1 + 4
	if len(b) < shortest {
		return Metadata{}, fmt.Errorf("decode offset metadata %q: too short: %w", s, ErrCorrupt)
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return Metadata{}, fmt.Errorf("decode offset metadata %.40q: checksum %08x, want %08x: %w", s, got, sum, ErrCorrupt)
	}
	if body[0] > metadataVersion {
		return Metadata{}, fmt.Errorf("decode offset metadata of version %d, known is %d: %w", body[0], metadataVersion, ErrVersion)
	}
	r := reader{b: body[1:], bad: body[0] != metadataVersion}
	var m Metadata
	timeline := r.uvarint()
	r.bad = r.bad || timeline > math.MaxUint32
	m.Timeline = uint32(timeline)
	m.Epoch = r.epoch()
	m.Prev = r.epoch()
	m.Cut = r.uvarint()
	m.Time = r.varint()
	m.InputTime = r.varint()
	m.Wall = r.varint()
	// Each end takes at least one byte: a count beyond what is left is damage, not a size.
	if n := r.uvarint(); n > uint64(len(r.b)) {
		r.bad = true
	} else if n > 0 && !r.bad {
		m.Ends = make([]int64, n)
		for i := range m.Ends {
			m.Ends[i] = r.varint()
		}
	}
	if r.bad || len(r.b) != 0 {
		return Metadata{}, fmt.Errorf("decode offset metadata %.40q: fields do not fit: %w", s, ErrCorrupt)
	}
	return m, nil
}

// reader takes fields off b; after the first misfit bad stays set and all values are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	// A last byte of zero would be a longer way to write a shorter number.
	if r.bad || n <= 0 || (n > 1 && r.b[n-1] == 0) {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (r *reader) epoch() EpochID {
	e := EpochID{Counter: r.uvarint(), ProducerID: r.varint()}
	epoch := r.varint()
	if epoch < math.MinInt16 || epoch > math.MaxInt16 {
		r.bad = true
	}
	e.ProducerEpoch = int16(epoch)
	return e
}
