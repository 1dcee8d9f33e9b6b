package changelog

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// lookEvery is the number of rows between two looks at whether the reading is still wanted.
const lookEvery = 256

// Rows calls f for the rows in key order, and returns how many. The cut must be on disk: see
// Wait. The bytes are valid during f; DB.Close waits for the f that runs.
//
// With since, an earlier cut of the same Store that is not released, only what was written
// since then comes, and deletes: rows of since with these changes are the rows of the cut.
// Some of it may be no change: a row rewritten with the value it had, or a delete of a key
// that since had no row of. If since is none that this is possible for (Increments), or of
// another Store, or from before a Reset, the error is ErrNoIncrement: read all rows.
func (c *Cut) Rows(ctx context.Context, since *Cut, f func(key, value []byte, deleted bool) error) (rows int64, err error) {
	over, err := c.use()
	if err != nil {
		return 0, err
	}
	defer over()
	from := uint64(0)
	if since != nil {
		if since.store != c.store || since.inc != c.inc || c.inc == 0 {
			return 0, c.wrap(ErrNoIncrement)
		}
		over, err := since.use()
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrNoIncrement, err)
		}
		defer over()
		if from = since.ts; from > c.ts {
			return 0, c.wrap(ErrNoIncrement)
		}
	}
	wanted := func() error {
		if c.db.closing.Load() {
			return c.wrap(ErrClosed)
		}
		return ctx.Err()
	}
	if c.inc == 0 {
		return c.copiedRows(wanted, f)
	}
	txn := c.db.badger.NewTransactionAt(c.ts, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{
		Prefix: c.inc.prefix(), SinceTs: from, AllVersions: from > 0 && !planted("increment without deletes"),
	})
	defer it.Close()
	var key []byte
	var item *badger.Item
	emit := func(v []byte) error { return f(item.Key()[prefixLen:], v, false) }
	for n := 0; ; n++ {
		if n == 0 {
			it.Rewind()
		} else {
			it.Next()
		}
		if n%lookEvery == 0 {
			if err := wanted(); err != nil {
				return rows, err
			}
		}
		if !it.Valid() {
			return rows, nil
		}
		item = it.Item()
		if rows > 0 && bytes.Equal(item.Key(), key) {
			continue // an older version: the newest comes first
		}
		if from > 0 {
			key = append(key[:0], item.Key()...)
		}
		rows++
		if item.IsDeletedOrExpired() {
			err = f(item.Key()[prefixLen:], nil, true)
		} else {
			err = item.Value(emit)
		}
		if err != nil {
			return rows, err
		}
	}
}

// copiedRows merges the batches of a store in memory.
func (c *Cut) copiedRows(wanted func() error, f func(key, value []byte, deleted bool) error) (rows int64, err error) {
	c.sorted.Do(func() {
		for _, b := range c.copied {
			b.sort()
		}
	})
	m := make(merge, len(c.copied))
	for i, b := range c.copied {
		m[i] = run{b, b.rows}
	}
	heap.Init(&m)
	var last []byte
	for n := 0; len(m) > 0; n++ {
		if n%lookEvery == 0 {
			if err := wanted(); err != nil {
				return rows, err
			}
		}
		b, r := m[0].batch, m[0].rows[0]
		if m[0].rows = m[0].rows[1:]; len(m[0].rows) > 0 {
			heap.Fix(&m, 0)
		} else {
			heap.Pop(&m)
		}
		key := b.keyOf(r)[prefixLen:]
		if r.value < 0 || rows > 0 && bytes.Equal(key, last) {
			continue // saved for the cut and met by its wave: the same value
		}
		rows++
		last = key
		at := r.at + r.key
		if err := f(key, b.buf[at:at+r.value:at+r.value], false); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// merge is a heap of sorted runs, the lowest key first.
type merge []run

type run struct {
	batch *batch
	rows  []batchRow // never empty
}

func (m merge) Len() int      { return len(m) }
func (m merge) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m merge) Less(i, j int) bool {
	return bytes.Compare(m[i].batch.keyOf(m[i].rows[0]), m[j].batch.keyOf(m[j].rows[0])) < 0
}
func (m *merge) Push(x any) { *m = append(*m, x.(run)) }
func (m *merge) Pop() any {
	last := len(*m) - 1
	r := (*m)[last]
	*m = (*m)[:last]
	return r
}
