package changelog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// fill commits n rows as one epoch.
func fill(t testing.TB, s *Store, epoch uint64, keys ...string) {
	t.Helper()
	for _, k := range keys {
		if err := s.Put([]byte(k), []byte("value of "+k)); err != nil {
			t.Fatal(err)
		}
	}
	s.Commit(epochID(epoch), s.end+int64(len(keys)))
}

// withRows returns a directory that was closed cleanly and has rows of two epochs.
func withRows(t *testing.T, opt DBOptions) string {
	t.Helper()
	opt.Application, opt.MinFree = "app", 1
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	db, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, db, storeID(0))
	fill(t, s, 1, "a", "b")
	fill(t, s, 2, "c")
	if err := errors.Join(s.Close(context.Background(), true), db.Close()); err != nil {
		t.Fatal(err)
	}
	return opt.Dir
}

func TestLockedDirectoryNamesItsHolder(t *testing.T) {
	db := openTest(t, DBOptions{})
	_, err := Open(DBOptions{Dir: db.dir.path, Application: "app", MinFree: 1})
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("second open: %v", err)
	}
}

func TestForeignDirectory(t *testing.T) {
	dir := withRows(t, DBOptions{})
	_, err := Open(DBOptions{Dir: dir, Application: "other", MinFree: 1})
	var foreign *ForeignError
	if !errors.Is(err, ErrForeign) || !errors.As(err, &foreign) || foreign.Found != "app" {
		t.Errorf("other application: %v", err)
	}
	// It was refused without a change, and without keeping the lock.
	if s := openStore(t, openTest(t, DBOptions{Dir: dir}), storeID(0)); s.markerEnd.Load() != 3 {
		t.Errorf("the owner finds marker end %d, want 3", s.markerEnd.Load())
	}
}

func TestRowsOfUnknownOwnerAreNotTouched(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, rowsName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1}); err == nil || !strings.Contains(err.Error(), "not known whose") {
		t.Errorf("open: %v", err)
	}
}

func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	b, _ := json.Marshal(dirState{Format: dirFormat + 1, Application: "app"})
	if err := os.WriteFile(filepath.Join(dir, stateName), b, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1})
	var newer *NewerError
	if !errors.Is(err, ErrNewer) || !errors.As(err, &newer) || newer.Found != dirFormat+1 {
		t.Errorf("open: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	if os.Getuid() == 0 { // root may write everywhere, except below a file
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(DBOptions{Dir: filepath.Join(file, "state"), Application: "app", MinFree: 1})
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("below a file: %v", err)
		}
	} else {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		_, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1})
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("read-only: %v", err)
		}
	}
	for _, errno := range []error{unix.EROFS, unix.EACCES, unix.EPERM} {
		if err := dirError("/state", "lock", &os.PathError{Op: "open", Err: errno}); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%v becomes %v", errno, err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	n, err := free(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(DBOptions{Dir: dir, Application: "app", MinFree: n + 1<<40})
	var full *DiskFullError
	if !errors.Is(err, ErrDiskFull) || !errors.As(err, &full) || full.Reserve != n+1<<40 {
		t.Errorf("open: %v", err)
	}

	db := openTest(t, DBOptions{Dir: dir, ApplyInterval: 1})
	s := openStore(t, db, storeID(0))
	fill(t, s, 1, "a")
	db.opt.MinFree = n + 1<<40
	if err := s.Apply(); !errors.Is(err, ErrDiskFull) {
		t.Errorf("apply: %v", err)
	}
	if v, ok, err := s.Get([]byte("a")); string(v) != "value of a" || !ok || err != nil {
		t.Errorf("rows are still there: %q %v %v", v, ok, err)
	}
	db.opt.MinFree = 1
	if err := s.Apply(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	settle(t, s)
	if s.markerEnd.Load() != 1 {
		t.Errorf("marker end %d, want 1", s.markerEnd.Load())
	}
}

// A failed batch is reported, no marker follows it, and its rows stay in memory.
func TestApplyErrorIsReported(t *testing.T) {
	db := openTest(t, DBOptions{ApplyInterval: 1})
	s := openStore(t, db, storeID(0))
	fill(t, s, 1, "a")
	gate := make(chan struct{})
	if err := db.submit(job{run: func(uint64) error { <-gate; db.opt.MinFree = 1 << 62; return nil }}); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(); err != nil { // handed over while there is space
		t.Fatal(err)
	}
	close(gate)
	done := make(chan struct{})
	_ = db.submit(job{run: func(uint64) error { return nil }, done: func(error) { close(done) }})
	<-done
	if err := s.Apply(); !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "counts of task 0-0") {
		t.Errorf("apply: %v", err)
	}
	db.opt.CacheBytes = 1
	for range 3 {
		s.tidy()
	}
	if v, ok, err := s.Get([]byte("a")); string(v) != "value of a" || !ok || err != nil {
		t.Errorf("after eviction: %q %v %v", v, ok, err)
	}
	if s.markerEnd.Load() != -1 {
		t.Errorf("marker end %d after a failed batch", s.markerEnd.Load())
	}
	db.opt.MinFree = 1
}

func TestBaseIsTrusted(t *testing.T) {
	for _, c := range []struct {
		name     string
		boot     string
		edit     func(*dirState)
		topic    byte
		timeline uint32
		want     bool
	}{
		{name: "clean end", want: true},
		{name: "clean end, other boot", boot: "b2", want: true},
		{name: "killed, same boot", edit: func(s *dirState) { s.Clean = false }, want: true},
		{name: "killed, other boot", boot: "b2", edit: func(s *dirState) { s.Clean = false }},
		{name: "killed, boot unknown", edit: func(s *dirState) { s.Clean, s.Boot = false, "" }},
		{name: "topic made anew", topic: 9},
		{name: "other timeline", timeline: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := withRows(t, DBOptions{Boot: "b1"})
			state, err := readState(filepath.Join(dir, stateName))
			if err != nil || !state.Clean {
				t.Fatalf("%+v, %v", state, err)
			}
			if c.edit != nil {
				c.edit(&state)
				b, _ := json.Marshal(state)
				if err := os.WriteFile(filepath.Join(dir, stateName), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if c.boot == "" {
				c.boot = "b1"
			}
			db := openTest(t, DBOptions{Dir: dir, Boot: c.boot})
			id := storeID(0)
			if c.topic != 0 {
				id.TopicID[0] = c.topic
			}
			if c.timeline != 0 {
				id.Timeline = c.timeline
			}
			s, m, found, err := db.OpenStore(context.Background(), id)
			if err != nil || found != c.want {
				t.Fatalf("found %v, %v; want %v", found, err, c.want)
			}
			v, ok, err := s.Get([]byte("c"))
			if err != nil || ok != c.want {
				t.Errorf("row: %q %v %v", v, ok, err)
			}
			if found && (m.End != 3 || m.Reach != 3 || m.Epoch != epochID(2) || m.Wall == 0) {
				t.Errorf("marker %+v", m)
			}
		})
	}
}

// A marker that is damaged, or a reach that is gone, is no base.
func TestDamagedMarker(t *testing.T) {
	for name, damage := range map[string]func(txn *badger.Txn) error{
		"marker": func(txn *badger.Txn) error {
			item, err := txn.Get(systemKey(rowMarker, 1))
			if err != nil {
				return err
			}
			b, err := item.ValueCopy(nil)
			b[45]++ // in End
			return errors.Join(err, txn.Set(systemKey(rowMarker, 1), b))
		},
		"no reach":     func(txn *badger.Txn) error { return txn.Delete(systemKey(rowReach, 1)) },
		"short marker": func(txn *badger.Txn) error { return txn.Set(systemKey(rowMarker, 1), sealed(nil)) },
		"low reach":    func(txn *badger.Txn) error { return txn.Set(systemKey(rowReach, 1), encodeEnd(2)) },
		"registry":     func(txn *badger.Txn) error { return txn.Set(storeKey(storeID(0)), []byte{0, 0, 0, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			db := openTest(t, DBOptions{Dir: withRows(t, DBOptions{})})
			done := make(chan error, 1)
			err := db.submit(job{done: func(err error) { done <- err }, run: func(ts uint64) error {
				txn := db.badger.NewTransactionAt(ts, true)
				defer txn.Discard()
				return errors.Join(damage(txn), txn.CommitAt(ts, nil))
			}})
			if err = errors.Join(err, <-done); err != nil {
				t.Fatal(err)
			}
			s, _, found, err := db.OpenStore(context.Background(), storeID(0))
			if err != nil || found {
				t.Fatalf("found %v, %v", found, err)
			}
			if _, ok, _ := s.Get([]byte("a")); ok {
				t.Error("a row of the untrusted base is visible")
			}
		})
	}
}

func TestInstanceIDStays(t *testing.T) {
	dir := t.TempDir()
	var ids [2]string
	for i := range ids {
		db, err := Open(DBOptions{Dir: dir, Application: "app", MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		if ids[i], err = db.InstanceID(); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids[0]) != 16 || ids[0] != ids[1] {
		t.Errorf("ids %q", ids)
	}
}

// Two lanes of a process: the second waits for the first, and for the writes it handed over.
func TestLease(t *testing.T) {
	db := openTest(t, DBOptions{ApplyInterval: 1})
	a := openStore(t, db, storeID(0))
	other := openStore(t, db, storeID(1)) // another task's store is free
	_ = other.Close(context.Background(), false)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, _, err := db.OpenStore(ctx, storeID(0)); !errors.Is(err, context.Canceled) {
		t.Fatalf("open of a held store: %v", err)
	}
	gate := make(chan struct{})
	if err := db.submit(job{run: func(uint64) error { <-gate; return nil }}); err != nil {
		t.Fatal(err)
	}
	fill(t, a, 1, "a")
	if err := a.Close(ctx, true); !errors.Is(err, context.Canceled) {
		t.Fatalf("close with its writes still to come: %v", err)
	}
	if _, _, _, err := db.OpenStore(ctx, storeID(0)); !errors.Is(err, context.Canceled) {
		t.Fatalf("open while its writes are still to come: %v", err)
	}
	close(gate)
	b, m, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil || !found || m.End != 1 {
		t.Fatalf("%+v %v %v", m, found, err)
	}
	if v, ok, _ := b.Get([]byte("a")); !ok || !bytes.Equal(v, []byte("value of a")) {
		t.Errorf("row %q %v", v, ok)
	}
	if err := a.Put([]byte("x"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("put to a closed store: %v", err)
	}
	if _, _, err := a.Get([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("get from a closed store: %v", err)
	}
	if list, err := db.Stored(); err != nil || len(list) != 1 || list[0].ID != storeID(0) || list[0].Marker != m {
		t.Errorf("stored %+v, %v, want %+v", list, err, m)
	}
}

// A wiped store is empty at once; its rows leave the disk in the background, also when
// the process ends in between.
func TestResetDeletesInSlices(t *testing.T) {
	dir := t.TempDir()
	opt := DBOptions{Dir: dir, Application: "app", MinFree: 1}
	db, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, db, storeID(0))
	keys := make([]string, 3*wipeRows)
	for i := range keys {
		keys[i] = strings.Repeat("k", i%7) + string(rune('a'+i%26)) + string(rune(0x100+i))
	}
	fill(t, s, 1, keys...)
	if err := s.handAll(); err != nil {
		t.Fatal(err)
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := s.Get([]byte(keys[0])); ok {
		t.Error("a row is still there")
	}
	fill(t, s, 1, "new")
	if err := errors.Join(s.Close(context.Background(), true), db.Close()); err != nil {
		t.Fatal(err)
	}
	db = openTest(t, opt)
	for wiping := true; wiping; {
		db.applier.mu.Lock()
		wiping = len(db.applier.dead) > 0
		db.applier.mu.Unlock()
		runtime.Gosched()
	}
	txn := db.badger.NewTransactionAt(1<<62, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	var left []string
	for it.Rewind(); it.Valid(); it.Next() {
		left = append(left, string(it.Item().Key()))
	}
	if want := []string{string(systemKey(rowMarker, 2)), string(nextKey()), string(systemKey(rowReach, 2)), string(storeKey(storeID(0))), string(anchorKey), "\x00\x00\x00\x02new"}; strings.Join(left, "|") != strings.Join(want, "|") {
		t.Errorf("left on disk: %q, want %q", left, want)
	}
}

// A base that is newer than what Kafka has committed must not be completed by a replay,
// although its marker is below: rows without a later change would stay from the future.
func TestReachAboveCommittedEnd(t *testing.T) {
	dir := t.TempDir()
	opt := DBOptions{Dir: dir, Application: "app", MinFree: 1, ApplyInterval: 1}
	db, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, db, storeID(0))
	fill(t, s, 1, "a")
	if err := s.Apply(); err != nil { // marker 1
		t.Fatal(err)
	}
	fill(t, s, 2, "b")
	s.startWave()
	fill(t, s, 3, "c", "d")
	if err := s.handOver(sliceBytes); err != nil { // marker 2, rows as of 4
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(context.Background(), false), db.Close()); err != nil {
		t.Fatal(err)
	}
	db = openTest(t, opt)
	s, m, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil || !found || m.End != 2 || m.Reach != 4 {
		t.Fatalf("marker %+v %v %v", m, found, err)
	}
	if err := s.Finish(epochID(2), 3); err == nil || !strings.Contains(err.Error(), "reset the store") {
		t.Errorf("finish below the reach: %v", err)
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(epochID(2), 3); err != nil {
		t.Errorf("finish after reset: %v", err)
	}
}

// A kill between the creation of a log file and its first size left a directory that
// Badger did not open any more.
func TestEmptyLogFiles(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, DBOptions{Dir: dir})
	s, _, _, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	s.Commit(epochID(1), 1)
	if err := errors.Join(s.Close(context.Background(), true), db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00900.mem", "000900.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, rowsName, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db = openTest(t, DBOptions{Dir: dir})
	s, m, found, err := db.OpenStore(context.Background(), storeID(0))
	if err != nil || !found || m.End != 1 {
		t.Fatalf("base %+v %v, %v", m, found, err)
	}
	if v, ok, err := s.Get([]byte("k")); err != nil || !ok || string(v) != "v" {
		t.Errorf("k is %q %v, %v", v, ok, err)
	}
}
