package changelog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The process is killed in the middle of a restore, again and again; each one goes on from
// where the marker of the one before says, and the last has the fold of all.

const killRestoreEpochs = 400

func TestKillRestoreChild(t *testing.T) {
	dir := os.Getenv("CHANGELOG_KILL_RESTORE_DIR")
	if dir == "" {
		t.Skip("runs as a child of TestKillRestore")
	}
	db := openTest(t, DBOptions{Dir: dir, ApplyInterval: 1})
	s, m, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil {
		t.Fatal(err)
	}
	end := int64(killRestoreEpochs * killPerEpoch)
	if found && (!m.Restoring || m.Reach != end || m.End >= end) {
		t.Fatalf("the base of a restore that was killed is %+v", m)
	}
	s.Restoring(end)
	for epoch := int(m.End / killPerEpoch); epoch < killRestoreEpochs; epoch++ {
		killEpoch(epoch, func(key, value []byte) {
			if err := s.Restored(key, value); err != nil {
				t.Fatal(err)
			}
		})
		if err := s.RestoredTo(int64(epoch+1) * killPerEpoch); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Println("restored", epoch+1, s.markerEnd.Load()/killPerEpoch); err != nil {
			t.Fatal(err)
		}
		if epoch%3 == 0 {
			settle(t, s) // stay near the disk, so that a kill meets writes
		}
	}
	select {} // the parent kills it here at the latest
}

func TestKillRestore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	reached, marked, continued := 0, 0, 0
	for kill := 0; reached < killRestoreEpochs; kill++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillRestoreChild$")
		cmd.Env = append(os.Environ(), "CHANGELOG_KILL_RESTORE_DIR="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		first, until := 0, min(marked+60+kill*13, killRestoreEpochs)
		for lines.Scan() {
			if _, err := fmt.Sscanf(lines.Text(), "restored %d %d", &reached, &marked); err != nil {
				t.Fatalf("child says %q", lines.Text())
			}
			if first == 0 {
				first = reached
			}
			if reached == until {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		if reached < until {
			t.Fatalf("child ended at epoch %d", reached)
		}
		if first > 1 {
			continued++
		}
		t.Logf("kill %s: from epoch %d to %d, marker at %d", strconv.Itoa(kill), first-1, reached, marked)
	}
	if continued == 0 {
		t.Error("no restore continued: the test shows nothing")
	}
	db, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := restoreKilled(t, db, killRestoreEpochs)
	compareKilled(t, s, killRestoreEpochs)
	if err := s.Close(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// The rows of a restore may lack tombstones since the base it began with was written, not
// since the restore: continued or not, that is the age of its marker. And what it wrote is
// as new as the end it goes to.
func TestRestoringMarker(t *testing.T) {
	clock := time.UnixMilli(1_000_000)
	opt := DBOptions{Dir: t.TempDir(), Now: func() time.Time { return clock }}
	ctx := context.Background()
	db := openTest(t, opt)
	s, _, _, err := db.OpenStore(ctx, storeID(0))
	if err != nil {
		t.Fatal(err)
	}
	for try, next := range []int64{30, 60} {
		s.Restoring(100)
		if err := s.RestoredTo(next - 5); err != nil { // too early: it writes nothing
			t.Fatal(err)
		}
		if settle(t, s); s.Stats().Waves != 0 {
			t.Errorf("try %d: a short restore wrote to disk", try)
		}
		clock = clock.Add(progressAfter)
		if err := errors.Join(s.Restored([]byte("k"), []byte{byte(try)}), s.RestoredTo(next)); err != nil {
			t.Fatal(err)
		}
		settle(t, s)
		if err := errors.Join(s.Close(ctx, true), db.Close()); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Hour)
		db = openTest(t, opt)
		var m Marker
		var found bool
		if s, m, found, err = db.OpenStore(ctx, storeID(0)); err != nil {
			t.Fatal(err)
		}
		if !found || !m.Restoring || m.End != next || m.Reach != 100 || m.Wall != 1_000_000 {
			t.Errorf("try %d: base %+v %v", try, m, found)
		}
		if v, ok, err := s.Get([]byte("k")); err != nil || !ok || v[0] != byte(try) {
			t.Errorf("try %d: row %x %v, %v", try, v, ok, err)
		}
	}
	if err := s.Finish(epochID(1), 99); err == nil {
		t.Error("finished below the end that its rows are as new as")
	}
}
