package avro

import (
	"errors"
	"fmt"
	"math"
)

// Limits of one value. goavro takes the sizes in the data for true: it allocates what a
// block says it holds before it reads on, and recurses as deep as the data goes. Neither
// running out of memory nor of stack can be recovered from, so that a record of five bytes
// would end the process. Every value is walked along its schema first.
const (
	maxDepth = 10_000  // records, arrays and maps in each other
	maxEmpty = 1 << 16 // items of arrays that take no bytes
)

var (
	errShort = errors.New("the bytes end within it")
	errDeep  = fmt.Errorf("it is more than %d levels deep", maxDepth)
)

// walk is a check under way.
type walk struct{ empty int }

// check gives what is behind one value of type n at the front of b. When it succeeds,
// goavro allocates in proportion to the bytes that are there.
func (w *walk) check(n *node, b []byte, depth int) ([]byte, error) {
	switch n.kind {
	case "null":
		return b, nil
	case "boolean":
		return skip(b, 1)
	case "float":
		return skip(b, 4)
	case "double":
		return skip(b, 8)
	case "fixed":
		return skip(b, int64(n.size))
	case "int":
		v, b, err := varint(b)
		if err == nil && v != int64(int32(v)) {
			err = fmt.Errorf("%d is no int", v) // goavro would cut it off
		}
		return b, err
	case "long", "enum":
		_, b, err := varint(b)
		return b, err
	case "bytes", "string":
		return skipSized(b)
	case "union":
		i, b, err := varint(b)
		if err != nil {
			return nil, err
		}
		if i < 0 || i >= int64(len(n.branches)) {
			return nil, fmt.Errorf("branch %d of a union that has %d", i, len(n.branches))
		}
		return w.check(n.branches[i], b, depth)
	case "record":
		if depth > maxDepth { // only through records does a type contain itself
			return nil, errDeep
		}
		var err error
		for _, f := range n.fields {
			if b, err = w.check(f.node, b, depth+1); err != nil {
				return nil, under("."+f.name, err)
			}
		}
		return b, nil
	}
	return w.blocks(n, b, depth)
}

// blocks walks an array or a map: blocks of a count and as many items, the last one empty.
func (w *walk) blocks(n *node, b []byte, depth int) ([]byte, error) {
	for at := 0; ; {
		count, rest, err := varint(b)
		if err != nil {
			return nil, err
		}
		if b = rest; count == 0 {
			return b, nil
		}
		if count < 0 { // its size in bytes follows, which nobody needs
			if count == math.MinInt64 {
				return nil, fmt.Errorf("a block of %d items", count)
			}
			count = -count
			if _, b, err = varint(b); err != nil {
				return nil, err
			}
		}
		for range count {
			before := len(b)
			if n.kind == "map" {
				if b, err = skipSized(b); err != nil {
					return nil, under(fmt.Sprintf("[%d]", at), err)
				}
			}
			if b, err = w.check(n.items, b, depth+1); err != nil {
				return nil, under(fmt.Sprintf("[%d]", at), err)
			}
			if len(b) == before {
				if w.empty++; w.empty > maxEmpty {
					return nil, fmt.Errorf("more than %d items that take no bytes", maxEmpty)
				}
			}
			at++
		}
	}
}

func skip(b []byte, n int64) ([]byte, error) {
	if n < 0 {
		return nil, fmt.Errorf("its size is %d", n)
	}
	if n > int64(len(b)) {
		return nil, errShort
	}
	return b[n:], nil
}

func skipSized(b []byte) ([]byte, error) {
	n, b, err := varint(b)
	if err != nil {
		return nil, err
	}
	return skip(b, n)
}

// varint reads a zigzag varint just as goavro does, also one that is longer than it need be.
func varint(b []byte) (int64, []byte, error) {
	var v uint64
	for i, c := range b {
		v |= uint64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return int64(v>>1) ^ -int64(v&1), b[i+1:], nil
		}
	}
	return 0, nil, errShort
}
