package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/weir-stream/weir/offsets"
)

// Keys in Badger. FORMAT.md, section "State directory", has examples; format_test.go
// holds the two together.
//
//	incarnation(4)  row key                        a row of a store; incarnation >= 1
//	0(4) 's' timeline(4) sub(4) partition(4) uid   registry: which incarnation a store has
//	0(4) 'm' incarnation(4)                        marker
//	0(4) 'r' incarnation(4)                        reach: no row is newer than this changelog end
//	0(4) 'd' incarnation(4)                        its rows are being deleted
//	0(4) 'n'                                       highest incarnation ever given out
//	0(4) 'z'                                       anchor, see openBadger
//
// All numbers are big-endian. An incarnation is one life of a store's rows: to wipe a
// store is to give it the next one.
type incarnation uint32

const (
	rowStore  = 's'
	rowMarker = 'm'
	rowReach  = 'r'
	rowDead   = 'd'
	rowNext   = 'n'
	rowAnchor = 'z'

	prefixLen = 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("damaged row")
)

func (i incarnation) prefix() []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

func systemKey(kind byte, i incarnation) []byte {
	return binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, kind}, uint32(i))
}

func nextKey() []byte { return []byte{0, 0, 0, 0, rowNext} }

func storeKey(id StoreID) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0, rowStore}, id.Timeline)
	b = binary.BigEndian.AppendUint32(b, uint32(id.Task.Sub))
	b = binary.BigEndian.AppendUint32(b, uint32(id.Task.Partition))
	return append(b, id.UID...)
}

func decodeStoreKey(b []byte) (id StoreID, err error) {
	if len(b) < 17 || b[4] != rowStore {
		return id, fmt.Errorf("registry key %x: %w", b, errDamaged)
	}
	id.Timeline = binary.BigEndian.Uint32(b[5:])
	id.Task.Sub = int32(binary.BigEndian.Uint32(b[9:]))
	id.Task.Partition = int32(binary.BigEndian.Uint32(b[13:]))
	id.UID = string(b[17:])
	return id, nil
}

// sealed appends the CRC-32C of b, and opened takes it off again.
func sealed(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func opened(b []byte) ([]byte, error) {
	n := len(b) - 4
	if n < 0 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, errDamaged
	}
	return b[:n], nil
}

// Registry value and the two numbers: incarnation(4) crc(4), end(8) crc(4).
func encodeUint32(n uint32) []byte { return sealed(binary.BigEndian.AppendUint32(nil, n)) }

func decodeUint32(b []byte) (uint32, error) {
	b, err := opened(b)
	if err != nil || len(b) != 4 {
		return 0, errDamaged
	}
	return binary.BigEndian.Uint32(b), nil
}

func encodeEnd(n int64) []byte { return sealed(binary.BigEndian.AppendUint64(nil, uint64(n))) }

func decodeEnd(b []byte) (int64, error) {
	b, err := opened(b)
	if err != nil || len(b) != 8 {
		return 0, errDamaged
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Marker says how far the rows of a store on disk are complete: they hold every change
// of the changelog below End, and perhaps later committed ones (see the package doc).
type Marker struct {
	Timeline uint32
	TopicID  [16]byte
	Epoch    offsets.EpochID
	End      int64 // changelog offset to replay from
	Wall     int64 // wall clock when it was written, ms
	// Reach is the highest changelog end that any row on disk may be as new as,
	// End <= Reach. It is a row of its own. A base is usable up to a committed end C
	// only if Reach <= C: else Kafka went back behind what this disk has seen.
	Reach int64
	// Restoring: written in the middle of a restore from there on. It is a base like
	// another one, but End was no committed end: nothing is at rest there.
	Restoring bool
}

// Marker value: version(1)=1, or 2 if Restoring, timeline(4) topic id(16) epoch counter(8) producer id(8)
// producer epoch(2) end(8) wall(8) crc(4).
const (
	markerVersion    = 1
	restoringVersion = 2
	markerLen        = 1 + 4 + 16 + 8 + 8 + 2 + 8 + 8
)

func (m Marker) encode() []byte {
	b := make([]byte, 0, markerLen+4)
	version := byte(markerVersion)
	if m.Restoring {
		version = restoringVersion
	}
	b = append(b, version)
	b = binary.BigEndian.AppendUint32(b, m.Timeline)
	b = append(b, m.TopicID[:]...)
	b = binary.BigEndian.AppendUint64(b, m.Epoch.Counter)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Epoch.ProducerID))
	b = binary.BigEndian.AppendUint16(b, uint16(m.Epoch.ProducerEpoch))
	b = binary.BigEndian.AppendUint64(b, uint64(m.End))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Wall))
	return sealed(b)
}

func decodeMarker(b []byte) (m Marker, err error) {
	b, err = opened(b)
	if err != nil {
		return m, fmt.Errorf("marker: %w", err)
	}
	if len(b) != markerLen || b[0] != markerVersion && b[0] != restoringVersion {
		return m, fmt.Errorf("marker %x: %w", b, errDamaged)
	}
	m.Restoring = b[0] == restoringVersion
	m.Timeline = binary.BigEndian.Uint32(b[1:])
	copy(m.TopicID[:], b[5:21])
	m.Epoch.Counter = binary.BigEndian.Uint64(b[21:])
	m.Epoch.ProducerID = int64(binary.BigEndian.Uint64(b[29:]))
	m.Epoch.ProducerEpoch = int16(binary.BigEndian.Uint16(b[37:]))
	m.End = int64(binary.BigEndian.Uint64(b[39:]))
	m.Wall = int64(binary.BigEndian.Uint64(b[47:]))
	m.Reach = math.MaxInt64 // until its own row is read
	return m, nil
}
