package changelog

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// A child process commits epochs as fast as it can, each with its line in a file that
// stands for the changelog, and applies them; the parent kills it in the middle.
//
// Epoch e sets key i of e*perEpoch <= i < (e+1)*perEpoch (modulo keys) to e; every tenth
// of them it deletes.
const (
	killKeys     = 20_000
	killPerEpoch = 700
)

func killKey(n int) []byte { return fmt.Appendf(nil, "\x01key-%06d", n) }

func killEpoch(epoch int, put func(key, value []byte)) {
	for i := range killPerEpoch {
		n := (epoch*killPerEpoch + i) % killKeys
		if n%10 == epoch%10 {
			put(killKey(n), nil)
		} else {
			put(killKey(n), binary.BigEndian.AppendUint64(nil, uint64(epoch)))
		}
	}
}

func TestKillChild(t *testing.T) {
	dir := os.Getenv("CHANGELOG_KILL_DIR")
	if dir == "" {
		t.Skip("runs as a child of TestKill")
	}
	first, _ := strconv.Atoi(os.Getenv("CHANGELOG_KILL_FIRST"))
	db := openTest(t, DBOptions{Dir: dir, ApplyInterval: 1, CacheBytes: 1 << 20})
	s := restoreKilled(t, db, first)
	for epoch := first; ; epoch++ {
		killEpoch(epoch, func(key, value []byte) {
			if value == nil {
				_ = s.Delete(key)
			} else {
				_ = s.Put(key, value)
			}
		})
		// The line is Kafka's answer: it comes before Commit and Apply.
		if _, err := fmt.Println("committed", epoch); err != nil {
			t.Fatal(err)
		}
		s.Commit(epochID(uint64(epoch)), int64(epoch+1)*killPerEpoch)
		if err := s.Apply(); err != nil {
			t.Fatal(err)
		}
		for s.queued.Load() > 1<<20 { // stay near the disk, so that a kill meets writes
			settle(t, s)
		}
	}
}

// restoreKilled opens the store and replays the changelog of epochs below next.
func restoreKilled(t *testing.T, db *DB, next int) *Store {
	t.Helper()
	s, m, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil {
		t.Fatal(err)
	}
	end := int64(next) * killPerEpoch
	if found && m.Reach > end {
		t.Fatalf("base %+v is above the committed end %d", m, end)
	}
	for epoch := int(m.End / killPerEpoch); epoch < next; epoch++ {
		killEpoch(epoch, func(key, value []byte) {
			if err := s.Restored(key, value); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := s.Finish(epochID(uint64(next)), end); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKill(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 2
	}
	dir := filepath.Join(t.TempDir(), "state")
	next, markers := 0, 0
	for kill := range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
		cmd.Env = append(os.Environ(), "CHANGELOG_KILL_DIR="+dir, "CHANGELOG_KILL_FIRST="+strconv.Itoa(next))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		last, until := next-1, next+100+kill*37
		for lines.Scan() {
			if _, err := fmt.Sscanf(lines.Text(), "committed %d", &last); err != nil {
				t.Fatalf("child says %q", lines.Text())
			}
			if last == until {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		if last < until {
			t.Fatalf("child ended at epoch %d", last)
		}
		next = last + 1 // what it said before it died is committed

		db, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		s := restoreKilled(t, db, next)
		if s.markerEnd.Load() > 0 {
			markers++
		}
		compareKilled(t, s, next)
		t.Logf("kill %d: epoch %d, marker at %d", kill, last, s.markerEnd.Load()/killPerEpoch)
		if err := s.Close(context.Background(), false); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if markers == 0 {
		t.Error("no kill came after a marker: the test shows nothing")
	}
}

// compareKilled compares the store with the fold of the epochs below next.
func compareKilled(t *testing.T, s *Store, next int) {
	t.Helper()
	want := map[string]string{}
	for epoch := range next {
		killEpoch(epoch, func(key, value []byte) {
			if value == nil {
				delete(want, string(key))
			} else {
				want[string(key)] = string(value)
			}
		})
	}
	rows := 0
	if err := s.All(func(k, v []byte) bool {
		if w, ok := want[string(k)]; !ok || w != string(v) {
			t.Errorf("below epoch %d: %q is %x, want %x %v", next, k, v, w, ok)
		}
		rows++
		return !t.Failed()
	}); err != nil {
		t.Fatal(err)
	}
	if rows != len(want) {
		t.Fatalf("below epoch %d: %d rows, want %d", next, rows, len(want))
	}
}
