package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
)

func names(objects []Object) (all []string) {
	for _, o := range objects {
		all = append(all, o.Name)
	}
	return all
}

func TestUnreferenced(t *testing.T) {
	b := openTest(t, "mem://", Options{})
	one := []row{{[]byte("a"), []byte("1")}}
	base := writeRows(t, b, origin(1), one)
	of := origin(2)
	of.Content, of.Since = Increment, 100
	second := writeRows(t, b, of, one)
	of = origin(3)
	of.Content, of.Since = Increment, 200
	third := writeRows(t, b, of, one)
	full := writeRows(t, b, origin(4), one)
	m1, m2 := manifestOf(origin(1), base), manifestOf(origin(2), base, second)
	m3, m4 := manifestOf(origin(3), base, second, third), manifestOf(origin(4), full)
	for i, c := range []struct {
		drop *Manifest
		keep []*Manifest
		want []Object
	}{
		{m1, []*Manifest{m2}, nil},
		{m1, []*Manifest{m4}, base.Objects},
		{m3, []*Manifest{m1}, append(slices.Clone(second.Objects), third.Objects...)},
		{m3, []*Manifest{m1, m2, m4}, third.Objects},
		{m3, nil, append(append(slices.Clone(base.Objects), second.Objects...), third.Objects...)},
	} {
		if got := Unreferenced(c.drop, c.keep); !slices.Equal(names(got), names(c.want)) {
			t.Errorf("%d: %v, want %v", i, names(got), names(c.want))
		}
	}
	if err := b.Drop(t.Context(), m1, []*Manifest{m2, m1}); err == nil {
		t.Error("dropped what is to be kept")
	}
}

// A checkpoint that is dropped half, however far that came, is not there, and never there without its objects.
func TestDropThatIsCutShort(t *testing.T) {
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 300, false)
	for step := range 8 {
		b, f := openFaulty(t, Options{ObjectBytes: 2000, Parallel: 1})
		old, now := manifestOf(origin(1), writeRows(t, b, origin(1), rows)), manifestOf(origin(2), writeRows(t, b, origin(2), rows))
		oldName, newName := writeManifest(t, b, old), writeManifest(t, b, now)
		n := 0
		f.set(func(_ context.Context, op, key string) error {
			if op == "delete" {
				if n++; n > step {
					return errors.New("killed")
				}
			}
			return nil
		})
		err := b.Drop(t.Context(), old, []*Manifest{now})
		f.set(nil)
		if step == 0 {
			if _, err := b.Load(t.Context(), oldName, ""); err != nil {
				t.Errorf("killed before the first step: %v", err)
			}
		} else {
			// Asked for itself: Load would not find a manifest whose objects are gone, either.
			if _, err := b.size(t.Context(), oldName); !errors.Is(err, ErrNotFound) {
				t.Errorf("killed after %d steps, the manifest is still there: %v", step, err)
			}
		}
		if err == nil && step < 2 {
			t.Errorf("it needed no more than %d steps", step)
		}
		if err := b.Drop(t.Context(), old, []*Manifest{now}); err != nil { // the next owner goes on
			t.Error(err)
		}
		if _, err := b.Load(t.Context(), newName, ""); err != nil {
			t.Errorf("killed after %d steps: %v", step, err)
		}
		left, err := b.list(t.Context(), "")
		if err != nil || len(left) != 1+len(slices.Collect(now.Objects())) {
			t.Errorf("killed after %d steps, %d files are left, %v", step, len(left), err)
		}
	}
}

// What killed writers leave, temporary files of the file driver included, goes with the sweep of their cut; files of
// other people stay.
func TestSweepOfADeclinedCut(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{ObjectBytes: 1000})
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 100, false)
	kept := manifestOf(origin(1), writeRows(t, b, origin(1), rows))
	writeManifest(t, b, kept)
	declined := manifestOf(origin(12), writeRows(t, b, origin(12), rows))
	writeManifest(t, b, declined) // the coordinator died before it could say complete
	undecided := writeRows(t, b, origin(13), rows)
	temporary := filepath.Join(dir, writeRows(t, b, origin(12), rows).Objects[0].Name+".18a.tmp")
	readme := filepath.Join(dir, "objects", "README")
	for _, name := range []string{temporary, readme} {
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	swept, err := b.Sweep(t.Context(), []*Manifest{kept}, 12, 13)
	objects := len(slices.Collect(declined.Objects()))
	if err != nil || swept.Manifests != 1 || swept.Objects != objects+1 || swept.Bytes == 0 {
		t.Errorf("%+v, %v, want a manifest and %d objects", swept, err, objects+1)
	}
	for name, want := range map[string]bool{temporary: false, readme: true, filepath.Join(dir, undecided.Objects[0].Name): true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if swept, err := b.Sweep(t.Context(), []*Manifest{kept}, 0, 13); err != nil || swept != (Swept{}) {
		t.Errorf("%+v, %v", swept, err)
	}
	if err := b.Verify(t.Context(), kept, nil); err != nil {
		t.Error(err)
	}
	if err := os.Remove(readme); err != nil {
		t.Fatal(err)
	}
	if swept, err = b.Dispose(t.Context()); err != nil || swept.Manifests != 1 {
		t.Errorf("%+v, %v", swept, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

// coordinators plays checkpoints, drops and sweeps at random, with everything that may come late or be cut short.
type coordinators struct {
	t        *testing.T
	rng      *rand.Rand
	b        *Bucket
	killed   *atomic.Bool // requests fail from now on
	next     uint64       // cut
	retained []*Manifest
	states   map[uint64]map[string]string // by cut
	late     []func() error               // what zombies still have in mind
}

// keep is a copy: a zombie goes on with what it knew.
func (c *coordinators) keep() []*Manifest { return slices.Clone(c.retained) }

func (c *coordinators) newest() *Manifest {
	if len(c.retained) == 0 {
		return nil
	}
	return c.retained[len(c.retained)-1]
}

// checkpoint takes a cut, with zombies at work in the middle of it.
func (c *coordinators) checkpoint() error {
	cut := c.next
	c.next++
	base := c.newest() // named by the trigger
	of := origin(cut)
	var layers []Layer
	state := map[string]string{}
	rows := randomRows(c.rng, c.rng.IntN(60), false)
	if base != nil && c.rng.IntN(3) > 0 {
		layers = slices.Clone(base.Tasks[0].Stores[0].Layers)
		of.Content, of.Since = Increment, base.Tasks[0].Stores[0].End
		rows = randomRows(c.rng, c.rng.IntN(30), true)
		state = maps.Clone(c.states[base.Cut])
	}
	for _, r := range rows {
		if delete(state, string(r.key)); r.value != nil {
			state[string(r.key)] = string(r.value)
		}
	}
	zombie := func() error { _, err := c.b.WriteRows(context.Background(), of, feed(rows), nil); return err }
	c.late = append(c.late, zombie)
	c.runLate()
	if c.rng.IntN(6) == 0 {
		return nil // declined before anything was written
	}
	layer, err := c.b.WriteRows(context.Background(), of, feed(rows), nil)
	if err != nil {
		return err
	}
	c.runLate()
	if c.rng.IntN(4) == 0 {
		return nil // declined
	}
	m := manifestOf(of, append(layers, layer)...)
	if _, err := c.b.WriteManifest(context.Background(), m); err != nil {
		return err
	}
	if c.rng.IntN(6) == 0 {
		return nil // the coordinator died before it could say complete
	}
	c.retained, c.states[cut] = append(c.retained, m), state
	return nil
}

// runLate lets some zombie do what it had in mind.
func (c *coordinators) runLate() {
	for range c.rng.IntN(3) {
		if len(c.late) > 0 {
			i := c.rng.IntN(len(c.late))
			if err := c.late[i](); err != nil {
				c.t.Errorf("zombie: %v", err)
			}
			c.late = slices.Delete(c.late, i, i+1)
		}
	}
}

func (c *coordinators) step() {
	switch c.rng.IntN(5) {
	case 0, 1, 2:
		if err := c.checkpoint(); err != nil {
			c.t.Errorf("checkpoint: %v", err)
		}
	case 3:
		if len(c.retained) <= 1 {
			return
		}
		i := c.rng.IntN(len(c.retained) - 1) // never the newest
		old := c.retained[i]
		c.retained = slices.Delete(c.keep(), i, i+1)
		keep := c.keep()
		drop := func() error { return c.b.Drop(context.Background(), old, keep) }
		switch c.rng.IntN(3) {
		case 0: // killed somewhere in the middle
			c.killed.Store(true)
			_ = drop()
			c.killed.Store(false)
		case 1:
			c.late = append(c.late, drop)
		case 2:
			if err := drop(); err != nil {
				c.t.Errorf("drop: %v", err)
			}
		}
	case 4:
		keep, below := c.keep(), c.next
		sweep := func() error { _, err := c.b.Sweep(context.Background(), keep, 0, below); return err }
		if c.rng.IntN(2) == 0 {
			c.late = append(c.late, sweep)
		} else if err := sweep(); err != nil {
			c.t.Errorf("sweep: %v", err)
		}
	}
}

// check wants every retained checkpoint to be whole.
func (c *coordinators) check() {
	for _, m := range c.retained {
		name, err := m.Name()
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := c.b.Load(context.Background(), name, "word-count"); err != nil {
			c.t.Errorf("cut %d is retained: %v", m.Cut, err)
		}
		if state, err := restored(c.t, c.b, m); err != nil || !maps.Equal(state, c.states[m.Cut]) {
			c.t.Errorf("cut %d restored to %d rows, want %d, %v", m.Cut, len(state), len(c.states[m.Cut]), err)
		}
	}
}

// Whoever comes late and whatever is cut short, a retained checkpoint is whole, and after a last sweep nothing else is
// there.
func TestRetentionRandom(t *testing.T) {
	for seed := range uint64(60) {
		b, f := openFaulty(t, Options{ObjectBytes: 700, Parallel: 2})
		c := &coordinators{t: t, rng: rand.New(rand.NewPCG(seed, 7)), b: b, killed: &atomic.Bool{}, next: 1, states: map[uint64]map[string]string{}}
		var n atomic.Int64
		f.set(func(context.Context, string, string) error {
			if c.killed.Load() && n.Add(1)%3 == 0 {
				return errors.New("killed")
			}
			return nil
		})
		for range 40 {
			c.step()
			c.check()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		for len(c.late) > 0 {
			c.runLate()
		}
		c.check()
		if _, err := b.Sweep(t.Context(), c.retained, 0, c.next); err != nil {
			t.Fatal(err)
		}
		c.check()
		want := map[string]bool{}
		for _, m := range c.retained {
			name, _ := m.Name()
			want[name] = true
			for o := range m.Objects() {
				want[o.Name] = true
			}
		}
		left, err := b.list(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, l := range left {
			got[l.name] = true
		}
		if !maps.Equal(got, want) {
			t.Fatalf("seed %d: %d files are left, %d are referred to: %v", seed, len(got), len(want), fmt.Sprint(got))
		}
	}
}
