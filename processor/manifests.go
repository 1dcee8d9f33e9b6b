package processor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// parts are what the tasks said of a cut, for its manifest.
type parts struct {
	cut       checkpoint.Cut
	triggered int64
	acks      []control.Ack // in the order of the plan's tasks
	uploads   []control.Uploaded
	base      *control.Complete  // checkpoint that increments lie on
	savepoint *control.Savepoint // nil: it is a checkpoint
}

// manifest gathers what the manifest of a cut is made of.
func (c *coordinator) manifest(w checkpoint.WriteManifest) parts {
	p := parts{cut: w.Cut}
	if trigger, ok := c.state.Undecided(); ok {
		p.triggered = trigger.Wall
	}
	for _, part := range w.Parts {
		p.acks = append(p.acks, c.acks[part.Task])
		p.uploads = append(p.uploads, c.uploads[part.Task])
	}
	for _, k := range c.state.Kept() {
		if k.Kind == checkpoint.Checkpoint {
			p.base = &k
		}
	}
	if s, ok := c.state.Savepoint(w.Cut.Request); ok && w.Cut.Kind == checkpoint.Savepoint {
		p.savepoint = &s
	}
	return p
}

// manifest writes the manifest of a cut in the background and tells where it lies.
func (u *uploads) manifest(p parts, then func(manifestPlace, error)) {
	u.work.Go(func() {
		place, err := u.writeManifest(u.ctx, p)
		if u.ctx.Err() == nil {
			then(place, err)
		}
	})
}

func (u *uploads) writeManifest(ctx context.Context, p parts) (manifestPlace, error) {
	b, format, path := (*snapshot.Bucket)(nil), snapshot.Native, ""
	if p.savepoint != nil {
		place, err := u.enter(p.savepoint, p.cut.ID)
		if err != nil {
			return manifestPlace{}, err
		}
		defer u.leave(place)
		b, format, path = place.bucket, place.format, place.location
	} else {
		if err := u.open(); err != nil {
			return manifestPlace{}, err
		}
		b = u.bucket
	}
	plan, err := json.Marshal(u.app.plan.Describe())
	if err != nil {
		return manifestPlace{}, fmt.Errorf("describe the plan: %w", err)
	}
	m := &snapshot.Manifest{
		Kind: snapshot.Kind(p.cut.Kind.String()), Format: format, Application: u.app.names.Application, Timeline: u.app.names.Timeline,
		Cut: p.cut.ID, Request: p.cut.Request, Triggered: p.triggered, Completed: time.Now().UnixMilli(), Weir: weirVersion(),
		Fingerprint: u.app.plan.Fingerprint(), Plan: plan, InternalPartitions: u.app.internal, Topics: u.app.topicsOfManifest(),
	}
	var base *snapshot.Manifest // read when an increment needs it
	for i, ack := range p.acks {
		t := snapshot.TaskState{Task: ack.Task, Epoch: ack.Epoch, Time: ack.Time, Stores: []snapshot.StoreState{}}
		for j, at := range ack.Positions {
			t.Positions = append(t.Positions, snapshot.Position{Topic: at.Topic, Partition: at.Partition, Offset: at.Offset, Time: ack.Times[j]})
		}
		slices.SortFunc(t.Positions, func(a, b snapshot.Position) int { return strings.Compare(a.Topic, b.Topic) })
		var stores []uploadedStore
		if err := json.Unmarshal(p.uploads[i].Stores, &stores); err != nil {
			return manifestPlace{}, fmt.Errorf("what task %s has uploaded: %w", ack.Task, err)
		}
		for _, s := range stores {
			state := snapshot.StoreState{UID: s.UID, End: s.Layer.End, Codecs: s.Codecs}
			if s.Base != 0 {
				if base == nil {
					if base, err = u.baseManifest(ctx, p.base, s.Base); err != nil {
						return manifestPlace{}, err
					}
				}
				below := base.Store(ack.Task, s.UID)
				if below == nil {
					return manifestPlace{}, fmt.Errorf("checkpoint %d has no store %s of task %s to build on", s.Base, s.UID, ack.Task)
				}
				state.Layers = append(state.Layers, below.Layers...)
			}
			state.Layers = append(state.Layers, s.Layer)
			t.Stores = append(t.Stores, state)
		}
		m.Tasks = append(m.Tasks, t)
	}
	if m.InFlight, err = u.inFlight(ctx, p.acks); err != nil {
		return manifestPlace{}, err
	}
	if p.savepoint != nil {
		if err := u.copyInFlight(ctx, b, m); err != nil {
			return manifestPlace{}, err
		}
		if err := seenWhole(ctx, b, m); err != nil {
			return manifestPlace{}, err
		}
	}
	bytes, added := sizes(m, base)
	failpoint("manifest")
	name, err := b.WriteManifest(ctx, m)
	failpoint("manifest.written")
	if err != nil {
		return manifestPlace{}, err
	}
	// The name holds the hash: manifests/<cut>-<sha256>.json.
	_, sum, _ := strings.Cut(strings.TrimSuffix(name, ".json"), "-")
	return manifestPlace{cut: p.cut.ID, name: name, sha256: sum, path: path, bytes: bytes, added: added}, nil
}

// sizes are the bytes that a manifest names, and those of them that the one it builds on does not.
func sizes(m, base *snapshot.Manifest) (all, added int64) {
	shared := map[string]bool{}
	if base != nil {
		for o := range base.Objects() {
			shared[o.Name] = true
		}
	}
	for o := range m.Objects() {
		all += o.Size
		if !shared[o.Name] {
			added += o.Size
		}
	}
	return all, added
}

func (u *uploads) baseManifest(ctx context.Context, k *control.Complete, want uint64) (*snapshot.Manifest, error) {
	if k == nil || k.ID != want {
		return nil, fmt.Errorf("a task has built on checkpoint %d, which is not the newest", want)
	}
	return u.bucket.Load(ctx, k.Manifest, u.app.names.Application)
}

// inFlight measures, now that every task has acknowledged the cut, where the repartition topics
// end: what was sent before its producer took the cut lies below.
func (u *uploads) inFlight(ctx context.Context, acks []control.Ack) ([]snapshot.InFlight, error) {
	cl, err := u.cfg.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	uids := u.app.repartitions()
	var topics []string
	for topic := range uids {
		topics = append(topics, topic)
	}
	if len(topics) == 0 {
		return []snapshot.InFlight{}, nil
	}
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list ends of repartition topics: %w", err)
	}
	out := []snapshot.InFlight{}
	for _, ack := range acks {
		for _, at := range ack.Positions {
			uid, ok := uids[at.Topic]
			if !ok {
				continue
			}
			end, ok := ends.Lookup(at.Topic, at.Partition)
			if !ok || end.Offset < at.Offset {
				return nil, fmt.Errorf("%s/%d ends at %d, below the position %d of task %s", at.Topic, at.Partition, end.Offset, at.Offset, ack.Task)
			}
			out = append(out, snapshot.InFlight{UID: uid, Partition: at.Partition, Task: ack.Task, Epoch: ack.Epoch, From: at.Offset, To: end.Offset})
		}
	}
	slices.SortFunc(out, func(a, b snapshot.InFlight) int {
		return cmp.Or(strings.Compare(a.UID, b.UID), cmp.Compare(a.Partition, b.Partition))
	})
	return out, nil
}

// garbage is a cut that does not count, or no longer.
type garbage struct {
	id        uint64
	manifest  string             // "": it was never complete
	kept      []control.Complete // checkpoints whose objects stay
	savepoint *control.Savepoint // that was declined; nil: it was a checkpoint
}

// discard deletes what a cut has left in the store. It tries until it succeeds; the place of a
// savepoint may never have been one that can be reached, and is given up after a while.
func (u *uploads) discard(g garbage, then func()) {
	const patience = 3
	u.work.Go(func() {
		tries := 0
		for wait := time.Second; ; wait = min(2*wait, time.Minute) {
			failpoint("discard")
			err := u.delete(u.ctx, g)
			if u.ctx.Err() != nil {
				return
			}
			if err == nil {
				then()
				return
			}
			u.cfg.listener.warn(fmt.Sprintf("delete what cut %d has left", g.id), err)
			if tries++; g.savepoint != nil && tries == patience {
				then()
				return
			}
			if pause(u.ctx, wait) != nil {
				return
			}
		}
	})
}

func (u *uploads) delete(ctx context.Context, g garbage) error {
	if g.savepoint != nil {
		return u.discardSavepoint(ctx, g.savepoint)
	}
	if u.cfg.checkpoints.Dir == "" {
		return nil // nothing was written
	}
	if err := u.open(); err != nil {
		return err
	}
	var keep []*snapshot.Manifest
	for _, k := range g.kept {
		m, err := u.bucket.Load(ctx, k.Manifest, u.app.names.Application)
		if errors.Is(err, snapshot.ErrNotFound) {
			continue // it is deleted by now, or lies in a place that we no longer use
		}
		if err != nil {
			return err
		}
		keep = append(keep, m)
	}
	if g.manifest == "" {
		_, err := u.bucket.Sweep(ctx, keep, g.id, g.id+1)
		return err
	}
	m, err := u.bucket.Load(ctx, g.manifest, u.app.names.Application)
	if errors.Is(err, snapshot.ErrNotFound) {
		// Its deletion was begun before: the objects, also of cuts before it, are found by listing all.
		_, err := u.bucket.Sweep(ctx, keep, 0, g.id+1)
		return err
	}
	if err != nil {
		return err
	}
	return u.bucket.Drop(ctx, m, keep)
}

// repartitions maps the repartition topics to their uids.
func (a *application) repartitions() map[string]string {
	out := map[string]string{}
	for s := range a.graph.Subs {
		for i, in := range a.graph.Subs[s].Inputs {
			if in.Internal {
				out[a.topicOf(s, i)] = in.Topic
			}
		}
	}
	return out
}

// topicsOfManifest are all topics of the application as they are, by name.
func (a *application) topicsOfManifest() []snapshot.Topic {
	var out []snapshot.Topic
	for name, n := range a.partitions {
		id := a.topicIDs[name]
		out = append(out, snapshot.Topic{Name: name, ID: fmt.Sprintf("%x", id), Partitions: n})
	}
	slices.SortFunc(out, func(a, b snapshot.Topic) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// weirVersion is that of this library in the program that runs.
func weirVersion() string {
	const module = "github.com/weir-stream/weir"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return info.Main.Version
}
