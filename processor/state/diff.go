package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// Op says how a row differs.
type Op string

const (
	Added   Op = "added"   // the second one alone has it
	Removed Op = "removed" // the first one alone has it
	Changed Op = "changed" // both have it, with other values
)

// Change is a row that differs. Task is that of the second one where it has the row.
type Change struct {
	Op     Op              `json:"op"`
	Store  string          `json:"store"`
	Task   string          `json:"task"`
	Window *Window         `json:"window,omitempty"`
	Key    json.RawMessage `json:"key"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Summary counts the rows of a store.
type Summary struct {
	Store   string `json:"store"`
	Added   int64  `json:"added"`
	Removed int64  `json:"removed"`
	Changed int64  `json:"changed"`
	Same    int64  `json:"same"`
	// Note says what the numbers do not: one of both has no such store, or with other codecs.
	Note string `json:"note,omitempty"`
}

// Equal says whether there is no difference.
func (s Summary) Equal() bool { return s.Added+s.Removed+s.Changed == 0 }

// Diff compares the rows of two snapshots by their bytes, of one store or of all, which are found by their uid, and gives f
// each row that differs. Positions, and what is in flight, are not compared. Rows are in the order of partitions and keys; if the
// two have other numbers of partitions, in that of keys, and memory for an object of each task is needed.
func Diff(ctx context.Context, a, b *Snapshot, store string, f func(Change) error) ([]Summary, error) {
	stores := map[string][2]*Store{}
	for side, s := range []*Snapshot{a, b} {
		for i := range s.stores {
			both := stores[s.stores[i].UID]
			both[side] = &s.stores[i]
			stores[s.stores[i].UID] = both
		}
	}
	names := slices.Sorted(maps.Keys(stores))
	if store != "" {
		if _, ok := stores[store]; !ok {
			return nil, &processor.Error{What: fmt.Sprintf("there is no store %s in either of both", store), Fix: nameOne(names), Err: ErrUnknown}
		}
		names = []string{store}
	}
	var all []Summary
	for _, uid := range names {
		d := differ{ctx: ctx, sides: [2]*Snapshot{a, b}, stores: stores[uid], give: f, sum: Summary{Store: uid}}
		if err := d.run(); err != nil {
			return nil, explain(err)
		}
		all = append(all, d.sum)
	}
	return all, nil
}

// differ compares a store.
type differ struct {
	ctx    context.Context
	sides  [2]*Snapshot
	stores [2]*Store // nil: that side has none
	give   func(Change) error
	sum    Summary
}

func (d *differ) run() error {
	a, b := d.stores[0], d.stores[1]
	switch {
	case a == nil:
		d.sum.Note = "the first one has no such store"
	case b == nil:
		d.sum.Note = "the second one has no such store"
	case a.Kind != b.Kind || a.Key != b.Key || a.Value != b.Value || a.WindowMS != b.WindowMS:
		d.sum.Note = fmt.Sprintf("%s, key %s, value %s became %s, key %s, value %s", a.Kind, a.Key, a.Value, b.Kind, b.Key, b.Value)
		if a.WindowMS != b.WindowMS {
			d.sum.Note += fmt.Sprintf(", windows of %d ms became %d ms", a.WindowMS, b.WindowMS)
		}
	}
	if a == nil || b == nil || len(a.Tasks) != len(b.Tasks) {
		return d.merge(d.rows(0), d.rows(1))
	}
	for i := range a.Tasks { // keys lie in the same partitions
		if err := d.merge(d.rows(0, a.Tasks[i]), d.rows(1, b.Tasks[i])); err != nil {
			return err
		}
	}
	return nil
}

// rows are those of some tasks, or of all.
func (d *differ) rows(side int, tasks ...offsets.Task) *tasksRows {
	st, of := d.stores[side], d.sides[side]
	r := &tasksRows{}
	if st == nil {
		return r
	}
	if tasks == nil {
		tasks = st.Tasks
	}
	for _, t := range tasks {
		r.tasks = append(r.tasks, t)
		r.rows = append(r.rows, of.bucket.Rows(d.ctx, of.manifest, t, st.UID))
	}
	r.store = st
	return r
}

func (d *differ) merge(a, b *tasksRows) error {
	hasA, hasB := a.first(), b.first()
	// After an error of one side the rows of the other one say nothing.
	for (hasA || hasB) && a.err == nil && b.err == nil {
		c := 0
		switch {
		case !hasB:
			c = -1
		case !hasA:
			c = 1
		default:
			c = bytes.Compare(a.key(), b.key())
		}
		var err error
		switch {
		case c < 0:
			d.sum.Removed++
			err = d.tell(Removed, a, nil)
		case c > 0:
			d.sum.Added++
			err = d.tell(Added, nil, b)
		case bytes.Equal(a.value(), b.value()):
			d.sum.Same++
		default:
			d.sum.Changed++
			err = d.tell(Changed, a, b)
		}
		if err != nil {
			return err
		}
		if c <= 0 {
			hasA = a.next()
		}
		if c >= 0 {
			hasB = b.next()
		}
	}
	return errors.Join(a.err, b.err)
}

func (d *differ) tell(op Op, a, b *tasksRows) error {
	c := Change{Op: op, Store: d.sum.Store}
	if a != nil {
		row, _ := a.store.text.row(a.key(), a.value())
		c.Task, c.Window, c.Key, c.Before = a.tasks[a.at].String(), row.Window, row.Key, row.Value
	}
	if b != nil {
		row, _ := b.store.text.row(b.key(), b.value())
		c.Task, c.Window, c.Key, c.After = b.tasks[b.at].String(), row.Window, row.Key, row.Value
	}
	return d.give(c)
}

// tasksRows are the users' rows of a store in several tasks, in key order.
type tasksRows struct {
	store *Store
	tasks []offsets.Task
	rows  []*snapshot.Rows
	has   []bool
	at    int // which task has the row, -1: none
	err   error
}

func (r *tasksRows) key() []byte   { return r.rows[r.at].Key() }
func (r *tasksRows) value() []byte { return r.rows[r.at].Value() }

func (r *tasksRows) first() bool {
	r.has = make([]bool, len(r.rows))
	for i := range r.rows {
		r.advance(i)
	}
	return r.pick()
}

func (r *tasksRows) next() bool {
	r.advance(r.at)
	return r.pick()
}

// advance goes to the next row of a task that is a user's.
func (r *tasksRows) advance(i int) {
	for r.has[i] = r.rows[i].Next(); r.has[i]; r.has[i] = r.rows[i].Next() {
		if _, _, mine := r.store.text.split(r.rows[i].Key()); mine {
			return
		}
	}
	if err := r.rows[i].Err(); r.err == nil {
		r.err = err
	}
}

func (r *tasksRows) pick() bool {
	r.at = -1
	if r.err != nil {
		return false
	}
	for i, has := range r.has {
		if has && (r.at < 0 || bytes.Compare(r.rows[i].Key(), r.key()) < 0) {
			r.at = i
		}
	}
	return r.at >= 0
}
