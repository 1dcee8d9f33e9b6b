package changelog

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var modelSeed = flag.Int64("model.seed", 0, "run TestModel with this seed only")

// change is one record of the changelog; ends of epochs fall between records.
type change struct {
	key     string
	value   string
	deleted bool
}

// model is a store beside the truth: a changelog kept as a list, and maps.
type model struct {
	t         *testing.T
	rng       *rand.Rand
	dir       string
	opt       DBOptions
	clock     atomic.Int64 // ns
	db        *DB
	s         *Store
	log       []change // committed
	seed      int64
	now       map[string]string
	committed map[string]string
	epoch     uint64
	gates     []gate
	total     Stats
	kind      func(*rand.Rand) bool // whether the next store is in memory only
	memory    bool                  // whether this one is
	continued int                   // restores that began with the marker of another one
	followed  int                   // restores that followed the changelog at first, as a standby does
	cuts      []*modelCut           // not released, oldest first
	reads     []chan error          // of cuts, under way
	seen      cutsSeen
}

// gate is a job that holds the applier until it is opened.
type gate struct{ reached, open chan struct{} }

// stall puts a gate into the applier's queue.
func (m *model) stall() {
	g := gate{make(chan struct{}), make(chan struct{})}
	m.gates = append(m.gates, g)
	m.check(m.db.submit(job{run: func(uint64) error { close(g.reached); <-g.open; return nil }}))
}

// unstall opens gates but for the last left ones, and waits until the applier has come to
// the next.
func (m *model) unstall(left int) {
	for len(m.gates) > left {
		close(m.gates[0].open)
		if m.gates = m.gates[1:]; len(m.gates) > 0 {
			<-m.gates[0].reached
		}
	}
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s (go test -run TestModel -model.seed=%d)", fmt.Sprintf(format, args...), m.seed)
}

func (m *model) check(err error) {
	m.t.Helper()
	if err != nil {
		m.fatalf("%v", err)
	}
}

// key: few of them, of different lengths, with prefixes like windows.
func (m *model) key() string {
	switch m.rng.Intn(4) {
	case 0:
		return fmt.Sprintf("\x01%08d-%d", m.rng.Intn(8), m.rng.Intn(30))
	case 1:
		return fmt.Sprintf("k%d", m.rng.Intn(2000))
	}
	return fmt.Sprintf("k%d", m.rng.Intn(100))
}

func (m *model) value() string {
	n := m.rng.Intn(30)
	if m.rng.Intn(50) == 0 {
		n = m.rng.Intn(5000)
	}
	return strings.Repeat(string(rune('a'+m.rng.Intn(26))), n)
}

func (m *model) step() {
	k := m.key()
	switch n := m.rng.Intn(100); {
	case n < 45:
		v := m.value()
		m.check(m.s.Put([]byte(k), []byte(v)))
		m.now[k] = v
	case n < 55:
		m.check(m.s.Delete([]byte(k)))
		delete(m.now, k)
	case n < 80:
		v, ok, err := m.s.Get([]byte(k))
		m.check(err)
		if w, has := m.now[k]; has != ok || string(v) != w {
			m.fatalf("get %q: %.20q %v, want %.20q %v", k, v, ok, w, has)
		}
	case n < 82:
		lo, hi := m.key(), m.key()
		m.compare([]byte(lo), []byte(hi))
	case n < 92:
		m.commit()
	case n < 94:
		m.s.Rollback()
		m.now = copyMap(m.committed)
	case n < 98:
		m.clock.Add(int64(m.rng.Intn(2000)) * int64(time.Millisecond))
		m.check(m.s.Apply())
		switch m.rng.Intn(6) {
		case 0:
			m.unstall(0)
			settle(m.t, m.s)
		case 1:
			m.unstall(0) // and do not wait
		case 2, 3:
			m.stall()
		case 4:
			m.unstall(len(m.gates) / 2)
		}
	case n < 99 && m.rng.Intn(2) == 0:
		m.reopen(min(2, m.rng.Intn(5)))
	case n >= 98:
		for range 3 {
			m.lookAtCuts()
		}
	}
}

func (m *model) commit() {
	var fresh []change
	m.check(m.s.Changes(func(k, v []byte) error {
		fresh = append(fresh, change{string(k), string(v), v == nil})
		return nil
	}))
	seen := map[string]bool{}
	for _, c := range fresh {
		if w, ok := m.now[c.key]; ok == c.deleted || w != c.value {
			m.fatalf("changes: %q is %.20q deleted %v, want %.20q %v", c.key, c.value, c.deleted, w, ok)
		}
		if seen[c.key] {
			m.fatalf("changes: %q twice", c.key)
		}
		seen[c.key] = true
	}
	for k, v := range m.committed {
		if w, ok := m.now[k]; (!ok || w != v) && !seen[k] {
			m.fatalf("changes: %q is missing", k)
		}
	}
	m.log = append(m.log, fresh...)
	if m.rng.Intn(3) == 0 {
		m.log = append(m.log, change{}) // a control record takes an offset
	}
	m.epoch++
	m.s.Commit(epochID(m.epoch), int64(len(m.log)))
	m.committed = copyMap(m.now)
	if m.rng.Intn(4) == 0 {
		m.cut()
	}
}

// reopen ends the store cleanly (0), drops it (1), or kills the process (2: the files
// as they are at this moment are the next directory).
func (m *model) reopen(how int) {
	ctx := context.Background()
	dir := m.dir
	if how == 2 {
		if len(m.gates) > 1 { // between two of the hand-overs that wait
			m.unstall(1 + m.rng.Intn(len(m.gates)-1))
		}
		dir = m.t.TempDir()
		copyTree(m.t, m.dir, dir)
	}
	m.unstall(0)
	st := m.s.Stats()
	m.total.Reads += st.Reads
	m.total.Evicted += st.Evicted
	m.total.Applied += st.Applied
	m.total.Waves += st.Waves
	if m.memory && st.Applied+st.Waves+st.Reads+st.Evicted > 0 {
		m.fatalf("a store in memory only: %+v", st)
	}
	m.check(m.s.Close(ctx, how == 0))
	m.closedCuts(how == 0)
	if how == 2 || m.rng.Intn(2) == 0 {
		m.forgetCuts()
		m.check(m.db.Close())
		m.dir = dir
		m.db = m.openDB()
	}
	m.openStore(how == 0 && !m.memory)
	m.now = copyMap(m.committed)
	m.compare(nil, nil)
}

func (m *model) time() time.Time { return time.Unix(0, m.clock.Load()) }

func (m *model) openDB() *DB {
	opt := m.opt
	opt.Dir, opt.Application, opt.MinFree = m.dir, "app", 1
	opt.Now = m.time
	db, err := Open(opt)
	m.check(err)
	return db
}

// openStore restores as an engine does, from a compacted changelog. Some restores are
// killed on the way and begun again.
func (m *model) openStore(whole bool) {
	for kills := m.rng.Intn(4); !m.restore(whole, kills > 0); kills-- {
		dir := m.t.TempDir()
		copyTree(m.t, m.dir, dir)
		m.check(m.s.Close(context.Background(), false))
		m.forgetCuts()
		m.check(m.db.Close())
		m.dir, whole = dir, false
		m.db = m.openDB()
	}
}

// restore returns false if it ended on the way.
func (m *model) restore(whole, kill bool) bool {
	m.memory = m.kind(m.rng)
	s, marker, found, err := m.db.open(context.Background(), storeID(0), m.memory)
	m.check(err)
	m.s = s
	if whole = whole && !m.memory; found && m.memory {
		m.fatalf("a store in memory only has a base")
	}
	c := int64(len(m.log))
	from := int64(0)
	if found {
		if marker.End > c || marker.Reach > c || marker.Restoring && marker.End == c && m.followed == 0 {
			m.fatalf("marker %+v is above the committed end %d", marker, c)
		}
		if from = marker.End; marker.Restoring {
			m.continued++
		}
	}
	if whole && c > 0 && (!found || from != c || marker.Restoring) {
		m.fatalf("after a clean close the marker is %+v %v, want end %d", marker, found, c)
	}
	last := map[string]int{}
	for i, r := range m.log {
		last[r.key] = i
	}
	end := c
	if kill && c > from {
		end = from + m.rng.Int63n(c-from)
	}
	// Some follow the changelog first, as a standby does that does not know the end.
	follow, given := m.rng.Intn(3) == 0, from
	if follow {
		m.followed++
		s.Follow()
	} else {
		s.Restoring(c)
	}
	for i := from; i < end; i++ {
		r := m.log[i]
		if r != (change{}) && (last[r.key] == int(i) || m.rng.Intn(2) == 0) { // else a control record, or compacted away
			value := []byte(r.value)
			if r.deleted {
				value = nil
			}
			if follow {
				s.Reaches(i + 1)
			}
			m.check(s.Restored([]byte(r.key), value))
			given = i + 1
		}
		if m.rng.Intn(100) == 0 {
			m.clock.Add(int64(m.rng.Intn(1500)) * int64(time.Millisecond))
			if follow {
				m.check(s.FollowedTo(given, m.time()))
			} else {
				m.check(s.RestoredTo(i + 1))
			}
			if m.rng.Intn(3) == 0 {
				settle(m.t, s)
			}
			if follow && m.rng.Intn(3) == 0 { // it becomes the owner
				follow = false
				m.check(s.FollowedTo(given, m.time()))
				s.Restoring(c)
			}
		}
	}
	if end < c {
		return false
	}
	if follow { // its last look
		m.check(s.FollowedTo(given, m.time()))
	}
	m.check(s.Finish(epochID(m.epoch), c))
	return true
}

// compare compares a range of the store with the model.
func (m *model) compare(lo, hi []byte) {
	m.t.Helper()
	if m.s.order == nil {
		m.unstall(0) // the first Range waits for the applier
	}
	var keys []string
	for k := range m.now {
		if k >= string(lo) && (hi == nil || k < string(hi)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	i := 0
	m.check(m.s.Range(lo, hi, func(k, v []byte) bool {
		if i == len(keys) || string(k) != keys[i] || string(v) != m.now[keys[i]] {
			m.fatalf("range %q %q: row %d is %q = %.20q, want %q of %d rows", lo, hi, i, k, v, keys[min(i, len(keys)):min(i+1, len(keys))], len(keys))
		}
		i++
		return true
	}))
	if i != len(keys) {
		m.fatalf("range %q %q: ended after %d rows, next is %q", lo, hi, i, keys[i])
	}
}

// TestModel: whatever the order of puts, commits, rollbacks, waves, evictions and
// crashes, the store is the fold of the committed changelog plus the open epoch.
func TestModel(t *testing.T) {
	play(t, 12, func(*rand.Rand) bool { return false })
}

// The same for a store that is in memory only, and for one that is switched at each start.
func TestModelInMemory(t *testing.T) {
	play(t, 4, func(*rand.Rand) bool { return true })
}

func TestModelSwitched(t *testing.T) {
	play(t, 6, func(rng *rand.Rand) bool { return rng.Intn(2) == 0 })
}

func play(t *testing.T, seeds int, kind func(*rand.Rand) bool) {
	steps := 4000
	if testing.Short() {
		seeds, steps = seeds/3, 2000
	}
	continued, followed := 0, 0
	for i := range int64(seeds) {
		seed := i + 1
		if *modelSeed != 0 && *modelSeed != seed {
			continue
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := &model{t: t, seed: seed, rng: rand.New(rand.NewSource(seed)), dir: t.TempDir(), kind: kind,
				now: map[string]string{}, committed: map[string]string{}}
			m.opt = DBOptions{MaxLag: seed, ApplyInterval: time.Second}
			if seed%3 != 0 {
				m.opt.CacheBytes = 1 << (10 + seed) // evicts all the time, or some of it
			}
			if seed%2 == 0 {
				m.opt.MaxLag = 1 << 40
			}
			if seed%4 < 2 {
				m.opt.tune = smallTables
			}
			m.db = m.openDB()
			defer func() {
				m.unstall(0)
				_ = m.db.Close()
			}()
			m.openStore(false)
			for range steps {
				m.step()
			}
			m.reopen(2)
			m.reopen(0)
			t.Logf("%d epochs, %d changes, %d restores continued, %+v, cuts: %+v", m.epoch, len(m.log), m.continued, m.total, m.seen)
			continued += m.continued
			followed += m.followed
			if m.seen.read == 0 || m.seen.increments+m.seen.refused == 0 {
				t.Error("no cut was read, or none since another one")
			}
			if strings.HasPrefix(t.Name(), "TestModelInMemory") {
				return
			}
			if m.total.Waves == 0 || m.opt.CacheBytes > 0 && m.opt.CacheBytes < 8<<10 && (m.total.Evicted == 0 || m.total.Reads == 0) {
				t.Error("this run met no wave, or no eviction: it shows nothing")
			}
		})
	}
	if followed == 0 && *modelSeed == 0 {
		t.Error("no restore followed the changelog")
	}
	if continued == 0 && *modelSeed == 0 && !strings.HasPrefix(t.Name(), "TestModelInMemory") {
		t.Error("no restore went on from another one: the model shows nothing of that")
	}
}

func copyMap(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// copyTree copies files as a kill would leave them: again, if Badger made or removed one
// meanwhile. The files are sparse: holes stay.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	for {
		before := names(from)
		err := copyFiles(from, to)
		if slices.Equal(before, names(from)) {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
}

func names(dir string) (all []string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			size := int64(0)
			if i, err := d.Info(); err == nil && d.Name() == "MANIFEST" {
				size = i.Size()
			}
			all = append(all, fmt.Sprint(path, size))
		}
		return nil
	})
	return all
}

// copyFiles copies value logs last: what a row in another file points to was written before
// that row, and the applier may go on meanwhile.
func copyFiles(from, to string) error {
	return errors.Join(copySome(from, to, false), copySome(from, to, true))
}

func copySome(from, to string, logs bool) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if logs != (filepath.Ext(path) == ".vlog") {
			return nil
		}
		return copySparse(path, filepath.Join(to, rel))
	})
}

func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); ; {
		data, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole to the end
		}
		if err != nil {
			return err
		}
		if at, err = in.Seek(data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, at-data)); err != nil {
			return err
		}
	}
}
