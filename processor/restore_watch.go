package processor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
)

// restoreTick is how often a restore says how far it is.
const restoreTick = time.Second

// restoreWatch tells of one restore while it lasts: the listener from its start, and from
// the first tick on, by a record in the epochs topic, everybody who asks for the status.
type restoreWatch struct {
	lane  *lane
	began time.Time
	over  chan struct{}

	mu    sync.Mutex // guards info and ended
	info  RestoringInfo
	ended bool
	prior int64 // offsets of the stores that are done
}

func (l *lane) watchRestore(t offsets.Task, base string, from, ends []int64, began time.Time) *restoreWatch {
	w := &restoreWatch{lane: l, began: began, over: make(chan struct{})}
	w.info = RestoringInfo{Task: t, Base: base}
	for i := range ends {
		w.info.Total += ends[i] - from[i]
	}
	if w.info.Total > 0 {
		l.helpers.Go(w.tick)
	}
	return w
}

// store says which store is read next.
func (w *restoreWatch) store(uid string, from, end int64) {
	w.mu.Lock()
	w.prior += w.info.End - w.info.From
	w.info.Store, w.info.From, w.info.Next, w.info.End = uid, from, from, end
	first := w.info.Done == 0 && w.prior == 0 && from < end
	w.mu.Unlock()
	if first {
		w.tell()
	}
}

func (w *restoreWatch) at(next, records int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.info.Next, w.info.Records = next, records
	w.info.Done = w.prior + next - w.info.From
}

// end stops telling: nothing is told of the restore afterwards.
func (w *restoreWatch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	close(w.over)
}

// tell calls the listener, unless the restore is over.
func (w *restoreWatch) tell() (RestoringInfo, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return RestoringInfo{}, false
	}
	w.info.Elapsed = time.Since(w.began)
	w.lane.cfg.listener.restoring(w.info)
	return w.info, true
}

func (w *restoreWatch) tick() {
	ticks := time.NewTicker(restoreTick)
	defer ticks.Stop()
	var cl *kgo.Client
	defer func() {
		if cl != nil {
			_ = w.publish(cl, nil) // if that fails the record before grows old
			cl.Close()
		}
	}()
	for warned := false; ; {
		select {
		case <-w.over:
			return
		case <-ticks.C:
		}
		info, ok := w.tell()
		if !ok {
			return
		}
		var err error
		if cl == nil {
			// Not the lane's producer: that one's records are part of epochs. Nothing is
			// repeated and nothing is waited for; the next tick says more.
			cl, err = w.lane.cfg.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
		}
		if err == nil {
			p := RestoreProgress{
				Worker: w.lane.instance, Began: w.began, Told: time.Now(), Store: info.Store, From: info.From, Next: info.Next, End: info.End,
				Done: info.Done, Total: info.Total, Records: info.Records,
			}
			err = w.publish(cl, p.Append(nil))
		}
		if err != nil && !warned {
			warned = true // the restore does not need it
			w.lane.cfg.listener.warn("publish the progress of restoring task "+info.Task.String(), err)
		}
	}
}

func (w *restoreWatch) publish(cl *kgo.Client, value []byte) error {
	ctx, cancel := context.WithTimeout(w.lane.ctx, restoreTick)
	defer cancel()
	app, t := w.lane.app, w.info.Task // the task never changes
	return cl.ProduceSync(ctx, &kgo.Record{
		Topic: app.names.Epochs(), Partition: app.witness(t), Key: []byte(t.String()), Value: value,
	}).FirstErr()
}

// RestoreProgress is what a worker tells of a restore that lasts: a record of the epochs
// topic with the task as its key. A record without value says that the restore is over.
type RestoreProgress struct {
	Worker          string    // group instance id of the lane
	Began, Told     time.Time // by the worker's clock, whole ms
	Store           string
	From, Next, End int64
	Done, Total     int64
	Records         int64
}

const progressVersion = 1

var errProgress = errors.New("not the progress of a restore")

// Append appends the record's value; FORMAT.md has its layout.
func (p RestoreProgress) Append(b []byte) []byte {
	b = append(b, progressVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Began.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Told.UnixMilli()))
	for _, n := range p.numbers() {
		b = binary.AppendUvarint(b, uint64(*n))
	}
	for _, s := range []string{p.Worker, p.Store} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

func (p *RestoreProgress) numbers() []*int64 {
	return []*int64{&p.From, &p.Next, &p.End, &p.Done, &p.Total, &p.Records}
}

// DecodeRestoreProgress reads what Append wrote.
func DecodeRestoreProgress(b []byte) (p RestoreProgress, err error) {
	given := b
	if len(b) < 17 || b[0] != progressVersion {
		return p, fmt.Errorf("%w: %x", errProgress, given)
	}
	p.Began = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:])))
	p.Told = time.UnixMilli(int64(binary.BigEndian.Uint64(b[9:])))
	b = b[17:]
	number := func() (v uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 || v > 1<<63-1 { // no longer than it must be
			err = fmt.Errorf("%w: %x", errProgress, given)
			return 0
		}
		b = b[n:]
		return v
	}
	for _, to := range p.numbers() {
		if *to = int64(number()); err != nil {
			return p, err
		}
	}
	for _, to := range []*string{&p.Worker, &p.Store} {
		n := number()
		if err != nil || n > uint64(len(b)) {
			return p, fmt.Errorf("%w: %x", errProgress, given)
		}
		*to, b = string(b[:n]), slices.Clip(b[n:])
	}
	if len(b) > 0 {
		return p, fmt.Errorf("%w: %x", errProgress, given)
	}
	return p, nil
}
