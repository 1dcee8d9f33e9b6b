package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
)

// uploadsAtOnce is how many tasks of a worker write their state at a time.
const uploadsAtOnce = 2

// longestChain is how many increments lie on a full layer at most: a restore reads all of
// them.
const longestChain = 8

// uploads writes the state of cuts to the store, for all lanes of a worker: a lane may have
// lost the task meanwhile, its state as of that epoch is as good as ever.
type uploads struct {
	cfg *config
	app *application

	ctx     context.Context // of all uploads
	cancel  context.CancelFunc
	work    sync.WaitGroup
	slots   chan struct{}
	opening sync.Mutex // guards the making of bucket
	bucket  *snapshot.Bucket
	telling sync.Mutex // guards acks, not its use
	acks    *kgo.Client

	mu        sync.Mutex              // guards what follows
	taken     map[offsets.Task]uint64 // the last cut of each task that is, or was, written here
	last      map[storeName][]lastCut // oldest first: those that a next cut may build on
	abandoned uint64                  // cuts up to this one are decided
	pins      map[uint64]pins         // by checkpoint; nil: being read
	places    map[uint64]*savepointPlace
}

// pins are the positions that a checkpoint has in repartition topics.
type pins map[topicPartition]int64

type storeName struct {
	task offsets.Task
	uid  string
}

// lastCut is one that a store has written: the next one can be an increment on it, if it was
// completed.
type lastCut struct {
	id    uint64
	cut   *changelog.Cut
	chain int // increments since the full layer
}

// upload is the state of a task at a cut, on its way to the store.
type upload struct {
	task   offsets.Task
	cut    uint64
	base   uint64 // newest completed checkpoint; 0: none, or not to be built upon
	epoch  offsets.EpochID
	stores []storeCut
	failed error              // why there will be none
	to     *control.Savepoint // nil: to the checkpoints
}

type storeCut struct {
	uid string
	cut *changelog.Cut
}

// uploadedStore is what control.Uploaded says of each store.
type uploadedStore struct {
	UID   string         `json:"uid"`
	Base  uint64         `json:"base,omitempty"` // checkpoint whose layers lie below; 0: none
	Layer snapshot.Layer `json:"layer"`
	// Of a savepoint: what its reader needs to understand the rows.
	Codecs *snapshot.Codecs `json:"codecs,omitempty"`
}

func newUploads(cfg *config, app *application) *uploads {
	u := &uploads{cfg: cfg, app: app, slots: make(chan struct{}, uploadsAtOnce), taken: map[offsets.Task]uint64{}, last: map[storeName][]lastCut{}, pins: map[uint64]pins{}, places: map[uint64]*savepointPlace{}}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

// open connects to the store, when it is needed first.
func (u *uploads) open() error {
	u.opening.Lock()
	defer u.opening.Unlock()
	if u.bucket != nil {
		return nil
	}
	if u.cfg.checkpoints.Dir == "" {
		return errors.New("this worker has no directory for checkpoints")
	}
	b, err := snapshot.Open(u.ctx, u.cfg.checkpoints.Dir, snapshot.Options{Create: true, Compression: snapshot.Compression(u.cfg.checkpoints.Compression)})
	if err != nil {
		return err // of this time: the next checkpoint tries again
	}
	u.bucket = b.Under(u.app.names.Application)
	return nil
}

// close gives up what is under way: the cuts are declined, or the next owner of a task takes
// part in the next one.
func (u *uploads) close() {
	u.cancel()
	u.work.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, all := range u.last {
		for _, l := range all {
			l.cut.Release()
		}
	}
	if u.bucket != nil {
		_ = u.bucket.Close() // nothing is under way
	}
	if u.acks != nil {
		u.acks.Close()
	}
	for _, p := range u.places {
		p.close()
	}
}

// abandon gives up uploads of cuts up to this one.
func (u *uploads) abandon(id uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.abandoned = max(u.abandoned, id)
}

func (u *uploads) wanted(id uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return id > u.abandoned
}

// take writes the state of a task in the background, and says in the acks topic what became
// of it.
func (u *uploads) take(p upload) {
	u.mu.Lock()
	u.taken[p.task] = p.cut
	u.mu.Unlock()
	u.work.Go(func() {
		select {
		case u.slots <- struct{}{}:
			defer func() { <-u.slots }()
		case <-u.ctx.Done():
			p.failed = u.ctx.Err()
		}
		m := control.Uploaded{Task: p.task, Cut: p.cut, Epoch: p.epoch}
		failpoint("upload")
		stores, err := u.write(p)
		failpoint("uploaded")
		if err != nil {
			if !u.wanted(p.cut) || u.ctx.Err() != nil {
				return
			}
			u.cfg.listener.warn(fmt.Sprintf("upload task %s of cut %d", p.task, p.cut), err)
			m.Failed = err.Error()
		} else if m.Stores, err = json.Marshal(stores); err != nil {
			m.Failed = err.Error()
		}
		m.Wall = time.Now().UnixMilli()
		u.tell(p.cut, m)
	})
}

// tell says it in the acks topic, and tries until the cut is decided: nobody else can say it.
func (u *uploads) tell(cut uint64, m control.Message) {
	key, value, err := control.EncodeMessage(m)
	for wait := retryPause; err == nil && u.wanted(cut); wait = min(2*wait, time.Second) {
		if err := u.produce(key, value); err == nil {
			return
		} else if u.ctx.Err() == nil {
			u.cfg.listener.warn(fmt.Sprintf("tell of cut %d: trying again", cut), err)
		}
		if pause(u.ctx, wait) != nil {
			return
		}
	}
	if err != nil {
		u.cfg.listener.warn(fmt.Sprintf("tell of cut %d", cut), err)
	}
}

func (u *uploads) produce(key, value []byte) error {
	ctx, cancel := context.WithTimeout(u.ctx, u.cfg.transactionTimeout)
	defer cancel()
	cl, err := u.teller()
	if err != nil {
		return err
	}
	if err = cl.ProduceSync(ctx, &kgo.Record{Topic: u.app.names.Acks(), Key: key, Value: value}).FirstErr(); err != nil {
		u.noTeller(cl)
	}
	return err
}

// teller is the producer for the acks topic. It is not a lane's: what is said here is true outside of any epoch.
func (u *uploads) teller() (*kgo.Client, error) {
	u.telling.Lock()
	defer u.telling.Unlock()
	if u.acks == nil {
		cl, err := u.cfg.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			return nil, err
		}
		u.acks = cl
	}
	return u.acks, nil
}

// noTeller closes a producer that has failed: it may do so for ever. The next one is new.
func (u *uploads) noTeller(cl *kgo.Client) {
	u.telling.Lock()
	mine := u.acks == cl
	if mine {
		u.acks = nil
	}
	u.telling.Unlock()
	if mine {
		cl.Close() // which may wait for a broker: not under the lock that others wait for
	}
}

// moved says of a task that was restored here after it had taken the cut that nobody here
// uploads its state as of then: who took the cut is gone, or will say otherwise before.
func (u *uploads) moved(t offsets.Task, cut uint64) {
	u.mu.Lock()
	mine := u.taken[t] == cut
	u.mu.Unlock()
	if !mine {
		u.work.Go(func() { u.tell(cut, control.Moved{Task: t, Cut: cut, Wall: time.Now().UnixMilli()}) })
	}
}

func (u *uploads) write(p upload) (out []uploadedStore, err error) {
	out = []uploadedStore{}
	b, format := (*snapshot.Bucket)(nil), snapshot.Native
	done := 0
	defer func() {
		for _, s := range p.stores[done:] {
			s.cut.Release()
		}
	}()
	if p.failed != nil {
		return nil, p.failed
	}
	if p.to != nil {
		place, err := u.enter(p.to, p.cut)
		if err != nil {
			return nil, err
		}
		defer u.leave(place)
		b, format = place.bucket, place.format
	} else {
		if err := u.open(); err != nil {
			return nil, err
		}
		b = u.bucket
	}
	for _, s := range p.stores {
		if err := s.cut.Wait(u.ctx); err != nil {
			return nil, err
		}
		one, err := u.writeStore(b, format, p, s)
		if err != nil {
			return nil, err
		}
		if p.to != nil {
			s.cut.Release() // nothing is built upon a savepoint
		}
		done++
		out = append(out, one)
	}
	return out, nil
}

// writeStore writes what changed since the checkpoint that the cut builds on, if this worker
// has written that, and else all rows.
func (u *uploads) writeStore(b *snapshot.Bucket, format snapshot.Format, p upload, s storeCut) (out uploadedStore, err error) {
	name := storeName{p.task, s.uid}
	last := u.lastOf(name, p.base)
	of := snapshot.Origin{
		Application: u.app.names.Application, Timeline: u.app.names.Timeline, Cut: p.cut, Task: p.task, UID: s.uid, Epoch: p.epoch,
		Format: format, Content: snapshot.Full, End: s.cut.End(),
	}
	if p.to != nil {
		of.Codecs = u.app.storeCodecs(p.task, s.uid)
	}
	since := last.cut
	if last.chain >= longestChain || !s.cut.Increments() {
		since = nil
	}
	out.UID, out.Codecs = s.uid, of.Codecs
	if since != nil {
		of.Content, of.Since, out.Base = snapshot.Increment, since.End(), p.base
	}
	write := func() error {
		out.Layer, err = b.WriteRows(u.ctx, of, func(put func(key, value []byte, deleted bool) error) error {
			_, err := s.cut.Rows(u.ctx, since, func(key, value []byte, deleted bool) error {
				if !u.wanted(p.cut) {
					return errAbandoned
				}
				return put(key, value, deleted)
			})
			return err
		}, nil)
		return err
	}
	if err = write(); errors.Is(err, changelog.ErrNoIncrement) {
		since, of.Content, of.Since, out.Base = nil, snapshot.Full, 0, 0
		err = write()
	}
	if err != nil {
		return out, err
	}
	if p.to != nil {
		return out, nil
	}
	next := lastCut{id: p.cut, cut: s.cut}
	if since != nil {
		next.chain = last.chain + 1
	}
	u.wrote(name, next, p.base)
	return out, nil
}

// lastOf is what a store has written for the checkpoint base; the zero value if it has not.
func (u *uploads) lastOf(name storeName, base uint64) lastCut {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, l := range u.last[name] {
		if l.id == base {
			return l
		}
	}
	return lastCut{}
}

// wrote notes what a store has written. What is older than the base nobody builds on any more.
func (u *uploads) wrote(name storeName, l lastCut, base uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	kept := u.last[name][:0]
	for _, old := range u.last[name] {
		if old.id < base {
			old.cut.Release()
			continue
		}
		kept = append(kept, old)
	}
	u.last[name] = append(kept, l)
}

var errAbandoned = errors.New("the cut was decided before")

// pinned are the positions of a checkpoint in repartition topics. They are read in the
// background; until then they are not known.
func (u *uploads) pinned(k control.Complete) (pins, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, asked := u.pins[k.ID]
	if asked {
		return p, p != nil
	}
	u.pins[k.ID] = nil
	u.work.Go(func() {
		p, err := u.readPins(k)
		u.mu.Lock()
		defer u.mu.Unlock()
		if err != nil {
			delete(u.pins, k.ID) // the next one who asks tries again
			if u.ctx.Err() == nil {
				u.cfg.listener.warn(fmt.Sprintf("read what checkpoint %d needs of repartition topics, which are not trimmed until then", k.ID), err)
			}
			return
		}
		u.pins[k.ID] = p
	})
	return nil, false
}

func (u *uploads) readPins(k control.Complete) (pins, error) {
	if err := u.open(); err != nil {
		return nil, err
	}
	m, err := u.bucket.Load(u.ctx, k.Manifest, u.app.names.Application)
	if err != nil {
		return nil, err
	}
	p := pins{}
	for _, part := range m.InFlight {
		p[topicPartition{Topic: u.app.names.Repartition(part.UID), Partition: part.Partition}] = part.From
	}
	return p, nil
}
