package snapshot

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func takeSavepoint(t *testing.T, b *Bucket, of Origin, seed uint64) *Manifest {
	t.Helper()
	m := manifestOf(of, writeRows(t, b, of, randomRows(rand.New(rand.NewPCG(seed, 1)), 300, false)))
	m.Kind, m.Request = Savepoint, fmt.Sprintf("r%d", seed)
	writeManifest(t, b, m)
	return m
}

func takingOf(m *Manifest) Taking { return Taking{m.Application, m.Cut, m.Request, m.Triggered} }

func whole(t *testing.T, b *Bucket, m *Manifest) {
	t.Helper()
	name, err := m.Name()
	if err == nil {
		_, err = b.Load(t.Context(), name, "")
	}
	if err == nil {
		err = b.Verify(t.Context(), m, nil)
	}
	if err != nil {
		t.Errorf("cut %d: %v", m.Cut, err)
	}
}

// What is left of a savepoint that was declined is deleted, wherever it broke off; a savepoint that lies in the same
// place stays, also one whose cut has the same number.
func TestDiscardTakesNothingElse(t *testing.T) {
	for _, place := range []string{"mem://", "file"} {
		location := place
		if place == "file" {
			location = filepath.Join(t.TempDir(), "savepoint")
		}
		b := openTest(t, location, Options{Create: true, ObjectBytes: 1000})
		kept := takeSavepoint(t, b, origin(9), 1)
		half := origin(9)
		half.Application = "another"
		writeRows(t, b, half, randomRows(rand.New(rand.NewPCG(2, 1)), 300, false))
		swept, err := b.Discard(t.Context(), Taking{"another", 9, "r2", 5})
		if err != nil || swept.Objects == 0 || swept.Manifests != 0 {
			t.Errorf("%s: %+v, %v", place, swept, err)
		}
		whole(t, b, kept)

		declined := takeSavepoint(t, b, origin(9), 3) // died behind its manifest
		swept, err = b.Discard(t.Context(), takingOf(declined))
		if err != nil || swept.Manifests != 1 || swept.Objects == 0 {
			t.Errorf("%s: %+v, %v", place, swept, err)
		}
		whole(t, b, kept)
		if swept, err = b.Discard(t.Context(), takingOf(kept)); err != nil || swept.Manifests != 1 {
			t.Errorf("%s: %+v, %v", place, swept, err)
		}
		if left, err := b.list(t.Context(), ""); err != nil || len(left) != 0 {
			t.Errorf("%s: left are %v, %v", place, left, err)
		}
		if place == "file" {
			if _, err := os.Stat(location); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the empty directory is left: %v", err)
			}
		}
	}
}

// A manifest that cannot be read may need anything: nothing is deleted.
func TestDiscardBesideDamage(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{ObjectBytes: 1000})
	m := takeSavepoint(t, b, origin(9), 1)
	name, err := m.Name()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if swept, err := b.Discard(t.Context(), Taking{"another", 9, "r2", 5}); !errors.Is(err, ErrDamaged) || swept != (Swept{}) {
		t.Errorf("%+v, %v", swept, err)
	}
	if err := b.Present(t.Context(), m); err != nil {
		t.Error(err)
	}
}

func TestVacant(t *testing.T) {
	b := openTest(t, "mem://", Options{})
	writeRows(t, b, origin(1), randomRows(rand.New(rand.NewPCG(1, 1)), 3, false))
	if err := b.Vacant(t.Context()); err != nil {
		t.Error(err)
	}
	takeSavepoint(t, b, origin(9), 1)
	var e *Error
	if err := b.Vacant(t.Context()); !errors.Is(err, ErrOccupied) || !errors.As(err, &e) || e.Hint == "" {
		t.Errorf("%v", err)
	}
}

// Remove deletes a savepoint and nothing that is not its own; it refuses a checkpoint.
func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	b := openTest(t, dir, Options{Create: true, ObjectBytes: 1000})
	m, other := takeSavepoint(t, b, origin(9), 1), takeSavepoint(t, b, origin(10), 2)
	foreign := filepath.Join(dir, "README")
	if err := os.WriteFile(foreign, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	checkpoint := *other
	checkpoint.Kind = Checkpoint
	if _, err := b.Remove(t.Context(), &checkpoint); !errors.Is(err, ErrForeign) {
		t.Errorf("a checkpoint: %v", err)
	}
	swept, err := b.Remove(t.Context(), m)
	if err != nil || swept.Manifests != 1 || swept.Objects == 0 || swept.Bytes == 0 {
		t.Errorf("%+v, %v", swept, err)
	}
	whole(t, b, other)
	if _, err := b.Remove(t.Context(), other); err != nil {
		t.Error(err)
	}
	if left, err := b.list(t.Context(), ""); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
}

func TestJoin(t *testing.T) {
	for _, c := range []struct{ location, want string }{
		{"/var/lib/weir", "/var/lib/weir/app/savepoints/s1"},
		{"rel/", "rel/app/savepoints/s1"},
		{"file:///x/", "file:///x/app/savepoints/s1"},
		{"s3://bucket?region=eu", "s3://bucket/app/savepoints/s1?region=eu"},
		{"mem://one", "mem://one/app/savepoints/s1"},
	} {
		if got := Join(c.location, "app", "savepoints", "s1"); got != c.want {
			t.Errorf("below %s is %s, want %s", c.location, got, c.want)
		}
	}
}

// Places below one store in memory are as apart as those of other stores.
func TestMemoryHasPlaces(t *testing.T) {
	one, two := openTest(t, "mem://places/one", Options{}), openTest(t, "mem://places/two", Options{})
	takeSavepoint(t, one, origin(9), 1)
	if err := two.Vacant(t.Context()); err != nil {
		t.Error(err)
	}
	if found, err := one.Manifests(t.Context()); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
}
