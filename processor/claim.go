package processor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// claims is the part of the coordinator that lets savepoints go which rewinds have claimed. Such
// a savepoint counts as a checkpoint from before the timeline: it goes when as many newer ones
// are complete as are retained, or when the application ends and its checkpoints do not outlive
// it.
//
//   - That is written to the control topic first: nobody goes back to it from then on.
//   - Its files are deleted in the background, by each coordinator anew until that is done.
//   - That is written, too, so that later ones do not look for them.
//
// Invariant: deleting != 0 => the control topic says that its savepoint is not kept
type claims struct {
	says     notice
	deleting uint32 // timeline of the claim whose savepoint is being deleted, 0: none
	all      bool   // the application has ended, and no claimed savepoint is to outlive it
}

// subsumed says whether a claimed savepoint is not needed any more beside so many checkpoints.
func subsumed(s control.Claimed, kept []control.Complete, retained int) bool {
	newer := 0
	for _, k := range kept {
		if k.Kind == checkpoint.Checkpoint && k.ID > s.Since {
			newer++
		}
	}
	return newer >= retained
}

// lookAtClaims begins the next step, if one is due.
func (c *coordinator) lookAtClaims(now int64) {
	if c.claims.says.record != nil || c.claims.deleting != 0 {
		return
	}
	l := c.task.lane
	for _, s := range c.state.Claimed() {
		switch {
		case s.Dropped:
			c.claims.deleting = s.Timeline
			l.uploads.deleteClaimed(s, func() { l.inbox.push(claimDeleted(s.Timeline)) })
			return
		case c.claims.all || subsumed(s, c.state.Kept(), l.cfg.checkpoints.settings().Retained):
			c.claims.says.record = control.Claim{Timeline: s.Timeline, Wall: now}
			return
		}
	}
}

// claimDeleted comes from background work: nothing is left of the savepoint that the rewind to
// this timeline has claimed.
type claimDeleted uint32

func (l *lane) claimDeleted(e claimDeleted) {
	if c := l.coordinator(); c != nil && c.claims.deleting == uint32(e) {
		c.claims.deleting = 0
		c.claims.says.record = control.Claim{Timeline: uint32(e), Deleted: true, Wall: l.now().UnixMilli()}
	}
}

// deleteClaimed deletes the files of a claimed savepoint. It tries until it succeeds.
func (u *uploads) deleteClaimed(s control.Claimed, then func()) {
	u.work.Go(func() {
		for wait := time.Second; ; wait = min(2*wait, time.Minute) {
			failpoint("claim.delete")
			err := u.removeClaimed(s)
			failpoint("claim.deleted")
			if u.ctx.Err() != nil {
				return
			}
			if err == nil {
				then()
				return
			}
			u.cfg.listener.warn(fmt.Sprintf("delete the savepoint %s, which was claimed", s.Base.Manifest), err)
			if pause(u.ctx, wait) != nil {
				return
			}
		}
	})
}

func (u *uploads) removeClaimed(s control.Claimed) error {
	place, manifest := snapshot.SplitManifest(s.Base.Claim)
	b, err := snapshot.Open(u.ctx, place, snapshot.Options{})
	if errors.Is(err, snapshot.ErrNotFound) {
		// The directory went with its last file, or this worker does not see it.
		u.cfg.listener.warn(fmt.Sprintf("nothing is left to delete of the savepoint %s, which was claimed", s.Base.Manifest), err)
		return nil
	}
	if err != nil {
		return err
	}
	_, err = b.RemoveRest(u.ctx, manifest)
	return errors.Join(err, b.Close())
}

// claimOf is what the control topic says of a claim: where the manifest lies, as every worker
// finds it. A checkpoint of the application's own is claimed already.
func (r *rewinder) claimOf() (string, error) {
	if !r.o.Claim || r.m.Kind == snapshot.Checkpoint {
		return "", nil
	}
	return r.placeOf(r.name)
}

// placeOf is where a manifest of this name lies, as every worker finds it.
func (r *rewinder) placeOf(manifest string) (string, error) {
	place, _ := snapshot.SplitManifest(r.o.From)
	at := snapshot.Join(place, manifest)
	dir, local, err := snapshot.Local(at)
	if err == nil && local {
		at, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", fmt.Errorf("place of the savepoint: %w", err)
	}
	return at, nil
}

// claimedBefore says whether the savepoint is not there because a rewind like this one has
// claimed it: workers are started again with the same options long after that.
func (r *rewinder) claimedBefore(ctx context.Context) (bool, error) {
	state, err := readControl(ctx, r.cfg, r.plan.Application(), true)
	if err != nil {
		return false, err
	}
	for _, a := range state.Rewinds() {
		_, manifest := snapshot.SplitManifest(a.Base.Claim)
		if manifest == "" {
			continue // nothing was claimed
		}
		at, err := r.placeOf(manifest)
		if err != nil {
			return false, err
		}
		if a.Base.Claim == at && a.Base.Rewind == r.idOf(manifest) {
			r.report.Done = true
			r.reportOf(a)
			return true, nil
		}
	}
	return false, nil
}

// verifyClaim refuses to claim what is not to be had, and to go back to what is being deleted.
func (r *rewinder) verifyClaim(state control.State, no func(fix, format string, args ...any)) {
	for _, s := range state.Claimed() {
		if s.Dropped && s.Base.SHA256 == manifestSum(r.name) {
			no("take another one", "it was claimed by rewind %s, newer checkpoints have taken its place, and it is being deleted", s.Base.Rewind)
		}
	}
	if !r.o.Claim {
		return
	}
	if r.m.Kind == snapshot.Checkpoint && r.m.Application != r.plan.Application() {
		no("take a savepoint of it, or leave the claim out", "it is a checkpoint of application %s, which drops it in its time: it cannot be claimed", r.m.Application)
	}
	if r.cfg.checkpoints.Dir == "" {
		no("set Checkpoints.Dir, --checkpoint-dir, as the workers have it", "a claimed savepoint is deleted when checkpoints have taken its place, and none are taken: no directory is named for them")
	}
}
