package processor

import (
	"context"
	"sync"
	"time"

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
	told := false
	defer func() {
		if told {
			_ = w.publish(nil) // if that fails the record before grows old
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
		told = true
		p := RestoreProgress{
			Worker: w.lane.instance, Began: w.began, Told: time.Now(), Store: info.Store, From: info.From, Next: info.Next, End: info.End,
			Done: info.Done, Total: info.Total, Records: info.Records,
		}
		if err := w.publish(p.Append(nil)); err != nil && !warned {
			warned = true // the restore does not need it
			w.lane.cfg.listener.warn("publish the progress of restoring task "+info.Task.String(), err)
		}
	}
}

func (w *restoreWatch) publish(value []byte) error {
	ctx, cancel := context.WithTimeout(w.lane.ctx, noteLimit)
	defer cancel()
	t := w.info.Task // never changes
	return w.lane.group.client.ProduceSync(ctx, w.lane.noteRecord(t.String(), t, value)).FirstErr()
}
