package processor

import "github.com/twmb/franz-go/pkg/kgo"

const (
	arenaBlock   = 256 << 10 // bytes per block
	arenaRecords = 1024      // records per slab
	arenaKeep    = 64        // blocks and slabs kept for the next epoch
)

// arena holds what an epoch hands to the client: records, their bytes and headers. The
// client keeps a record's bytes until it is acknowledged, so they must not live in scratch
// buffers; and one allocation per record would be the most expensive thing a lane does.
// Everything is freed at once, when the epoch's fate is known and every promise was called.
type arena struct {
	blocks  [][]byte
	block   int // block in use
	slabs   [][]kgo.Record
	slab    int
	used    int // records used of slab
	headers [][]kgo.RecordHeader
	header  int
}

// copy returns a copy of b that lives until reset; nil stays nil.
func (a *arena) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	if len(b) > arenaBlock/4 {
		return append(make([]byte, 0, len(b)), b...)
	}
	for {
		if a.block == len(a.blocks) {
			a.blocks = append(a.blocks, make([]byte, 0, arenaBlock))
		}
		if blk := a.blocks[a.block]; cap(blk)-len(blk) >= len(b) {
			at := len(blk)
			blk = append(blk, b...)
			a.blocks[a.block] = blk
			return blk[at:len(blk):len(blk)]
		}
		a.block++
	}
}

// record returns a zero record.
func (a *arena) record() *kgo.Record {
	if a.slab == len(a.slabs) {
		a.slabs = append(a.slabs, make([]kgo.Record, arenaRecords))
	}
	r := &a.slabs[a.slab][a.used]
	if a.used++; a.used == arenaRecords {
		a.slab, a.used = a.slab+1, 0
	}
	*r = kgo.Record{}
	return r
}

// header1 returns a slice of one header.
func (a *arena) header1(key string, value []byte) []kgo.RecordHeader {
	if a.header == len(a.headers) {
		a.headers = append(a.headers, make([]kgo.RecordHeader, 0, arenaRecords))
	}
	h := a.headers[a.header]
	at := len(h)
	h = append(h, kgo.RecordHeader{Key: key, Value: value})
	a.headers[a.header] = h
	if len(h) == cap(h) {
		a.header++
	}
	return h[at : at+1 : at+1]
}

// reset frees everything for reuse. Only legal when no promise is outstanding.
func (a *arena) reset() {
	a.blocks = a.blocks[:min(len(a.blocks), arenaKeep)]
	for i := range a.blocks {
		a.blocks[i] = a.blocks[i][:0]
	}
	a.slabs = a.slabs[:min(len(a.slabs), arenaKeep)]
	a.headers = a.headers[:min(len(a.headers), arenaKeep)]
	for i := range a.headers {
		a.headers[i] = a.headers[i][:0]
	}
	a.block, a.slab, a.used, a.header = 0, 0, 0, 0
}
