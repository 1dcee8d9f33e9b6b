package snapshot

import (
	"bytes"
	"encoding/binary"
)

// How rows and records lie in a block before compression. Lengths that may be absent are written plus one, 0 is absent.

// maxEntry is the longest row or record, some more than a changelog.Store takes.
const maxEntry = 33 << 20

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendNullable(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))+1), b...)
}

func appendRow(dst, key, value []byte, deleted bool) []byte {
	dst = appendBytes(dst, key)
	if deleted {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(value))+1), value...)
}

func appendRecord(dst []byte, r *Record) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.Offset))
	dst = binary.AppendVarint(dst, r.Timestamp)
	dst = appendNullable(dst, r.Key)
	dst = appendNullable(dst, r.Value)
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = binary.AppendUvarint(dst, uint64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendNullable(dst, h.Value)
	}
	return dst
}

func (r *Record) bytes() int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// cursor reads a block; after the first thing that is wrong it has failed for good.
type cursor struct {
	rest   []byte
	failed bool
}

func (c *cursor) uvarint() uint64 {
	n, size := binary.Uvarint(c.rest)
	if size <= 0 || (size > 1 && c.rest[size-1] == 0) { // only the shortest form
		c.rest, c.failed = nil, true
		return 0
	}
	c.rest = c.rest[size:]
	return n
}

func (c *cursor) varint() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		c.rest, c.failed = nil, true
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) nullable() []byte {
	if n := c.uvarint(); n > 0 {
		return c.take(n - 1)
	}
	return nil
}

func (c *cursor) row() (key, value []byte, deleted bool) {
	key = c.take(c.uvarint())
	n := c.uvarint()
	if n == 0 {
		return key, nil, true
	}
	return key, c.take(n - 1), false
}

func (c *cursor) record() *Record {
	r := &Record{Offset: int64(c.uvarint()), Timestamp: c.varint(), Key: c.nullable(), Value: c.nullable()}
	headers := c.uvarint()
	if headers > uint64(len(c.rest)) { // each takes a byte and more
		c.rest, c.failed = nil, true
	}
	for range headers {
		if c.failed {
			break
		}
		r.Headers = append(r.Headers, RecordHeader{Key: string(c.take(c.uvarint())), Value: c.nullable()})
	}
	return r
}

// object is one that was read and found right: all of its rows or records may be used.
type object struct {
	header
	Counts
	last   bool     // of its layer
	blocks [][]byte // rows or records as above, whatever the format is
	// The lowest and the highest key of rows, offset of records.
	firstKey, lastKey       []byte
	firstOffset, lastOffset int64
}

// rows calls f with each row; the slices are f's as long as it runs. Verify has been there before.
func (o *object) rows(f func(key, value []byte, deleted bool) error) error {
	for _, b := range o.blocks {
		c := cursor{rest: b}
		for len(c.rest) > 0 {
			if err := f(c.row()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *object) records(f func(*Record) error) error {
	for _, b := range o.blocks {
		c := cursor{rest: b}
		for len(c.rest) > 0 {
			if err := f(c.record()); err != nil {
				return err
			}
		}
	}
	return nil
}

// add verifies a block of so many entries and takes it in.
func (o *object) add(block []byte, entries int64) error {
	before := o.Entries
	c := cursor{rest: block}
	for len(c.rest) > 0 && !c.failed {
		var err error
		if o.Content == Records {
			err = o.addRecord(c.record(), c.failed)
		} else {
			key, value, deleted := c.row()
			err = o.addRow(key, value, deleted, c.failed)
		}
		if err != nil {
			return err
		}
	}
	if o.Entries-before != entries {
		return damaged("a block has %d entries, not %d", o.Entries-before, entries)
	}
	o.blocks = append(o.blocks, block)
	return nil
}

func (o *object) addRow(key, value []byte, deleted, early bool) error {
	switch {
	case early:
		return damaged("row %d ends early", o.Entries)
	case deleted && o.Content == Full:
		return damaged("row %d of a full layer is deleted", o.Entries)
	case o.Entries == 0:
		o.firstKey = key
	case bytes.Compare(o.lastKey, key) >= 0:
		return damaged("row %d is out of order", o.Entries)
	}
	o.lastKey = key
	o.Entries++
	o.Bytes += int64(len(key) + len(value))
	if deleted {
		o.Deletes++
	}
	return nil
}

func (o *object) addRecord(r *Record, early bool) error {
	switch {
	case early:
		return damaged("record %d ends early", o.Entries)
	case r.Offset < o.Since || r.Offset >= o.End:
		return damaged("record %d has offset %d, which is not in [%d, %d)", o.Entries, r.Offset, o.Since, o.End)
	case o.Entries == 0:
		o.firstOffset = r.Offset
	case r.Offset <= o.lastOffset:
		return damaged("record %d is out of order", o.Entries)
	}
	o.lastOffset = r.Offset
	o.Entries++
	o.Bytes += int64(r.bytes())
	return nil
}

// follows says whether o continues the object before it.
func (o *object) follows(before *object) bool {
	if o.Content == Records {
		return before.lastOffset < o.firstOffset
	}
	return bytes.Compare(before.lastKey, o.firstKey) < 0
}
