package changelog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"

	"github.com/dgraph-io/badger/v4"
)

// modelCut is a cut beside what the model had when it was taken.
type modelCut struct {
	*Cut
	want   map[string]string
	number int // cuts of one store are in this order
}

// cutsSeen says what a run has shown.
type cutsSeen struct{ taken, pending, replaced, read, increments, deletes, refused, failed int }

// smallTables makes Badger flush and compact all the time.
func smallTables(o badger.Options) badger.Options {
	return o.WithMemTableSize(64 << 10).WithValueThreshold(1 << 9).WithBaseTableSize(32 << 10).WithBaseLevelSize(128 << 10).
		WithNumLevelZeroTables(2).WithNumLevelZeroTablesStall(8).WithValueLogFileSize(1 << 20)
}

// cut takes one. Mostly it is refused while the former is under way.
func (m *model) cut() {
	var under *modelCut
	if n := len(m.cuts); n > 0 && m.cuts[n-1].Cut == m.s.cut {
		under = m.cuts[n-1]
	}
	if under != nil && m.rng.Intn(8) == 0 { // given up: the next one takes its place
		under.Release()
		m.cuts = m.cuts[:len(m.cuts)-1]
		m.seen.replaced++
		under = nil
	}
	c, err := m.s.Cut()
	if under != nil {
		if !errors.Is(err, ErrCutPending) {
			m.fatalf("a second cut: %v", err)
		}
		m.seen.pending++
		return
	}
	m.check(err)
	if c.End() != int64(len(m.log)) || c.Epoch() != epochID(m.epoch) {
		m.fatalf("cut at end %d, epoch %s, want %d, %d", c.End(), c.Epoch(), len(m.log), m.epoch)
	}
	m.seen.taken++
	m.cuts = append(m.cuts, &modelCut{c, copyMap(m.committed), m.seen.taken})
}

// lookAtCuts reads one at random, whole or since another one, at once or while the store
// goes on; now and then it has Badger compact before, and lets one go.
func (m *model) lookAtCuts() {
	if len(m.cuts) == 0 {
		return
	}
	if m.opt.tune != nil && !m.memory && m.rng.Intn(4) == 0 {
		m.check(flushed(m.db))
		if err := m.db.badger.Flatten(2); err != nil {
			m.t.Logf("flatten: %v", err) // a compaction of its own has the tables
		}
	}
	c := m.cuts[m.rng.Intn(len(m.cuts))]
	var since *modelCut
	if m.rng.Intn(3) > 0 {
		since = m.cuts[m.rng.Intn(len(m.cuts))]
	}
	if !c.isOver() {
		if _, err := c.Rows(context.Background(), nil, discardRow); !c.isOver() && !errors.Is(err, ErrCutPending) {
			m.fatalf("cut %d is not on disk and can be read: %v", c.number, err)
		}
		return
	}
	m.check(c.Wait(context.Background()))
	done := make(chan error, 1)
	m.reads = append(m.reads, done)
	go func() { done <- m.readCut(c, since) }()
	if m.rng.Intn(2) == 0 {
		m.joinReads()
	}
	m.seen.read++
	if since != nil {
		if fits(c, since) {
			m.seen.increments++
			for k := range since.want {
				if _, ok := c.want[k]; !ok {
					m.seen.deletes++
				}
			}
		} else {
			m.seen.refused++
		}
	}
	if len(m.cuts) > 6 || m.rng.Intn(6) == 0 {
		m.joinReads()
		i := m.rng.Intn(len(m.cuts))
		if c := m.cuts[i]; c.Cut != m.s.cut {
			c.Release()
			if _, err := c.Rows(context.Background(), nil, discardRow); c.isOver() && !errors.Is(err, errReleased) && !errors.Is(err, ErrCutPending) {
				m.fatalf("a released cut can be read: %v", err)
			}
			m.cuts = append(m.cuts[:i], m.cuts[i+1:]...)
		}
	}
}

func discardRow(_, _ []byte, _ bool) error { return nil }

// flushed writes rows of nobody until what was written before has left the memtable.
func flushed(db *DB) error {
	for i := range 400 {
		txn := db.badger.NewTransactionAt(math.MaxUint64, true)
		if err := txn.Set(fmt.Appendf(nil, "\xff\xff\xff\xff%d", i), make([]byte, 450)); err != nil {
			return err
		}
		if err := txn.CommitAt(1, nil); err != nil {
			return err
		}
	}
	return nil
}

// fits says whether c can be read since the other.
func fits(c, since *modelCut) bool {
	return c.store == since.store && since.number <= c.number && c.Increments()
}

// readCut compares what a cut gives with the model.
func (m *model) readCut(c, since *modelCut) error {
	got, last, n := map[string]string{}, "", int64(0)
	var from *Cut
	if since != nil {
		from = since.Cut
		got = copyMap(since.want)
	}
	rows, err := c.Rows(context.Background(), from, func(k, v []byte, deleted bool) error {
		if n > 0 && string(k) <= last {
			return fmt.Errorf("%q comes behind %q", k, last)
		}
		last = string(k)
		n++
		switch {
		case deleted && since == nil:
			return fmt.Errorf("%q is deleted", k)
		case deleted:
			delete(got, last)
		default:
			got[last] = string(v)
		}
		return nil
	})
	if since != nil && !fits(c, since) {
		if !errors.Is(err, ErrNoIncrement) {
			return fmt.Errorf("cut %d since %d: %v, want %v", c.number, since.number, err, ErrNoIncrement)
		}
		return nil
	}
	switch {
	case err != nil:
	case rows != n:
		err = fmt.Errorf("%d rows are said, %d came", rows, n)
	case !maps.Equal(got, c.want):
		err = errors.New("rows differ")
		for k, v := range c.want {
			if w, ok := got[k]; !ok || w != v {
				err = fmt.Errorf("%q is %.20q %v, want %.20q", k, w, ok, v)
			}
		}
		for k, v := range got {
			if _, ok := c.want[k]; !ok {
				err = fmt.Errorf("%q is %.20q, want none", k, v)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("cut %d at end %d since %v: %w", c.number, c.End(), since, err)
	}
	return nil
}

func (m *model) joinReads() {
	m.t.Helper()
	for _, done := range m.reads {
		m.check(<-done)
	}
	m.reads = nil
}

func (c *modelCut) String() string {
	if c == nil {
		return "nothing"
	}
	return fmt.Sprintf("cut %d at end %d", c.number, c.End())
}

// closedCuts: the store is closed, with what it had handed over, or with everything. What is
// on disk can be read on.
func (m *model) closedCuts(applied bool) {
	kept := m.cuts[:0]
	for _, c := range m.cuts {
		if !c.isOver() {
			m.fatalf("%s outlives its store undecided", c)
		}
		err := c.Wait(context.Background())
		if err == nil {
			kept = append(kept, c)
			continue
		}
		if !errors.Is(err, ErrClosed) || applied && c.Increments() {
			m.fatalf("%s: %v", c, err)
		}
		m.seen.failed++
	}
	m.cuts = kept
}

// forgetCuts: Badger will be closed.
func (m *model) forgetCuts() {
	m.joinReads()
	for _, c := range m.cuts {
		c.Release()
	}
	m.cuts = nil
	if st := m.db.Stats(); st.Cuts != 0 {
		m.fatalf("%d cuts are kept", st.Cuts)
	}
}
