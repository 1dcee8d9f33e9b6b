package snapshot

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	blockBytes = 256 << 10             // at which a block ends, before compression
	maxBlock   = blockBytes + maxEntry // one entry may be that long
	maxContent = 256 << 20             // of an object, before compression

	tagBlock  = 1
	tagFooter = 2

	blockHead  = 1 + 1 + 4 + 4 + 4
	footerSize = 1 + 1 + 8 + 8 + 8 + 4 + 4
)

// magic begins each native object; its last byte is the version.
var magic = [8]byte{'w', 'e', 'i', 'r', 'o', 'b', 'j', objectVersion}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Both are for any number of goroutines. Blocks are small, so a small window is enough and keeps memory down.
var (
	compressor = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(512<<10))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
	decompressor = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxContent))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// encoder builds one object.
type encoder interface {
	row(key, value []byte, deleted bool)
	record(*Record)
	size() int                                 // before compression
	finish(last bool) (file []byte, of Counts) // and is done
}

func newEncoder(h header, buffer []byte) encoder {
	if h.Format == Portable {
		return newPortable(h, buffer)
	}
	return newNative(h, buffer)
}

type native struct {
	compression Compression
	file        []byte
	block       []byte
	entries     uint32 // in the block
	before      int    // bytes in the blocks before
	crc         uint32 // of all blocks before compression
	Counts
}

func newNative(h header, buffer []byte) *native {
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // a struct of numbers and strings
	}
	file := append(buffer[:0], magic[:]...)
	file = binary.BigEndian.AppendUint32(file, uint32(len(text)))
	file = append(file, text...)
	return &native{compression: h.Compression, file: appendSum(file, 0)}
}

// appendSum adds the checksum of what follows from.
func appendSum(b []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

func (n *native) row(key, value []byte, deleted bool) {
	n.block = appendRow(n.block, key, value, deleted)
	n.Bytes += int64(len(key) + len(value))
	if deleted {
		n.Deletes++
	}
	n.added()
}

func (n *native) record(r *Record) {
	n.block = appendRecord(n.block, r)
	n.Bytes += int64(r.bytes())
	n.added()
}

func (n *native) added() {
	n.Entries++
	n.entries++
	if len(n.block) >= blockBytes {
		n.flush()
	}
}

func (n *native) size() int { return n.before + len(n.block) }

func (n *native) flush() {
	if n.entries == 0 {
		return
	}
	from := len(n.file)
	n.file = append(n.file, tagBlock, 0)
	n.file = binary.BigEndian.AppendUint32(n.file, uint32(len(n.block)))
	n.file = append(n.file, 0, 0, 0, 0) // the stored length is not known yet
	n.file = binary.BigEndian.AppendUint32(n.file, n.entries)
	if n.compression == Zstd {
		n.file = compressor().EncodeAll(n.block, n.file)
		n.file[from+1] = 1
	} else {
		n.file = append(n.file, n.block...)
	}
	binary.BigEndian.PutUint32(n.file[from+6:], uint32(len(n.file)-from-blockHead))
	n.file = appendSum(n.file, from)
	n.crc = crc32.Update(n.crc, castagnoli, n.block)
	n.before += len(n.block)
	n.block, n.entries = n.block[:0], 0
}

func (n *native) finish(last bool) ([]byte, Counts) {
	n.flush()
	from := len(n.file)
	n.file = append(n.file, tagFooter, 0)
	if last {
		n.file[from+1] = 1
	}
	n.file = binary.BigEndian.AppendUint64(n.file, uint64(n.Entries))
	n.file = binary.BigEndian.AppendUint64(n.file, uint64(n.Deletes))
	n.file = binary.BigEndian.AppendUint64(n.file, uint64(n.Bytes))
	n.file = binary.BigEndian.AppendUint32(n.file, n.crc)
	return appendSum(n.file, from), n.Counts
}

// cutSum takes size bytes and their checksum off b.
func cutSum(b []byte, size uint64) (checked, rest []byte, ok bool) {
	if uint64(len(b)) < size+4 {
		return nil, nil, false
	}
	checked, rest = b[:size], b[size+4:]
	return checked, rest, crc32.Checksum(checked, castagnoli) == binary.BigEndian.Uint32(b[size:])
}

// decodeNative reads and verifies all of an object. Errors wrap ErrDamaged or ErrNewer.
func decodeNative(file []byte) (*object, error) {
	if len(file) < len(magic)+4 || string(file[:7]) != string(magic[:7]) {
		return nil, damaged("it does not begin like an object of weir")
	}
	if file[7] > objectVersion {
		return nil, fmt.Errorf("version %d, known are versions up to %d: %w", file[7], objectVersion, ErrNewer)
	}
	size := uint64(len(magic)+4) + uint64(binary.BigEndian.Uint32(file[8:]))
	head, rest, ok := cutSum(file, size)
	if !ok || file[7] != objectVersion {
		return nil, damaged("the checksum of the header is wrong")
	}
	h, err := decodeHeader(head[len(magic)+4:])
	if err != nil {
		return nil, err
	}
	o := &object{header: h}
	var crc uint32
	var content int
	for n := 0; len(rest) > 0 && rest[0] == tagBlock; n++ {
		if len(rest) < blockHead {
			return nil, damaged("block %d ends early", n)
		}
		raw, stored, entries := binary.BigEndian.Uint32(rest[2:]), binary.BigEndian.Uint32(rest[6:]), binary.BigEndian.Uint32(rest[10:])
		var block []byte
		if block, rest, ok = cutSum(rest, blockHead+uint64(stored)); !ok {
			return nil, damaged("the checksum of block %d is wrong, or it ends early", n)
		}
		if content += int(raw); raw > maxBlock || content > maxContent {
			return nil, damaged("block %d has %d bytes, the object %d", n, raw, content)
		}
		compression := block[1]
		switch block = block[blockHead:]; compression {
		case 0:
		case 1:
			if block, err = decompressor().DecodeAll(block, make([]byte, 0, raw)); err != nil {
				return nil, damaged("decompress block %d: %v", n, err)
			}
		default:
			return nil, damaged("block %d has compression %d", n, compression)
		}
		if len(block) != int(raw) || entries == 0 {
			return nil, damaged("block %d has %d bytes, %d entries", n, len(block), entries)
		}
		if err := o.add(block, int64(entries)); err != nil {
			return nil, err
		}
		crc = crc32.Update(crc, castagnoli, block)
	}
	foot, rest, ok := cutSum(rest, footerSize-4)
	if !ok || len(rest) > 0 || foot[0] != tagFooter || foot[1] > 1 {
		return nil, damaged("the footer is wrong")
	}
	counted := Counts{int64(binary.BigEndian.Uint64(foot[2:])), int64(binary.BigEndian.Uint64(foot[10:])), int64(binary.BigEndian.Uint64(foot[18:]))}
	if counted != o.Counts || binary.BigEndian.Uint32(foot[26:]) != crc {
		return nil, damaged("it has %+v, its footer says %+v", o.Counts, counted)
	}
	o.last = foot[1] == 1
	return o, nil
}
