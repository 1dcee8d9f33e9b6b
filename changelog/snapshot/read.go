package snapshot

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/weir-stream/weir/offsets"
)

// Restore gives apply the rows of a store: the base, then the increments in their order, each in key order. The last
// one of a key counts. apply runs in the caller's goroutine; its slices are its own only as long as it runs.
//
// Each object is read and verified in whole before the first of its rows is given away: size, SHA-256, checksums,
// counts, order of keys, and that its header says what the manifest says. A later object may still be damaged or
// missing, so that after an error all that apply was given has to be thrown away.
//
// Up to Options.Parallel goroutines read ahead; they have ended when Restore returns. progress may be nil; it is called
// after each object, in the caller's goroutine. Cost: memory of Options.Parallel objects and their files, and about 1 s
// of CPU for 300 MB of rows. Errors: *Error of kind ErrNotFound, ErrDamaged, ErrForeign, ErrNewer, ErrAccess or
// ErrUnreachable, and what apply returns.
func (b *Bucket) Restore(ctx context.Context, m *Manifest, task offsets.Task, uid string, apply func(key, value []byte, deleted bool) error, progress func(Progress)) error {
	store := m.Store(task, uid)
	if store == nil {
		return b.wrap("read", "", fmt.Errorf("cut %d has no store %s of task %s: %w", m.Cut, uid, task, ErrNotFound))
	}
	return b.each(ctx, m.wantedOf(task, store), progress, func(o *object) error { return o.rows(apply) })
}

// Records gives apply the copied records of an in-flight part of a savepoint, in the order of their offsets. A record
// is apply's to keep. Everything else is as Restore says.
func (b *Bucket) Records(ctx context.Context, m *Manifest, part InFlight, apply func(*Record) error, progress func(Progress)) error {
	return b.each(ctx, m.wantedIn(part), progress, func(o *object) error { return o.records(apply) })
}

// Verify reads all that the manifest refers to, as Restore does, and uses nothing of it.
func (b *Bucket) Verify(ctx context.Context, m *Manifest, progress func(Progress)) error {
	return b.each(ctx, m.wanted(), progress, func(*object) error { return nil })
}

// wanted is an object as the manifest describes it.
type wanted struct {
	Object
	Origin
	part int
	last bool
}

func wantedFrom(of Origin, objects []Object) (all []wanted) {
	for i, o := range objects {
		all = append(all, wanted{Object: o, Origin: of, part: i, last: i == len(objects)-1})
	}
	return all
}

func (m *Manifest) wanted() (all []wanted) {
	for _, t := range m.Tasks {
		for i := range t.Stores {
			all = append(all, m.wantedOf(t.Task, &t.Stores[i])...)
		}
	}
	for _, part := range m.InFlight {
		all = append(all, m.wantedIn(part)...)
	}
	return all
}

func (m *Manifest) wantedOf(task offsets.Task, s *StoreState) (all []wanted) {
	for _, l := range s.Layers {
		of := m.origin(task, s.UID, l)
		of.Codecs = s.Codecs
		all = append(all, wantedFrom(of, l.Objects)...)
	}
	return all
}

func (m *Manifest) wantedIn(p InFlight) []wanted {
	of := m.origin(p.Task, p.UID, p.layer(m.Cut))
	of.Codecs = p.Codecs
	return wantedFrom(of, p.Objects)
}

// each reads objects ahead, and hands them to use in their order.
func (b *Bucket) each(ctx context.Context, all []wanted, progress func(Progress), use func(*object) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()

	type result struct {
		object *object
		err    error
	}
	results := make([]chan result, len(all))
	begun := 0
	var before *object
	var done Progress
	for i := range all {
		for ; begun < len(all) && begun < i+b.options.Parallel; begun++ {
			w, c := all[begun], make(chan result, 1)
			results[begun] = c
			readers.Go(func() {
				o, err := b.read(ctx, w)
				c <- result{o, err}
			})
		}
		r := <-results[i]
		results[i] = nil
		if r.err == nil && all[i].part > 0 && !r.object.follows(before) {
			r.err = b.wrap("read", all[i].Name, damaged("it does not continue the object before it"))
		}
		if r.err != nil {
			return r.err
		}
		if err := use(r.object); err != nil {
			return err
		}
		before = r.object
		before.blocks = nil // its keys hold on to two blocks at most
		done.Entries += r.object.Entries
		done.Bytes += r.object.Bytes
		done.Stored += all[i].Size
		if progress != nil {
			progress(done)
		}
	}
	return nil
}

// read reads an object and verifies all of it.
func (b *Bucket) read(ctx context.Context, w wanted) (*object, error) {
	file, err := b.get(ctx, w.Name, w.Size)
	if err != nil {
		return nil, err
	}
	o, err := decode(file, w)
	return o, b.wrap("read", w.Name, err)
}

// decode verifies that the file is the object that is wanted.
func decode(file []byte, w wanted) (*object, error) {
	n, ok := parseName(w.Name)
	if !ok || n.dir != objectDir {
		return nil, damaged("the name is none of an object")
	}
	if sum := sha256.Sum256(file); sum != n.sum {
		return nil, damaged("its SHA-256 is %x", sum)
	}
	var o *object
	var err error
	if n.ext == extension(Native, "") {
		o, err = decodeNative(file)
	} else {
		o, err = decodePortable(file, n.ext == extension(Portable, Zstd))
	}
	if err != nil {
		return nil, err
	}
	if what := o.Origin.differs(w.Origin); what != "" {
		return nil, fmt.Errorf("%s: %w", what, ErrForeign)
	}
	if o.Part != w.part || o.last != w.last || o.Counts != w.Counts {
		return nil, fmt.Errorf("it is part %d (last: %t) with %+v, not part %d (last: %t) with %+v: %w", o.Part, o.last, o.Counts, w.part, w.last, w.Counts, ErrForeign)
	}
	return o, nil
}
