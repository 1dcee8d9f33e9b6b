package processor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// fromCheckpoint fills a store that has no base of its own from the newest checkpoint that
// fits, and returns the changelog offset to go on from. Without one that is 0. What it cannot
// use it says, and the one before is tried: the changelog has everything.
//
// One fits if it is of this timeline and of this changelog topic, not ahead of the committed
// end, and young enough for the changelog's tombstones.
func (l *lane) fromCheckpoint(ctx context.Context, s *changelog.Store, t offsets.Task, uid string, topic string, end int64) (from, rows int64, err error) {
	if l.cfg.checkpoints.Dir == "" || end == 0 {
		return 0, 0, nil
	}
	for _, k := range slices.Backward(l.control.kept()) {
		if k.Timeline != l.app.names.Timeline || k.Kind != checkpoint.Checkpoint {
			continue
		}
		from, rows, err := l.load(ctx, s, k, t, uid, topic, end)
		if err == nil && from > 0 {
			return from, rows, nil
		}
		if ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
		if err != nil {
			l.cfg.listener.warn(fmt.Sprintf("restore store %s of task %s from checkpoint %d: not used", uid, t, k.ID), err)
			if err := s.Reset(); err != nil { // it may have some of the rows
				return 0, 0, err
			}
		}
	}
	return 0, 0, nil
}

// load gives a store the rows of one checkpoint; from is 0 if it does not fit.
func (l *lane) load(ctx context.Context, s *changelog.Store, k control.Complete, t offsets.Task, uid, topic string, end int64) (from, rows int64, err error) {
	if err := l.uploads.open(); err != nil {
		return 0, 0, err
	}
	m, err := l.uploads.bucket.Load(ctx, k.Manifest, l.app.names.Application)
	if err != nil {
		return 0, 0, err
	}
	state := m.Store(t, uid)
	if state == nil {
		return 0, 0, nil
	}
	id := fmt.Sprintf("%x", l.app.topicIDs[topic])
	same := slices.ContainsFunc(m.Topics, func(t snapshot.Topic) bool { return t.Name == topic && t.ID == id })
	old := state.End != end && time.Since(time.UnixMilli(m.Triggered)) > baseMaxAge
	if !same || state.End > end || old || state.End == 0 {
		return 0, 0, nil
	}
	s.Restoring(end)
	err = l.uploads.bucket.Restore(ctx, m, t, uid, func(key, value []byte, deleted bool) error {
		rows++
		if deleted {
			return s.Restored(key, nil)
		}
		return s.Restored(key, nonNil(value))
	}, nil)
	if err != nil {
		return 0, 0, err
	}
	return state.End, rows, s.RestoredTo(state.End)
}

// nonNil keeps an empty value apart from a delete.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
