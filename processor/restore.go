package processor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/epoch"
)

// baseMaxAge bounds how old a local base may be: the changelog keeps tombstones for
// delete.retention.ms (7 days), and an older base would miss some and bring deleted keys
// back. Half of it, because clocks and the cleaner are not exact.
const baseMaxAge = 84 * time.Hour

// restoring is a restore in the background.
type restoring struct{ cancel context.CancelFunc }

type taskRestored struct {
	task      offsets.Task
	of        *restoring
	stores    []*changelog.Store
	positions map[topicPartition]committed
	metadata  offsets.Metadata
	base      string
	records   int64
	took      time.Duration
	control   *coordinator // of the control task
}

type taskRestoreFailed struct {
	task offsets.Task
	of   *restoring
	err  error
}

func (l *lane) startRestore(t offsets.Task) {
	ctx, cancel := context.WithCancel(l.ctx)
	r := &restoring{cancel: cancel}
	l.restoring[t] = r
	l.waitsNoMore(t)
	l.helpers.Go(func() {
		defer cancel()
		failpoint("restore")
		got, err := l.restore(ctx, t)
		if err != nil {
			l.inbox.push(taskRestoreFailed{t, r, err})
			return
		}
		if ctx.Err() != nil { // revoked while it finished
			closeStores(got.stores)
			return
		}
		got.of = r
		l.inbox.push(got)
	})
}

// restore brings a task to its committed state: stable positions first, then for each
// store the local base if it can be trusted, else nothing, and the changelog from there
// exactly to the end that the positions name. It runs outside the lane's goroutine.
func (l *lane) restore(ctx context.Context, t offsets.Task) (got taskRestored, err error) {
	start := time.Now()
	got.task = t
	specs := l.app.stores(t)
	defer func() {
		if err != nil {
			closeStores(got.stores)
			got.stores = nil
		}
	}()
	// The lease of the stores comes before the positions: the lane that had the task before
	// in this process may still be committing.
	type based struct {
		marker changelog.Marker
		found  bool
	}
	bases := make([]based, len(specs))
	followed := l.standbys.take(t)
	if followed != nil {
		got.stores = followed.stores
	}
	for i, spec := range specs {
		if followed != nil {
			break
		}
		id := l.app.storeID(t, i)
		var s *changelog.Store
		if spec.InMemory {
			s, err = l.db.OpenInMemory(ctx, id)
		} else {
			s, bases[i].marker, bases[i].found, err = l.db.OpenStore(ctx, id)
		}
		if err != nil {
			return got, fmt.Errorf("open state %s of task %s: %w", spec.UID, t, err)
		}
		got.stores = append(got.stores, s)
	}
	if got.positions, err = l.stablePositions(ctx, t); err != nil {
		return got, err
	}
	if _, err := epochOf(l.app, got.positions, t); err != nil {
		return got, err
	}
	for _, tp := range l.app.inputs(t) {
		got.metadata = got.positions[tp].metadata
		break
	}
	if err := l.checkPositions(ctx, t, got.positions); err != nil {
		return got, err
	}
	if len(got.metadata.Ends) != len(specs) {
		return got, fmt.Errorf("positions of task %s name %d stores, the plan has %d", t, len(got.metadata.Ends), len(specs))
	}
	if t == l.app.controlTask() {
		if got.control, err = newCoordinator(ctx, l.cfg, l.app); err != nil {
			return got, err
		}
	}
	got.base = "local"
	if len(specs) == 0 {
		got.base = "none"
	}
	// The bases of all stores first: what is to be read is known before the reading begins.
	from := make([]int64, len(specs))
	for i, s := range got.stores {
		end, m := got.metadata.Ends[i], bases[i].marker
		if followed != nil && followed.last[i] <= end {
			got.base, from[i] = "standby", min(followed.next[i], end) // behind the last record there may be a marker
			continue
		}
		from[i] = m.End
		// Rows on disk may be newer than their marker, up to Reach, but not newer than what
		// the positions name: those would be of epochs that Kafka does not have.
		if !bases[i].found || m.End > end || m.Reach > end || (m.End != end && time.Since(time.UnixMilli(m.Wall)) > baseMaxAge) {
			if err := s.Reset(); err != nil {
				return got, fmt.Errorf("reset state of task %s: %w", t, err)
			}
			from[i] = 0
			var rows int64
			if from[i], rows, err = l.fromCheckpoint(ctx, s, t, specs[i].UID, l.app.changelogTopic(int(t.Sub), i), end); err != nil {
				return got, fmt.Errorf("restore task %s: %w", t, err)
			}
			got.records += rows
			if from[i] > 0 {
				got.base = "checkpoint"
				continue
			}
			if got.base = "changelog"; end == 0 {
				got.base = "empty"
			}
		}
	}
	watch := l.watchRestore(t, got.base, from, got.metadata.Ends, start)
	defer watch.end()
	for i, s := range got.stores {
		end := got.metadata.Ends[i]
		topic := l.app.changelogTopic(int(t.Sub), i)
		watch.store(specs[i].UID, from[i], end)
		if from[i] < end && !(from[i] > 0 && planted("restore without the tail")) {
			s.Restoring(end)
			var failed error // of the store, met between two fetches
			r := changelog.Reader{Topic: topic, Partition: t.Partition, From: from[i], To: end, Progress: func(p changelog.Progress) {
				watch.at(min(p.Next, end), got.records)
				if failed == nil {
					failed = s.RestoredTo(p.Next)
				}
			}}
			_, err := r.Read(ctx, l.cfg.clientOpts(), func(key, value []byte, _ int64) error {
				if failed != nil {
					return failed
				}
				got.records++
				if planted("drop a key on restore") && key[len(key)-1] == '7' {
					return nil
				}
				return s.Restored(key, value)
			})
			if err = cmp.Or(err, failed); err != nil {
				return got, fmt.Errorf("restore task %s from %s/%d [%d, %d): %w", t, topic, t.Partition, from[i], end, err)
			}
		}
		if err := s.Finish(got.metadata.Epoch, end); err != nil {
			return got, fmt.Errorf("restore task %s: %w", t, err)
		}
	}
	got.took = time.Since(start)
	return got, nil
}

// stablePositions waits until no transaction is open over the task's positions. The
// predecessor's, if it died, is ended by fencing it, not by waiting for its time-out.
func (l *lane) stablePositions(ctx context.Context, t offsets.Task) (map[topicPartition]committed, error) {
	var fenced time.Time
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		try, cancel := context.WithTimeout(ctx, l.cfg.sessionTimeout)
		got, err := fetchCommitted(try, l.group.client, l.app, t)
		cancel()
		if err == nil {
			return got, nil
		}
		if v := judge(err); v == verdictFatal || errors.Is(err, ErrPosition) || ctx.Err() != nil {
			return nil, err
		}
		if isUnstable(err) && time.Since(fenced) > time.Second {
			if err := l.app.fencePredecessors(ctx, l.group.client, l.cfg); err != nil && ctx.Err() == nil {
				l.cfg.listener.warn("fence departed members", err)
			}
			fenced = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// checkPositions refuses positions that the log no longer holds. Nothing is ever reset.
func (l *lane) checkPositions(ctx context.Context, t offsets.Task, got map[topicPartition]committed) error {
	adm := kadm.NewClient(l.group.client)
	var topics []string
	for _, tp := range l.app.inputs(t) {
		topics = append(topics, tp.Topic)
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("list start offsets for task %s: %w", t, err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("list end offsets for task %s: %w", t, err)
	}
	var errs []error
	for _, tp := range l.app.inputs(t) {
		at := got[tp].offset
		lo, ok := starts.Lookup(tp.Topic, tp.Partition)
		hi, ok2 := ends.Lookup(tp.Topic, tp.Partition)
		if !ok || !ok2 || lo.Err != nil || hi.Err != nil {
			errs = append(errs, fmt.Errorf("%s: no start or end offset: %w", tp, errors.Join(lo.Err, hi.Err)))
			continue
		}
		if at < lo.Offset || at > hi.Offset {
			errs = append(errs, &Error{
				What:  fmt.Sprintf("position %d of %s is outside the log [%d, %d]", at, tp, lo.Offset, hi.Offset),
				Where: "task " + t.String(),
				Fix:   "records between the position and the log were lost (retention, truncation); restore from a backup, or start under a new application name",
				Err:   ErrPosition,
			})
		}
	}
	return errors.Join(errs...)
}

func closeStores(ss []*changelog.Store) {
	for _, s := range ss {
		// Nothing was written that could fail to be dropped.
		_ = s.Close(context.Background(), false)
	}
}

// restored puts a restored task to work.
func (l *lane) restored(r taskRestored) {
	if l.restoring[r.task] != r.of {
		closeStores(r.stores)
		return
	}
	delete(l.restoring, r.task)
	t, err := l.newRunningTask(r)
	if err != nil {
		closeStores(r.stores)
		l.notRestored(r.task, err)
		return
	}
	l.tasks[r.task] = t
	l.sortTasks()
	l.cfg.listener.restored(r)
	if r.control == nil {
		l.tellCuts(checkpoint.Came{Task: r.task, Cut: r.metadata.Cut})
		t.cut.member = l.cuts.Member(r.task)
		l.tellMoved(t)
		l.holdLast(t)
	}
	l.tell(epoch.Restored{Task: r.task, Epoch: r.metadata.Epoch})
	l.resume(t)
}

func (l *lane) restoreFailed(r taskRestoreFailed) {
	if l.restoring[r.task] != r.of {
		return
	}
	delete(l.restoring, r.task)
	l.notRestored(r.task, r.err)
}

func (l *lane) notRestored(t offsets.Task, err error) {
	l.taskFailed(t, err)
	l.tell(epoch.RestoreFailed{Task: t})
}
