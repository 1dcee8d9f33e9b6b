package snapshot

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallFiles makes a child of this test try with a limit on the size of its files, which stands for a full disk.
const smallFiles = "WEIR_TEST_SMALL_FILES"

// The driver renames its temporary file at Close even if a write to it has failed. What a full disk has left of an
// object must not come to lie under the object's name.
func TestFailedWriteLeavesNoObject(t *testing.T) {
	if os.Getenv(smallFiles) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFailedWriteLeavesNoObject$", "-test.v")
		cmd.Env = append(os.Environ(), smallFiles+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 2 << 10, Max: 2 << 10}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := openTest(t, dir, Options{Compression: None})
	_, err := b.WriteRows(t.Context(), origin(1), feed(randomRows(rand.New(rand.NewPCG(1, 1)), 1000, false)), nil)
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "file too large: make room") {
		t.Errorf("written: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "objects"))
	if err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
