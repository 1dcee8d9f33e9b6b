package changelog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// A byte of a state directory is flipped while nobody uses it. The next start refuses it, or finds no base and rebuilds,
// or the byte did not matter; it never goes on with other rows. Badger alone does: it compares no checksum when it reads.
func TestFlippedByte(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, db, storeID(0))
	var keys []string
	for i := range 2000 {
		keys = append(keys, fmt.Sprintf("\x01key-%06d", i))
	}
	fill(t, s, 1, keys...)
	if err := errors.Join(s.Close(context.Background(), true), db.Close()); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, rowsName, "*.sst"))
	if err != nil || len(tables) != 2 {
		t.Fatalf("tables %v, %v: want that of the anchor, and one with the rows", tables, err)
	}
	table := filepath.Join(rowsName, filepath.Base(tables[1]))
	seen := map[string]int{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 24 {
		file := table
		if i%4 == 0 {
			file = []string{stateName, filepath.Join(rowsName, "MANIFEST")}[i/4%2]
		}
		damaged := filepath.Join(t.TempDir(), "state")
		if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(damaged, file)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at, bit := rnd.IntN(len(b)), rnd.IntN(8)
		b[at] ^= 1 << bit
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		what, err := started(damaged, keys)
		if err != nil {
			t.Errorf("%s: bit %d of byte %d of %d: %v", file, bit, at, len(b), err)
		}
		seen[filepath.Ext(file)+" "+what]++
	}
	if seen[".sst rebuilt"] == 0 || seen[" refused"] == 0 {
		t.Errorf("outcomes %v: want damaged rows to be rebuilt and a damaged MANIFEST to be refused", seen)
	}
	t.Log(seen)
}

// started says what a start makes of a directory; rows that are not those of keys are an error.
func started(dir string, keys []string) (what string, err error) {
	db, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1})
	if err != nil {
		return "refused", nil
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s, _, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil {
		return "refused", nil
	}
	defer func() { err = errors.Join(err, s.Close(context.Background(), false)) }()
	n := 0
	wrong := error(nil)
	err = s.All(func(k, v []byte) bool {
		if n >= len(keys) || string(k) != keys[n] || string(v) != "value of "+keys[n] {
			wrong = fmt.Errorf("row %d is %q: %q", n, k, v)
			return false
		}
		n++
		return true
	})
	switch err = errors.Join(err, wrong); {
	case err != nil:
		return "wrong", err
	case !found && n == 0:
		return "rebuilt", nil
	case n != len(keys):
		return "wrong", fmt.Errorf("%d of %d rows", n, len(keys))
	}
	return "right", nil
}
