package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// WriteManifest completes a checkpoint or savepoint and gives its name within the bucket, to be noted where it counts.
// Every object that it refers to has been written before. Writing the same manifest again changes nothing. Two writers
// with different manifests for one cut do not overwrite each other: the one whose name is noted counts.
func (b *Bucket) WriteManifest(ctx context.Context, m *Manifest) (string, error) {
	text, n, err := m.encode()
	if err != nil {
		return "", b.wrap("write", manifestDir, err)
	}
	return n.String(), b.put(ctx, n.String(), text)
}

// Load reads a manifest and makes sure that every object that it refers to is there with its size, by one request each,
// Options.Parallel at a time. What is in them only Restore and Verify see. An application that is not "" must be the
// manifest's. Errors: *Error of kind ErrNotFound, ErrDamaged, ErrNewer, ErrForeign, ErrAccess or ErrUnreachable; for
// objects all that is wrong, joined.
func (b *Bucket) Load(ctx context.Context, manifest, application string) (*Manifest, error) {
	m, err := b.manifest(ctx, manifest)
	if err != nil {
		return nil, err
	}
	if application != "" && m.Application != application {
		return nil, b.wrap("read", manifest, fmt.Errorf("it is of application %q, not of %q: %w", m.Application, application, ErrForeign))
	}
	return m, b.Present(ctx, m)
}

// Present makes sure that every object that a manifest refers to is there with its size, as Load does.
func (b *Bucket) Present(ctx context.Context, m *Manifest) error {
	return b.parallel(slices.Collect(m.Objects()), func(o Object) error {
		size, err := b.size(ctx, o.Name)
		if err == nil && size != o.Size {
			err = b.wrap("read", o.Name, damaged("it has %d bytes, the manifest says %d", size, o.Size))
		}
		return err
	})
}

func (b *Bucket) manifest(ctx context.Context, manifest string) (*Manifest, error) {
	n, ok := parseName(manifest)
	if !ok || n.dir != manifestDir {
		return nil, b.wrap("read", manifest, errors.New("the name is none of a manifest"))
	}
	text, err := b.get(ctx, manifest, -1)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(n, text)
	return m, b.wrap("read", manifest, err)
}

// parallel calls f for all objects, at most Options.Parallel at a time, and joins the errors in order, some of them.
func (b *Bucket) parallel(objects []Object, f func(Object) error) error {
	const enough = 20
	errs := make([]error, len(objects))
	var workers sync.WaitGroup
	next := make(chan int)
	for range min(b.options.Parallel, len(objects)) {
		workers.Go(func() {
			for i := range next {
				errs[i] = f(objects[i])
			}
		})
	}
	for i := range objects {
		next <- i
	}
	close(next)
	workers.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) > enough {
		errs = append(errs[:enough], fmt.Errorf("and %d more", len(errs)-enough))
	}
	return errors.Join(errs...)
}

// Listed is a manifest that lies in a bucket. Of a checkpoint it does not say that it was completed.
type Listed struct {
	Name     string
	Cut      uint64
	Size     int64
	Modified time.Time
}

// Manifests lists those of the bucket, lowest cut first.
func (b *Bucket) Manifests(ctx context.Context) ([]Listed, error) {
	all, err := b.list(ctx, manifestDir)
	if err != nil {
		return nil, err
	}
	var found []Listed
	for _, l := range all {
		if n, ok := parseName(l.name); ok {
			found = append(found, Listed{Name: l.name, Cut: n.cut, Size: l.size, Modified: l.modified})
		}
	}
	slices.SortStableFunc(found, func(a, b Listed) int { return cmp.Compare(a.Cut, b.Cut) })
	return found, nil
}

// Find opens what a user named: the directory of a savepoint, or the file of a manifest, of a savepoint or a checkpoint
// (<directory>/<application>/manifests/<cut>-<sum>.json). The caller closes the bucket. Errors: those of Open and Load;
// ErrNotFound also for a savepoint that was not completed, as its manifest is written last.
func Find(ctx context.Context, location string, o Options) (*Bucket, *Manifest, error) {
	b, m, err := FindManifest(ctx, location, o)
	if err != nil {
		return nil, nil, err
	}
	if err := b.Present(ctx, m); err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	return b, m, nil
}

// FindManifest is Find for who reads the manifest alone: objects may be missing.
func FindManifest(ctx context.Context, location string, o Options) (*Bucket, *Manifest, error) {
	root, manifest := SplitManifest(location)
	b, err := Open(ctx, root, o)
	if err != nil {
		return nil, nil, err
	}
	m, err := b.find(ctx, manifest)
	if err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	return b, m, nil
}

func (b *Bucket) find(ctx context.Context, manifest string) (*Manifest, error) {
	if manifest != "" {
		return b.manifest(ctx, manifest)
	}
	found, err := b.Manifests(ctx)
	if err != nil {
		return nil, err
	}
	switch len(found) {
	case 1:
		return b.manifest(ctx, found[0].Name)
	case 0:
		return nil, &Error{
			Op: "read", Location: b.location, Kind: ErrNotFound, Err: errors.New("there is no manifest"),
			Hint: "either it is not the directory of a savepoint (checkpoints of an application lie one directory further down), or the savepoint was never completed: take another one",
		}
	}
	var names []string
	for _, l := range found {
		names = append(names, "\n\t"+b.location+"/"+l.Name)
	}
	return nil, b.wrap("read", "", fmt.Errorf("there are %d manifests, name one of them:%s", len(found), strings.Join(names, "")))
}
