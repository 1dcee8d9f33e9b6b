package changelog

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A shard holds the rows of a store whose key hash begins with the same eight bits. It
// is two allocations without a pointer in them, so that the garbage collector has
// nothing to scan whatever the number of rows: a slab with the rows one behind the
// other, and an open-addressing index into it. A store has many shards because some
// work (making the slab compact, dropping what is not used) walks one of them whole, and
// that must stay below about a millisecond.
//
// A row in the slab, numbers little-endian, aligned to 8 bytes so that a 32-bit unit
// number addresses it (unit = offset/8):
//
//	key length u16, flags u8, 0 u8, value length u32, value capacity u32, epoch u32, key, value
//
// A value that fits its capacity is changed in place. Else the row moves to the end of
// the slab and the old one keeps the new unit in its value length (flag moved), so that
// lists of units stay right; rebuild, at an epoch boundary, drops such rows.
type shard struct {
	index     []uint64 // tag(32) unit+1(32), 0 is free; len is a power of two
	used      int      // taken slots
	slab      []byte
	waste     int      // bytes of moved rows
	dead      int      // rows that became absent since the last rebuild, some of them twice
	unapplied []uint32 // units of rows with flag unapplied
	due       int      // so many of them, the first, has the wave still to look at
	handed    uint64   // number of the last batch for the applier that has rows from here
}

const (
	rowHeader = 16

	// What memory knows of a key: present, absent, or (neither) nothing.
	present   = 1 << 0
	absent    = 1 << 1
	known     = present | absent
	unapplied = 1 << 2 // changed since it was last handed to the applier
	used      = 1 << 3 // read or written since the last eviction walk: second chance
	fresh     = 1 << 4 // Badger has never held a row of this key
	moved     = 1 << 5 // dead, its value length is the unit it moved to
	ordered   = 1 << 6 // the ordered list has its unit
)

func keyLen(row []byte) int          { return int(binary.LittleEndian.Uint16(row)) }
func flags(row []byte) byte          { return row[2] }
func valueLen(row []byte) int        { return int(binary.LittleEndian.Uint32(row[4:])) }
func valueCap(row []byte) int        { return int(binary.LittleEndian.Uint32(row[8:])) }
func rowEpoch(row []byte) uint32     { return binary.LittleEndian.Uint32(row[12:]) }
func setValueLen(row []byte, n int)  { binary.LittleEndian.PutUint32(row[4:], uint32(n)) }
func setEpoch(row []byte, e uint32)  { binary.LittleEndian.PutUint32(row[12:], e) }
func rowKey(row []byte) []byte       { return row[rowHeader : rowHeader+keyLen(row)] }
func rowSize(key, capacity int) int  { return (rowHeader + key + capacity + 7) &^ 7 }
func movedTo(row []byte) uint32      { return binary.LittleEndian.Uint32(row[4:]) }
func setMoved(row []byte, to uint32) { row[2] |= moved; binary.LittleEndian.PutUint32(row[4:], to) }

func rowValue(row []byte) []byte {
	at := rowHeader + keyLen(row)
	n := valueLen(row)
	return row[at : at+n : at+n]
}

func (s *shard) row(unit uint32) []byte { return s.slab[int(unit)<<3:] }

// follow returns the unit where a row lives now.
func (s *shard) follow(unit uint32) uint32 {
	for row := s.row(unit); flags(row)&moved != 0; row = s.row(unit) {
		unit = movedTo(row)
	}
	return unit
}

// find returns the slot of key, and its unit if it is there.
func (s *shard) find(key []byte, tag uint32) (slot int, unit uint32, ok bool) {
	if len(s.index) == 0 {
		return 0, 0, false
	}
	mask := len(s.index) - 1
	for slot = int(tag) & mask; ; slot = (slot + 1) & mask {
		e := s.index[slot]
		if e == 0 {
			return slot, 0, false
		}
		if uint32(e>>32) != tag {
			continue
		}
		unit = uint32(e) - 1
		row := s.row(unit)
		if keyLen(row) == len(key) && bytes.Equal(row[rowHeader:rowHeader+len(key)], key) {
			return slot, unit, true
		}
	}
}

// slotOf finds the slot that points to unit.
func (s *shard) slotOf(tag, unit uint32) int {
	mask := len(s.index) - 1
	want := uint64(tag)<<32 | uint64(unit+1)
	slot := int(tag) & mask
	for s.index[slot] != want {
		slot = (slot + 1) & mask
	}
	return slot
}

// insert adds a row for a key that is not there: no value yet, room for capacity bytes.
func (s *shard) insert(key []byte, tag uint32, capacity int, fl byte) uint32 {
	if (s.used+1)*4 > len(s.index)*3 {
		s.grow()
	}
	unit := s.alloc(key, capacity, fl)
	mask := len(s.index) - 1
	slot := int(tag) & mask
	for s.index[slot] != 0 {
		slot = (slot + 1) & mask
	}
	s.index[slot] = uint64(tag)<<32 | uint64(unit+1)
	s.used++
	return unit
}

// grow doubles the index. Tags alone say where an entry goes, so rows are not touched.
func (s *shard) grow() {
	old := s.index
	s.index = make([]uint64, max(8, 2*len(old)))
	mask := len(s.index) - 1
	for _, e := range old {
		if e == 0 {
			continue
		}
		slot := int(e>>32) & mask
		for s.index[slot] != 0 {
			slot = (slot + 1) & mask
		}
		s.index[slot] = e
	}
}

// alloc appends a row to the slab.
func (s *shard) alloc(key []byte, capacity int, fl byte) uint32 {
	at, size := len(s.slab), rowSize(len(key), capacity)
	if at+size > cap(s.slab) {
		s.slab = slices.Grow(s.slab, max(size, at/2, 512))
	}
	s.slab = s.slab[:at+size]
	row := s.slab[at:]
	binary.LittleEndian.PutUint16(row, uint16(len(key)))
	row[2], row[3] = fl, 0
	binary.LittleEndian.PutUint32(row[4:], 0)
	binary.LittleEndian.PutUint32(row[8:], uint32(size-rowHeader-len(key)))
	binary.LittleEndian.PutUint32(row[12:], 0)
	copy(row[rowHeader:], key)
	return uint32(at >> 3)
}

// room makes sure that the row can hold n bytes of value and returns where it is then.
// The value itself does not survive a move.
func (s *shard) room(unit, tag uint32, n int) uint32 {
	row := s.row(unit)
	if n <= valueCap(row) {
		return unit
	}
	size := rowSize(keyLen(row), valueCap(row))
	to := s.alloc(rowKey(row), n+n/4, flags(row)) // growing values grow again
	row = s.row(unit)                             // alloc may have replaced the slab
	setEpoch(s.row(to), rowEpoch(row))
	s.index[s.slotOf(tag, unit)] = uint64(tag)<<32 | uint64(to+1)
	setMoved(row, to)
	s.waste += size
	return to
}

// bytes is the memory that the shard holds.
func (s *shard) bytes() int {
	return cap(s.slab) + 8*cap(s.index) + 4*cap(s.unapplied)
}

// rebuild copies the rows that keep says are worth it to a new slab and makes a new
// index. It must not run inside an open epoch, whose undo list has units. keep may
// change flags. The old slab, returned, tells where rows went: moved rows, as ever, or
// (flags 0) nowhere.
func (s *shard) rebuild(tag func(key []byte) uint32, keep func(row []byte) bool) (old []byte) {
	old = s.slab
	size, n := 0, 0
	for at := 0; at < len(old); {
		row := old[at:]
		step := rowSize(keyLen(row), valueCap(row))
		if flags(row)&moved == 0 {
			if keep(row) {
				size += rowSize(keyLen(row), valueLen(row))
				n++
			} else {
				row[2] = 0
			}
		}
		at += step
	}
	slots := 0
	if n > 0 {
		for slots = 8; n*4 > slots*3; slots *= 2 {
		}
	}
	s.slab, s.index, s.used, s.waste, s.dead = make([]byte, 0, size+size/8), make([]uint64, slots), 0, 0, 0
	if n == 0 {
		s.slab, s.index = nil, nil
	}
	list := s.unapplied
	s.unapplied = make([]uint32, 0, len(list))
	for at := 0; at < len(old); {
		row := old[at:]
		step := rowSize(keyLen(row), valueCap(row))
		if fl := flags(row); fl&moved == 0 && fl != 0 {
			key, value := rowKey(row), rowValue(row)
			unit := s.insert(key, tag(key), len(value), fl)
			to := s.row(unit)
			setValueLen(to, len(value))
			setEpoch(to, rowEpoch(row))
			copy(to[rowHeader+len(key):], value)
			setMoved(row, unit)
			row[3] = 1 // final: the unit is one of the new slab
		}
		at += step
	}
	due := s.due
	for i, unit := range list { // keeps the order
		if to, ok := translate(old, unit); ok {
			s.unapplied = append(s.unapplied, to)
		} else if i < due {
			s.due--
		}
	}
	return old
}

// translate follows a unit of a rebuilt slab into the new one.
func translate(old []byte, unit uint32) (uint32, bool) {
	for {
		row := old[int(unit)<<3:]
		if flags(row)&moved == 0 {
			return 0, false
		}
		unit = movedTo(row)
		if row[3] == 1 {
			return unit, true
		}
	}
}
