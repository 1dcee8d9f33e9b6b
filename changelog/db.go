package changelog

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/weir-stream/weir/offsets"
)

// DBOptions of Open. Dir and Application are required.
type DBOptions struct {
	Dir         string // state directory, made if absent
	Application string // whose it is

	// CacheBytes bounds the rows in memory of all stores together. Rows of the open epoch
	// and rows not yet applied cannot be dropped: end the epoch early (EpochBytes) to keep
	// the first small. Stores opened by OpenInMemory are not counted: theirs cannot be
	// dropped at all. Default 256 MiB.
	CacheBytes int64
	// MinFree is kept free on the file system; with less, nothing is written. Default 256 MiB.
	MinFree uint64
	// ApplyInterval is the longest time between two starts of a wave of writes to disk.
	// Longer: fewer writes of rows that change often. Default 10 s.
	ApplyInterval time.Duration
	// MaxLag bounds the changelog records, of all stores together, that a restart after a
	// kill has to replay; waves start early to keep it. Default 4,000,000.
	MaxLag int64
	// Logger gets Badger's messages. Default: dropped.
	Logger badger.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Boot is the id of the machine's current life. Default: the kernel's boot id.
	Boot string

	tune func(badger.Options) badger.Options // by benchmarks
}

func (o DBOptions) withDefaults() DBOptions {
	if o.CacheBytes <= 0 {
		o.CacheBytes = 256 << 20
	}
	if o.MinFree == 0 {
		o.MinFree = 256 << 20
	}
	if o.ApplyInterval <= 0 {
		o.ApplyInterval = 10 * time.Second
	}
	if o.MaxLag <= 0 {
		o.MaxLag = 4_000_000
	}
	if o.Logger == nil {
		o.Logger = silent{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Boot == "" {
		o.Boot = bootID()
	}
	if o.tune == nil {
		o.tune = func(b badger.Options) badger.Options { return b }
	}
	return o
}

type silent struct{}

func (silent) Errorf(string, ...any)   {}
func (silent) Warningf(string, ...any) {}
func (silent) Infof(string, ...any)    {}
func (silent) Debugf(string, ...any)   {}

// badgerOptions: managed timestamps, nothing synced (see dir.go), values beside keys. Blocks
// are read where they are mapped: without compression no block cache is needed.
//
// Sizes are those that BenchmarkLargeRows liked best. Small memtables and tables, because
// each table is built in memory of twice its size and Badger keeps eight such pieces. Many
// tables before a compaction, and a base level that takes a few hundred MB, because with
// the defaults most rows are written three times more on their way down.
func badgerOptions(dir string, logger badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir).
		WithLogger(logger).
		WithMetricsEnabled(false).
		WithSyncWrites(false).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(20).
		WithNumLevelZeroTablesStall(60).
		WithBaseLevelSize(256 << 20).
		WithBaseTableSize(8 << 20).
		WithValueThreshold(1 << 20).
		WithValueLogFileSize(64 << 20).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithNumCompactors(2).
		WithNumGoroutines(2)
	o.TableSizeMultiplier = 1
	return o
}

// DB is a state directory in use: the Badger of a worker, shared by its stores. Its
// methods may be called by any goroutine.
type DB struct {
	opt     DBOptions
	dir     *stateDir
	badger  *badger.DB
	applier applier

	used    atomic.Int64 // bytes in memory, all stores but those in memory only
	pinned  atomic.Int64 // bytes of stores in memory only
	lag     atomic.Int64 // changelog records behind the markers, all stores
	stores  atomic.Int64 // open
	closing atomic.Bool

	quit chan struct{} // ends collect
	done sync.WaitGroup

	mu      sync.Mutex // guards dir.state, leases, and readers from late ones
	leases  map[storeName]chan struct{}
	readers sync.WaitGroup
}

// storeName is a StoreID without the incarnation of its topic.
type storeName struct {
	timeline uint32
	uid      string
	task     offsets.Task
}

// StoreID names a store and the changelog topic that is its truth.
type StoreID struct {
	Timeline uint32
	UID      string
	Task     offsets.Task
	TopicID  [16]byte
}

func (id StoreID) String() string { return fmt.Sprintf("%s of task %s", id.UID, id.Task) }

func (id StoreID) name() storeName { return storeName{id.Timeline, id.UID, id.Task} }

// Open locks and opens a state directory. Rows that may have been damaged by a crash of
// the machine are removed here; OpenStore then finds no base.
func Open(opt DBOptions) (*DB, error) {
	opt = opt.withDefaults()
	if opt.Dir == "" || opt.Application == "" {
		return nil, errors.New("changelog: Dir and Application are required")
	}
	dir, err := openDir(opt.Dir, opt.Application, opt.Boot)
	if err != nil {
		return nil, err
	}
	db := &DB{opt: opt, dir: dir, leases: map[storeName]chan struct{}{}, quit: make(chan struct{})}
	if err := db.checkFree(); err != nil {
		return nil, errors.Join(err, dir.close(false))
	}
	if db.badger, err = openRows(dir, opt); err != nil {
		if refused := probe(dir.rows()); refused != nil {
			err = refused // Badger gives the text of such an error only
		}
		return nil, errors.Join(dirError(dir.path, "open rows (if files in it are damaged, remove the directory: its state is rebuilt from Kafka)", err), dir.close(false))
	}
	if err := db.applier.start(db); err != nil {
		return nil, errors.Join(err, db.badger.Close(), dir.close(false))
	}
	db.done.Go(db.collect)
	return db, nil
}

// openRows opens Badger and reads all of its tables once, about a second per GB that the
// kernel has in memory. It would serve a flipped bit as it is: it looks at no checksum when
// it reads, and told to do so its iterators end early instead of saying why. What is
// damaged is removed, as after a crash of the machine; the changelog has it.
func openRows(dir *stateDir, opt DBOptions) (*badger.DB, error) {
	rows := opt.tune(badgerOptions(dir.rows(), opt.Logger))
	db, err := openBadger(rows)
	if err != nil {
		return nil, err
	}
	damage := verifyRows(db)
	if damage == nil {
		return db, nil
	}
	opt.Logger.Warningf("state directory %s: rows are damaged, and rebuilt from Kafka: %v", dir.path, damage)
	_ = db.Close() // of rows that go
	if err := os.RemoveAll(dir.rows()); err != nil {
		return nil, err
	}
	return openBadger(rows)
}

// verifyRows compares the checksums. Lengths inside a block are damaged like anything
// else, and Badger uses them before it has compared the block's sum.
func verifyRows(db *badger.DB) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return db.VerifyChecksum()
}

const (
	collectEvery = 10 * time.Minute
	collectAbove = 128 << 20
)

// collect frees dead parts of Badger's value log now and then. Only values above a
// megabyte are there, so mostly there is nothing to do.
func (db *DB) collect() {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-db.quit:
			return
		case <-tick.C:
		}
		if _, vlog := db.badger.Size(); vlog < collectAbove || db.checkFree() != nil {
			continue
		}
		if err := db.badger.RunValueLogGC(0.5); err != nil && !errors.Is(err, badger.ErrNoRewrite) {
			db.opt.Logger.Warningf("value log: %v", err)
		}
	}
}

// InstanceID is the random id of this directory, made at first use. A copied directory
// has the same id: two processes with it fence each other.
func (db *DB) InstanceID() (string, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.dir.instanceID()
}

// reader keeps Badger open until closed is called, which must not be long after closing is set.
func (db *DB) reader() (closed func(), err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closing.Load() {
		return nil, ErrClosed
	}
	db.readers.Add(1)
	return db.readers.Done, nil
}

// Close finishes what was handed over, and unlocks the directory. Stores still open are
// useless afterwards; close them first. So are cuts; who reads one gets ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock() // so that who reads is counted, or knows
	closing := db.closing.Swap(true)
	db.mu.Unlock()
	if closing {
		return nil
	}
	close(db.quit)
	db.done.Wait()
	db.applier.stop()
	db.readers.Wait()
	err := db.badger.Close()
	db.mu.Lock()
	defer db.mu.Unlock()
	return errors.Join(err, db.dir.close(err == nil))
}

// OpenStore waits for the lease of the store, which one Store in the process holds at a
// time, and opens it. If the disk has a base that can be trusted it says so and returns
// its marker; the caller calls Reset if the base does not fit: Reach above the committed
// end, or too old for the changelog's tombstones. If not, the
// store is as after Reset. Then the caller restores: Restored for each record of the
// changelog from marker.End (or from its start) to the committed end, and Finish.
func (db *DB) OpenStore(ctx context.Context, id StoreID) (*Store, Marker, bool, error) {
	return db.open(ctx, id, false)
}

// OpenInMemory is OpenStore for a store whose rows are in memory only: nothing of it is
// read from or written to the disk, so that every open needs the whole changelog, and all
// of its rows stay in memory, on top of CacheBytes. What OpenStore left on disk stays there;
// it is a base like any other, with an older marker, when OpenStore opens the store again.
func (db *DB) OpenInMemory(ctx context.Context, id StoreID) (*Store, error) {
	s, _, _, err := db.open(ctx, id, true)
	return s, err
}

func (db *DB) open(ctx context.Context, id StoreID, memory bool) (s *Store, m Marker, found bool, err error) {
	fail := func(err error) (*Store, Marker, bool, error) {
		return nil, Marker{}, false, fmt.Errorf("open store %s: %w", id, err)
	}
	free, err := db.lease(ctx, id.name())
	if err != nil {
		return fail(err)
	}
	s = &Store{db: db, id: id, memory: memory, seed: maphash.MakeSeed(), key: make([]byte, prefixLen, prefixLen+64), open: 1}
	s.markerEnd.Store(-1)
	s.read = db.badger.NewTransactionAt(math.MaxUint64, false)
	if !memory {
		m, found, err = s.base()
	}
	if err == nil && !found {
		err = s.Reset()
	}
	if err != nil {
		s.read.Discard()
		free()
		return fail(err)
	}
	s.last = db.now()
	s.warm.on = found
	db.stores.Add(1)
	return s, m, found, nil
}

// base looks for rows on disk that belong to this store's topic.
func (s *Store) base() (m Marker, found bool, err error) {
	m, inc, ok, err := base(s.read, s.id)
	if err != nil || !ok || m.TopicID != s.id.TopicID {
		return Marker{}, false, err
	}
	s.inc = inc
	s.persisted = true
	copy(s.key, inc.prefix())
	s.epoch, s.end, s.reach, s.wall = m.Epoch, m.End, m.Reach, m.Wall
	s.restoring.Store(m.Restoring)
	s.markerEnd.Store(m.End)
	return m, true, nil
}

// get reads and decodes a system row. A damaged one is as good as none.
func get[T any](txn *badger.Txn, key []byte, decode func([]byte) (T, error)) (v T, ok bool, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	err = item.Value(func(b []byte) error {
		v, err = decode(b)
		return err
	})
	if errors.Is(err, errDamaged) {
		return v, false, nil
	}
	return v, err == nil, err
}

// Reset throws the store's rows away. Those on disk are deleted in the background.
func (s *Store) Reset() error {
	if len(s.undo) > 0 {
		s.Rollback()
	}
	if !s.memory {
		inc, err := s.db.applier.nextIncarnation(s.id)
		if err != nil {
			return s.wrap("reset", err)
		}
		s.inc = inc
		copy(s.key, inc.prefix())
	}
	s.endCut(errReset)
	s.shards, s.order, s.memo, s.empty = [shardCount]shard{}, nil, place{}, gap{}
	s.complete, s.persisted = true, false
	s.db.lag.Add(-s.lag())
	s.settled, s.epoch, s.end, s.reach, s.target, s.next = false, offsets.EpochID{}, 0, 0, 0, 0
	s.wall = s.db.now().UnixMilli()
	s.markerEnd.Store(-1)
	s.wave, s.warm, s.changed, s.following = wave{}, warm{}, 0, false
	return nil
}

// lease waits until nobody holds the store.
func (db *DB) lease(ctx context.Context, name storeName) (free func(), err error) {
	for {
		if db.closing.Load() {
			return nil, ErrClosed
		}
		db.mu.Lock()
		held, ok := db.leases[name]
		if !ok {
			mine := make(chan struct{})
			db.leases[name] = mine
			db.mu.Unlock()
			return func() { db.unlease(name) }, nil
		}
		db.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for its former holder: %w", ctx.Err())
		}
	}
}

func (db *DB) unlease(name storeName) {
	db.mu.Lock()
	defer db.mu.Unlock()
	close(db.leases[name])
	delete(db.leases, name)
}

// release gives the lease back behind everything that the store has handed over.
func (db *DB) release(s *Store, finished chan struct{}) {
	end := func(error) {
		db.lag.Add(-s.lag())
		db.stores.Add(-1)
		s.read.Discard()
		db.unlease(s.id.name())
		close(finished)
	}
	if err := db.submit(job{run: func(uint64) error { return nil }, done: end}); err != nil {
		end(err)
	}
}

func (db *DB) submit(j job) error { return db.applier.submit(j) }

func (db *DB) checkFree() error { return checkFree(db.dir.path, db.opt.MinFree) }

func (db *DB) now() time.Time { return db.opt.Now() }

// DBStats are figures of all stores together.
type DBStats struct {
	Used   int64 // bytes of rows in memory, bounded by CacheBytes
	Pinned int64 // bytes of rows of stores that are in memory only, and of their cuts, on top of that
	Lag    int64 // changelog records that a restart would replay; without stores in memory, which replay all of theirs
	Stores int64 // open
	Disk   int64 // bytes of Badger's files, as of the last minute
	Cuts   int64 // that are on disk and not released
}

// Stats is a picture of the database for status and metrics.
func (db *DB) Stats() DBStats {
	lsm, vlog := db.badger.Size()
	return DBStats{
		Used: db.used.Load(), Pinned: db.pinned.Load(), Lag: db.lag.Load(), Stores: db.stores.Load(), Disk: lsm + vlog,
		Cuts: db.applier.pinned(),
	}
}
