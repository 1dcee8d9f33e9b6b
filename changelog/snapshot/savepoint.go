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
	found, err := b.Manifests(ctx)
	if err != nil {
		return Swept{}, err
	}
	var keep []*Manifest
	for _, l := range found {
		if l.Name == name {
			continue
		}
		other, err := b.manifest(ctx, l.Name)
		if err != nil {
			return Swept{}, err
		}
		keep = append(keep, other)
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
