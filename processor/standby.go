package processor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
)

const (
	// standbyEvery is how often a worker asks where the changelogs end that it follows: one
	// request to each broker, for all of them.
	standbyEvery = 500 * time.Millisecond
	// standbyGrace is how long a standby goes on that nobody wants any more. The lanes of a
	// worker hear of a rebalance one after the other: that one has lost the standby may come
	// before that another has got the task.
	standbyGrace = 10 * time.Second
	standbyRetry = 10 * time.Second
	// stillWarm is the number of records that a copy may fall behind again until it counts as
	// one that has to be brought near first.
	stillWarm = 1 << 18
)

// standbys follow the changelogs of tasks that other workers own. What is committed there is
// taken into stores of this worker, in memory and on disk, so that a task that comes here
// has only the last records to read.
type standbys struct {
	cfg *config
	app *application
	db  *changelog.DB

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex        // guards what follows
	lanes   map[int]following // as the group gave it
	ask     map[int]func()    // of lanes with tasks to take over: a rebalance, once their copies are warm
	running map[offsets.Task]*standby
	client  *kgo.Client // made for the first one
	round   *round      // to come
}

// following is what a lane has, and of which tasks its worker keeps copies.
type following struct {
	tasks, standbys []offsets.Task
	warming         []offsets.Task // that it is to take over
}

// wants says whether a copy of the task is to be kept.
func (f following) wants(t offsets.Task) bool {
	return slices.Contains(f.standbys, t) || slices.Contains(f.warming, t)
}

// round is one look at the ends of the changelogs.
type round struct {
	over chan struct{} // closed when the rest is set
	at   time.Time     // before the look
	ends kadm.ListedOffsets
}

// standby follows one task. Its goroutine has the stores until it is over.
type standby struct {
	task    offsets.Task
	stop    context.CancelFunc
	over    chan struct{}
	lag     atomic.Int64 // offsets to the end, as of the last round
	dropped *time.Timer  // not wanted; nil: wanted
	warm    atomic.Bool  // it came to the end once, and goes on: from then on it counts as near

	stores []*changelog.Store
	topics []string
	next   []int64   // offsets below were read
	last   []int64   // behind the last record
	seen   time.Time // when there was no other
	read   int64     // records
	ready  bool      // it was told
}

func newStandbys(cfg *config, app *application, db *changelog.DB) *standbys {
	s := &standbys{
		cfg: cfg, app: app, db: db, lanes: map[int]following{}, ask: map[int]func(){},
		running: map[offsets.Task]*standby{}, round: &round{over: make(chan struct{})},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// assign tells what the group gave to a lane. ask is called once, when the copies of all tasks
// that the lane is to take over are warm. Neither blocks.
func (s *standbys) assign(lane int, given following, ask func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes[lane] = given
	delete(s.ask, lane)
	for t, f := range s.running {
		switch wanted := s.any(func(f following) bool { return f.wants(t) }); {
		case wanted && f.dropped != nil:
			f.dropped.Stop()
			f.dropped = nil
		case !wanted && f.dropped == nil:
			f.dropped = time.AfterFunc(standbyGrace, func() { s.drop(f) })
		}
	}
	for _, t := range slices.Concat(given.standbys, given.warming) {
		owned := s.any(func(f following) bool { return slices.Contains(f.tasks, t) })
		if s.running[t] == nil && !owned && s.ctx.Err() == nil {
			s.start(t)
		}
	}
	if len(given.warming) > 0 {
		s.ask[lane] = ask
		s.askWarm()
	}
}

func (s *standbys) any(is func(following) bool) bool {
	for _, f := range s.lanes {
		if is(f) {
			return true
		}
	}
	return false
}

// askWarm lets those lanes ask for a rebalance that have nothing to wait for any more. It is
// called with mu held.
func (s *standbys) askWarm() {
	for lane, ask := range s.ask {
		cold := func(t offsets.Task) bool { return s.running[t] == nil || !s.running[t].warm.Load() }
		if !slices.ContainsFunc(s.lanes[lane].warming, cold) {
			delete(s.ask, lane)
			ask()
		}
	}
}

// start is called with mu held.
func (s *standbys) start(t offsets.Task) {
	if s.client == nil {
		cl, err := s.cfg.client()
		if err != nil {
			s.cfg.listener.warn("follow changelogs", err)
			return
		}
		s.client = cl
		s.work.Go(s.look)
	}
	ctx, stop := context.WithCancel(s.ctx)
	f := &standby{task: t, stop: stop, over: make(chan struct{})}
	f.lag.Store(1 << 40) // until it is known
	s.running[t] = f
	s.work.Go(func() {
		defer close(f.over)
		for {
			err := s.follow(ctx, f)
			if ctx.Err() != nil {
				return
			}
			s.cfg.listener.warn(fmt.Sprintf("follow the state of task %s: again in %s", t, standbyRetry), err)
			f.lag.Store(1 << 40)
			f.warm.Store(false)
			closeStores(f.stores)
			f.stores = nil
			if pause(ctx, standbyRetry) != nil {
				return
			}
		}
	})
}

// drop ends a standby that was not wanted for a while.
func (s *standbys) drop(f *standby) {
	s.mu.Lock()
	unwanted := s.running[f.task] == f && f.dropped != nil
	s.mu.Unlock()
	if unwanted {
		if f := s.take(f.task); f != nil {
			closeStores(f.stores)
		}
	}
}

// take ends a standby and gives its stores away, nil if there is none that is of use.
func (s *standbys) take(t offsets.Task) *standby {
	s.mu.Lock()
	f := s.running[t]
	delete(s.running, t)
	if f != nil && f.dropped != nil {
		f.dropped.Stop()
	}
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	f.stop()
	<-f.over
	if len(f.stores) < len(s.app.stores(t)) || time.Since(f.seen) > baseMaxAge {
		closeStores(f.stores)
		return nil
	}
	return f
}

// lags are the offsets that each standby has to go.
func (s *standbys) lags() map[offsets.Task]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[offsets.Task]int64{}
	for t, f := range s.running {
		out[t] = f.lag.Load()
		if f.warm.Load() && out[t] < stillWarm {
			out[t] = min(out[t], 1) // not what it just happens to be: a move was promised
		}
	}
	return out
}

// close ends all. What they have is on disk, as of some seconds ago.
func (s *standbys) close() {
	s.mu.Lock()
	s.cancel()
	var tasks []offsets.Task
	for t := range s.running {
		tasks = append(tasks, t)
	}
	s.mu.Unlock()
	for _, t := range tasks {
		if f := s.take(t); f != nil {
			closeStores(f.stores)
		}
	}
	s.work.Wait()
	if s.client != nil {
		s.client.Close()
	}
}

// look asks for the ends of all changelogs that are followed, until the worker ends.
func (s *standbys) look() {
	adm := kadm.NewClient(s.client)
	for pause(s.ctx, standbyEvery) == nil {
		topics := map[string]bool{}
		s.mu.Lock()
		for t := range s.running {
			for i := range s.app.stores(t) {
				topics[s.app.changelogTopic(int(t.Sub), i)] = true
			}
		}
		s.mu.Unlock()
		if len(topics) == 0 {
			continue
		}
		at := time.Now()
		ends, err := adm.ListCommittedOffsets(s.ctx, slices.Collect(maps.Keys(topics))...)
		if err != nil {
			if s.ctx.Err() == nil {
				s.cfg.listener.warn("list ends of changelogs", err)
			}
			continue
		}
		s.mu.Lock()
		r := s.round
		s.round = &round{over: make(chan struct{})}
		s.mu.Unlock()
		r.at, r.ends = at, ends
		close(r.over)
	}
}

// nextRound waits for the next look that begins after now.
func (s *standbys) nextRound(ctx context.Context) (*round, error) {
	s.mu.Lock()
	r := s.round
	s.mu.Unlock()
	select {
	case <-r.over:
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// follow opens the stores of a task and takes in what is committed, until ctx ends.
func (s *standbys) follow(ctx context.Context, f *standby) error {
	specs := s.app.stores(f.task)
	f.stores, f.topics, f.next, f.last = nil, nil, make([]int64, len(specs)), make([]int64, len(specs))
	f.seen = time.Now()
	for i, spec := range specs {
		id := s.app.storeID(f.task, i)
		store, m, found, err := s.openStore(ctx, id, spec.InMemory)
		if err != nil {
			return err
		}
		f.stores, f.topics = append(f.stores, store), append(f.topics, s.app.changelogTopic(int(f.task.Sub), i))
		if wall := time.UnixMilli(m.Wall); found && time.Since(wall) <= baseMaxAge {
			f.next[i], f.last[i] = m.End, m.End
			if wall.Before(f.seen) {
				f.seen = wall
			}
		} else if found {
			if err := store.Reset(); err != nil {
				return err
			}
		}
		store.Follow()
	}
	for began := time.Now(); ; {
		r, err := s.nextRound(ctx)
		if err != nil {
			return err
		}
		if err := s.catchUp(ctx, f, r); err != nil {
			return err
		}
		if f.lag.Load() == 0 && !f.warm.Swap(true) {
			s.mu.Lock()
			s.askWarm()
			s.mu.Unlock()
		}
		if !f.ready && f.lag.Load() == 0 {
			f.ready = true
			s.cfg.listener.standby(StandbyInfo{f.task, f.read, time.Since(began)})
		}
	}
}

func (s *standbys) openStore(ctx context.Context, id changelog.StoreID, memory bool) (*changelog.Store, changelog.Marker, bool, error) {
	if memory {
		store, err := s.db.OpenInMemory(ctx, id)
		return store, changelog.Marker{}, false, err
	}
	return s.db.OpenStore(ctx, id)
}

// catchUp reads to the ends of a round.
func (s *standbys) catchUp(ctx context.Context, f *standby, r *round) error {
	ends := make([]int64, len(f.stores))
	lag := int64(0)
	for i, topic := range f.topics {
		end, ok := r.ends.Lookup(topic, f.task.Partition)
		if !ok || end.Err != nil {
			return nil // of a topic that came into the round too late, or a broker that is away
		}
		if ends[i] = end.Offset; end.Offset < f.next[i] {
			return fmt.Errorf("%s/%d ends at %d, and was read to %d: %w", topic, f.task.Partition, end.Offset, f.next[i], errEndWentBack)
		}
		lag += ends[i] - f.next[i]
	}
	f.lag.Store(lag)
	for i, store := range f.stores {
		var failed error // of the store, met between two fetches
		read := changelog.Reader{
			Topic: f.topics[i], Partition: f.task.Partition, From: f.next[i], To: ends[i], Client: s.client,
			Progress: func(changelog.Progress) {
				if failed == nil {
					failed = store.FollowedTo(f.last[i], time.Time{})
				}
			},
		}
		next, err := read.Read(ctx, nil, func(key, value []byte, offset int64) error {
			if failed != nil {
				return failed
			}
			f.read++
			store.Reaches(offset + 1)
			f.last[i] = offset + 1
			return store.Restored(key, value)
		})
		f.next[i] = next
		if err = errors.Join(err, failed); err != nil {
			if judge(err) == verdictRetry && failed == nil {
				return nil // with the next round
			}
			return err
		}
		if err := store.FollowedTo(f.last[i], r.at); err != nil {
			return err
		}
	}
	f.lag.Store(0)
	f.seen = r.at
	return nil
}

var errEndWentBack = errors.New("the brokers have lost what was committed")
