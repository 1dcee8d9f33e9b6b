package snapshot

import (
	"bytes"
	"context"
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// Rows reads the rows that a store has in a checkpoint or savepoint, in key order: of a key that several layers have the
// newest row counts, and one that it deletes is left out. It is for tools that look at one row at a time; Restore is the
// faster way to get all of them.
//
//	rows := bucket.Rows(ctx, m, task, uid)
//	for rows.Next() {
//		use(rows.Key(), rows.Value())
//	}
//	err := rows.Err()
//
// An object is verified before its first row is given away, as Restore does. Cost: memory of one object, at most
// Options.ObjectBytes of whoever wrote it, and its file, for each layer. It has no goroutines and needs no closing.
type Rows struct {
	layers     []layerRows // the base first
	key, value []byte
	err        error
}

// Rows reads the store of a task from its first row on. Errors are those of Restore.
func (b *Bucket) Rows(ctx context.Context, m *Manifest, task offsets.Task, uid string) *Rows {
	store := m.Store(task, uid)
	if store == nil {
		return &Rows{err: b.wrap("read", "", fmt.Errorf("cut %d has no store %s of task %s: %w", m.Cut, uid, task, ErrNotFound))}
	}
	r := &Rows{}
	for _, l := range store.Layers {
		of := m.origin(task, uid, l)
		of.Codecs = store.Codecs
		r.layers = append(r.layers, layerRows{b: b, ctx: ctx, left: wantedFrom(of, l.Objects)})
	}
	for i := range r.layers {
		if r.err = r.layers[i].next(); r.err != nil {
			break
		}
	}
	return r
}

// Next goes to the next row. It is false behind the last one, and after an error.
func (r *Rows) Next() bool {
	for r.err == nil {
		top := -1
		for i := range r.layers {
			if l := &r.layers[i]; !l.over && (top < 0 || bytes.Compare(l.key, r.layers[top].key) <= 0) {
				top = i
			}
		}
		if top < 0 {
			break
		}
		key, deleted := r.layers[top].key, r.layers[top].deleted
		r.key, r.value = key, r.layers[top].value
		for i := range r.layers {
			if l := &r.layers[i]; !l.over && bytes.Equal(l.key, key) {
				if r.err = l.next(); r.err != nil {
					return false
				}
			}
		}
		if !deleted {
			return true
		}
	}
	r.key, r.value = nil, nil
	return false
}

// Key and Value are those of the row. They do not change when Next is called.
func (r *Rows) Key() []byte   { return r.key }
func (r *Rows) Value() []byte { return r.value }

// Err is what ended the rows before their end, or nil.
func (r *Rows) Err() error { return r.err }

// layerRows are the rows of a layer, with the one that is next.
type layerRows struct {
	b      *Bucket
	ctx    context.Context
	left   []wanted // objects that were not read
	object *object
	block  cursor

	key, value    []byte
	deleted, over bool
}

func (l *layerRows) next() error {
	for len(l.block.rest) == 0 {
		if l.object != nil && len(l.object.blocks) > 0 {
			l.block, l.object.blocks = cursor{rest: l.object.blocks[0]}, l.object.blocks[1:]
			continue
		}
		if len(l.left) == 0 {
			l.over = true
			return nil
		}
		w := l.left[0]
		o, err := l.b.read(l.ctx, w)
		if err != nil {
			return err
		}
		if l.object != nil && !o.follows(l.object) {
			return l.b.wrap("read", w.Name, damaged("it does not continue the object before it"))
		}
		l.object, l.left = o, l.left[1:]
	}
	l.key, l.value, l.deleted = l.block.row()
	return nil
}
