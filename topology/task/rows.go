package task

import "encoding/binary"

// First bytes of the rows of every store. System rows come first, so that a walk of the
// user's rows starts behind them.
const (
	rowSystem byte = 0x00
	rowUser   byte = 0x01
)

// UserRows and UserRowsEnd bound the rows that hold users' keys.
var (
	UserRows    = []byte{rowUser}
	UserRowsEnd = []byte{rowUser + 1}
)

// AppendKeyedRow appends the row key of a key in a store of kind StoreKeyed:
//
//	0x01 | key
func AppendKeyedRow(dst, key []byte) []byte {
	return append(append(dst, rowUser), key...)
}

// ParseKeyedRow gives the key of a row, as part of it. It is false for system rows.
func ParseKeyedRow(row []byte) (key []byte, ok bool) {
	if len(row) < 1 || row[0] != rowUser {
		return nil, false
	}
	return row[1:], true
}

const windowPrefix = 1 + 8

// AppendWindowRow appends the row key of a key's window in a store of kind StoreWindow.
// The sign bit of the start is flipped, so that the order of the bytes is that of time:
//
//	0x01 | start i64 big-endian ^ 1<<63 | key
func AppendWindowRow(dst []byte, start int64, key []byte) []byte {
	return append(appendWindowStart(dst, start), key...)
}

func appendWindowStart(dst []byte, start int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, rowUser), uint64(start)^1<<63)
}

// ParseWindowRow gives the window start and the key, the latter as part of row. It is
// false for system rows.
func ParseWindowRow(row []byte) (start int64, key []byte, ok bool) {
	if len(row) < windowPrefix || row[0] != rowUser {
		return 0, nil, false
	}
	return int64(binary.BigEndian.Uint64(row[1:]) ^ 1<<63), row[windowPrefix:], true
}
