package snapshot

import (
	"context"
	"errors"
	"fmt"
)

// Vacant makes sure that no manifest lies in the bucket: a savepoint has a place of its own. The error is of kind
// ErrOccupied, or one of the store.
func (b *Bucket) Vacant(ctx context.Context) error {
	found, err := b.Manifests(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	return b.wrap("write", found[0].Name, fmt.Errorf("%w, cut %d", ErrOccupied, found[0].Cut))
}

// Taking is a savepoint that is being taken: what tells it from every other one, also of another Kafka.
type Taking struct {
	Application string
	Cut         uint64
	Request     string
	Triggered   int64
}

func (t Taking) is(m *Manifest) bool {
	return m.Kind == Savepoint && t == Taking{m.Application, m.Cut, m.Request, m.Triggered}
}

// Discard deletes what a savepoint has left that was not completed, and nothing else: the place may be that of another
// one, whose cut may have the same number. It may be repeated. Directories that are empty then go, too.
func (b *Bucket) Discard(ctx context.Context, of Taking) (Swept, error) {
	found, err := b.Manifests(ctx)
	if err != nil {
		return Swept{}, err
	}
	var keep []*Manifest
	for _, l := range found {
		m, err := b.manifest(ctx, l.Name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return Swept{}, err // what it needs is not known
		}
		if !of.is(m) {
			keep = append(keep, m)
		}
	}
	swept, err := b.Sweep(ctx, keep, of.Cut, of.Cut+1)
	if err == nil {
		b.prune()
	}
	return swept, err
}

// Remove deletes a savepoint: its manifest, then its objects, but for those that another manifest in the bucket refers
// to. Whatever else lies there stays. Errors: ErrForeign for what is no savepoint, and those of the store.
func (b *Bucket) Remove(ctx context.Context, m *Manifest) (Swept, error) {
	name, err := m.Name()
	if err == nil && m.Kind != Savepoint {
		err = fmt.Errorf("it is a %s, which belongs to its application: %w", m.Kind, ErrForeign)
	}
	if err != nil {
		return Swept{}, b.wrap("delete", name, err)
	}
	keep, err := b.others(ctx, name)
	if err != nil {
		return Swept{}, err
	}
	swept := Swept{Manifests: 1}
	for _, o := range Unreferenced(m, keep) {
		swept.Objects++
		swept.Bytes += o.Size
	}
	if err := b.Drop(ctx, m, keep); err != nil {
		return Swept{}, err
	}
	b.prune()
	return swept, nil
}

// others are the manifests of the bucket but for the one of this name.
func (b *Bucket) others(ctx context.Context, name string) (keep []*Manifest, err error) {
	found, err := b.Manifests(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range found {
		if l.Name == name {
			continue
		}
		other, err := b.manifest(ctx, l.Name)
		if err != nil {
			return nil, err
		}
		keep = append(keep, other)
	}
	return keep, nil
}

// RemoveRest deletes the savepoint of a manifest as Remove does, and what a removal that was cut short has left: the
// manifest may be gone. Nobody else may write a savepoint to this place meanwhile. Errors: as Remove.
func (b *Bucket) RemoveRest(ctx context.Context, manifest string) (Swept, error) {
	m, err := b.manifest(ctx, manifest)
	if err == nil {
		return b.Remove(ctx, m)
	}
	if !errors.Is(err, ErrNotFound) {
		return Swept{}, err
	}
	keep, err := b.others(ctx, manifest)
	if err != nil {
		return Swept{}, err
	}
	n, _ := parseName(manifest)
	swept, err := b.Sweep(ctx, keep, n.cut, n.cut+1)
	if err == nil {
		b.prune()
	}
	return swept, err
}
