package snapshot

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Unreferenced gives the objects that drop refers to and none of keep does.
func Unreferenced(drop *Manifest, keep []*Manifest) []Object {
	held := references(keep)
	var free []Object
	for o := range drop.Objects() {
		if !held[o.Name] {
			free = append(free, o)
		}
	}
	return free
}

func references(keep []*Manifest) map[string]bool {
	held := map[string]bool{}
	for _, m := range keep {
		for o := range m.Objects() {
			held[o.Name] = true
		}
	}
	return held
}

// Drop deletes a checkpoint: its manifest, and then the objects that none of keep refers to. keep holds every
// checkpoint that is retained, and every one that is deleted after this one; the newest completed one is always among
// them, as the cut that is under way may build on it. Who stops between the two steps leaves orphans for Sweep, and
// never a manifest without its objects. It lists nothing and may be repeated.
func (b *Bucket) Drop(ctx context.Context, drop *Manifest, keep []*Manifest) error {
	manifest, err := drop.Name()
	if err != nil {
		return b.wrap("delete", manifestDir, err)
	}
	for _, m := range keep {
		if kept, err := m.Name(); err != nil || kept == manifest {
			return b.wrap("delete", manifest, errors.Join(errors.New("it is to be kept and dropped"), err))
		}
	}
	if err := b.remove(ctx, manifest); err != nil {
		return err
	}
	return b.removeAll(ctx, Unreferenced(drop, keep))
}

func (b *Bucket) removeAll(ctx context.Context, objects []Object) error {
	return b.parallel(objects, func(o Object) error { return b.remove(ctx, o.Name) })
}

// Swept says what Sweep deleted.
type Swept struct {
	Manifests, Objects int
	Bytes              int64
}

// Sweep deletes all that cuts in [from, below) have left and none of keep needs: of declined cuts, of writers that were
// killed or came late, and of checkpoints whose Drop was cut short. keep is as for Drop, and every cut below is decided.
// It lists the names of the bucket; of one cut alone, [n, n+1), only those. What it does not see, because a store lists
// late or a writer is late, is for the next call.
func (b *Bucket) Sweep(ctx context.Context, keep []*Manifest, from, below uint64) (Swept, error) {
	held := references(keep)
	for _, m := range keep {
		manifest, err := m.Name()
		if err != nil {
			return Swept{}, b.wrap("delete", manifestDir, err)
		}
		held[manifest] = true
	}
	var swept Swept
	// Manifests go first: none may be left behind without its objects.
	for _, dir := range []string{manifestDir, objectDir} {
		prefix := dir
		if from+1 == below {
			n := name{dir: dir, cut: from}.String()
			prefix = n[:strings.IndexByte(n, '-')+1]
		}
		all, err := b.list(ctx, prefix)
		if err != nil {
			return swept, err
		}
		var free []Object
		for _, l := range all {
			if cut, ok := cutOf(dir, l.name); ok && cut >= from && cut < below && !held[l.name] {
				free = append(free, Object{Name: l.name, Size: l.size})
				swept.Bytes += l.size
			}
		}
		if err := b.removeAll(ctx, free); err != nil {
			return swept, err
		}
		if dir == manifestDir {
			swept.Manifests = len(free)
		} else {
			swept.Objects = len(free)
		}
	}
	return swept, nil
}

// Dispose deletes all manifests and objects of the bucket, for a savepoint that is no longer wanted or an application
// whose checkpoints are not retained. Of a local bucket the directories go too, if nothing else is in them.
func (b *Bucket) Dispose(ctx context.Context) (Swept, error) {
	swept, err := b.Sweep(ctx, nil, 0, math.MaxUint64)
	if err == nil {
		b.prune()
	}
	return swept, err
}

// prune removes the directories of a local bucket that are empty.
func (b *Bucket) prune() {
	if b.dir == "" {
		return
	}
	root := filepath.Join(b.dir, filepath.FromSlash(b.prefix))
	for _, dir := range slices.Backward([]string{root, filepath.Join(root, manifestDir), filepath.Join(root, objectDir)}) {
		_ = os.Remove(dir) // fails where somebody else has files
	}
}
