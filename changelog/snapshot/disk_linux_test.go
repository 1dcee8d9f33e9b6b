package snapshot

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The driver renames its temporary file at Close even if a write to it has failed. What a full disk has left of an
// object must not come to lie under the object's name. The limit on the size of files stands for the disk.
func TestFailedWriteLeavesNoObject(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{Compression: None})
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = 8 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	_, err := b.WriteRows(t.Context(), origin(1), feed(randomRows(rand.New(rand.NewPCG(1, 1)), 1000, false)), nil)
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("written: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "objects"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
