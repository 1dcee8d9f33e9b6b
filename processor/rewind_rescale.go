package processor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/rescale"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// A sub-topology that reads repartitions alone may get another number of tasks. Its rows and what
// is on its way to it go where their keys belong then. One that reads a source keeps its rows
// where they are: whoever writes the source decides where keys lie.

// tasksOf is the number of tasks that a sub-topology of the manifest had.
func (o *origin) tasksOf(was int32) (n int32) {
	for t := range o.tasks {
		if t.Sub == was {
			n++
		}
	}
	return n
}

// source is one that a sub-topology of the plan reads, if it reads any.
func (o *origin) source(sub int32) (string, bool) {
	for _, in := range o.a.graph.Subs[sub].Inputs {
		if !in.Internal {
			return in.Topic, true
		}
	}
	return "", false
}

// grown says that a sub-topology has more tasks because its source has more partitions.
func (o *origin) grown(sub, was int32) bool {
	_, reads := o.source(sub)
	return reads && o.tasksOf(was) < o.a.partitionsOf(int(sub)) &&
		slices.ContainsFunc(o.plan.Subs[was].Inputs, func(in topology.InputDescription) bool { return !in.Internal })
}

// resized says that tasks of the plan and those of the manifest do not pair off.
func (o *origin) resized(sub, was int32) bool {
	return o.tasksOf(was) != o.a.partitionsOf(int(sub)) && !o.grown(sub, was)
}

// from are the tasks of the manifest from which a task gets what a sub-topology had.
func (o *origin) from(t offsets.Task, was int32) (out []offsets.Task) {
	if !o.resized(t.Sub, was) {
		return []offsets.Task{{Sub: was, Partition: t.Partition}}
	}
	for p := range o.tasksOf(was) {
		out = append(out, offsets.Task{Sub: was, Partition: p})
	}
	return out
}

// partitionsWere is the number of partitions that a repartition had; 0: it is new.
func (o *origin) partitionsWere(uid string) int32 {
	name := o.manifestNames().Repartition(o.was(uid))
	for _, t := range o.m.Topics {
		if t.Name == name {
			return t.Partitions
		}
	}
	return 0
}

// shardOf says how the records of a repartition are divided.
func (o *origin) shardOf(uid string) rescale.Shard {
	s := rescale.Shard{Was: o.partitionsWere(uid), Is: o.a.partitions[o.a.names.Repartition(uid)]}
	for i := range o.a.graph.Subs {
		for _, in := range o.a.graph.Subs[i].Inputs {
			if in.Internal && in.Topic == uid {
				s.Place = in.Place
			}
		}
	}
	return s
}

// shard says how the rows of a copy are divided.
func (o *origin) shard(job storeCopy) rescale.Shard {
	s := rescale.Shard{Was: o.tasksOf(job.from.Sub), Is: o.a.partitionsOf(int(job.to.Sub))}
	if job.store >= 0 {
		spec := o.a.graph.Subs[job.to.Sub].Stores[job.store]
		s.Place, s.Window = spec.Place, spec.Kind == task.StoreWindow
	}
	return s
}

// writersNow are those of the repartitions in the plan.
func (o *origin) writersNow() rescale.Writers {
	return rescale.Writers{
		Rename: o.writer,
		Resized: func(uid string) (out []offsets.Task) {
			sub, ok := o.upstream(uid)
			if !ok {
				return nil
			}
			was, _ := o.writers(uid)
			if !slices.ContainsFunc(was, func(w int32) bool { return o.resized(sub, w) }) {
				return nil
			}
			for p := range o.a.partitionsOf(int(sub)) {
				out = append(out, offsets.Task{Sub: sub, Partition: p})
			}
			return out
		},
	}
}

// timeless says that the stamps of what is in flight in a repartition say nothing about time any
// more: records of several partitions follow each other in one, or each producer's rows went to
// several. The first of them with a late stamp would make those behind it late.
func (o *origin) timeless(uid string) bool {
	s := o.shardOf(uid)
	if planted("keep the time of what is in flight") {
		return false
	}
	return s.Was != s.Is || o.writersNow().Resized(uid) != nil
}

// rescale lists what gets another number of partitions, and says what cannot.
func (o *origin) rescale(no func(fix, format string, args ...any)) (changes []string) {
	seen := map[string]bool{}
	for s := range o.a.graph.Subs {
		sub := &o.a.graph.Subs[s]
		for _, in := range sub.Inputs {
			if !in.Internal || seen[in.Topic] {
				continue
			}
			seen[in.Topic] = true
			shard := o.shardOf(in.Topic)
			if shard.Was == 0 || shard.Was == shard.Is {
				continue
			}
			if topic, reads := o.source(int32(s)); reads {
				no(fmt.Sprintf("give it %d partitions again (Partitions), or put a Repartition between the source and where they meet", shard.Was),
					"repartition %s had %d partitions, is to have %d, and is read in step with source %s, whose keys stay where they are", in.Topic, shard.Was, shard.Is, topic)
				continue
			}
			changes = append(changes, fmt.Sprintf("%s: %d to %d", in.Topic, shard.Was, shard.Is))
		}
		for i, spec := range sub.Stores {
			was, _, _, ok := o.store(spec.UID)
			if !ok || !o.resized(int32(s), was) {
				continue
			}
			if topic, reads := o.source(int32(s)); reads {
				no("keep it behind a Repartition, or give it a new uid and let the old one be left behind",
					"store %s is of %d tasks, is to be of %d that read source %s, and who writes that decides where keys lie", spec.UID, o.tasksOf(was), o.a.partitionsOf(s), topic)
				continue
			}
			for _, uid := range o.keyedBy(s, i) {
				if codec := o.keyCodec(uid); codec != spec.KeyCodec {
					no("keep the number of partitions, or give both one key codec under a new uid",
						"store %s has keys of codec %s, and they were placed by repartition %s as those of codec %s: where its rows belong cannot be told", spec.UID, spec.KeyCodec, uid, codec)
				}
			}
		}
	}
	slices.Sort(changes)
	return changes
}

// keyedBy are the repartitions whose keys the rows of a store have: those above it in its
// sub-topology.
func (o *origin) keyedBy(sub, store int) (uids []string) {
	g := o.a.graph
	var up func(id int)
	up = func(id int) {
		n := &g.Nodes[id]
		for _, in := range g.Subs[sub].Inputs {
			if in.Internal && in.Topic == n.UID {
				if !slices.Contains(uids, n.UID) {
					uids = append(uids, n.UID)
				}
				return
			}
		}
		for _, p := range n.Inputs {
			up(p)
		}
	}
	for i := range g.Nodes {
		if n := &g.Nodes[i]; n.Sub == sub && n.Store == store {
			up(i)
		}
	}
	return uids
}

func (o *origin) keyCodec(uid string) string {
	for i := range o.a.graph.Subs {
		for _, out := range o.a.graph.Subs[i].Outputs {
			if out.Internal && out.Topic == uid {
				return out.KeyCodec
			}
		}
	}
	return ""
}

// verifyKeys reads all that is to be divided anew, and makes sure that it can be: each row and
// record has a key and lies where that belongs.
func (r *rewinder) verifyKeys(ctx context.Context) error {
	var wrong []error
	bad := func(what string, n int64, first error) {
		if n > 0 {
			wrong = append(wrong, r.refuse(fmt.Sprintf("%s: %d cannot be given to another number of partitions, the first because %v", what, n, first), "keep the number of partitions that it had"))
		}
	}
	for _, uid := range r.origin.dividedStores() {
		n, first := int64(0), error(nil)
		for _, job := range r.origin.jobs {
			if job.uid != uid || !job.divided {
				continue
			}
			shard := r.origin.shard(job)
			err := r.bucket.Restore(ctx, r.m, job.from, job.uid, func(key, _ []byte, _ bool) error {
				if task.IsTimeRow(key) || job.store < 0 {
					return nil
				}
				if _, err := shard.Row(key, job.from.Partition); err != nil {
					if n++; n == 1 {
						first = err
					}
				}
				return nil
			}, nil)
			if err != nil {
				return fmt.Errorf("read store %s of task %s: %w", job.uid, job.from, err)
			}
		}
		bad("rows of store "+uid, n, first)
	}
	for _, part := range r.m.InFlight {
		uid := r.origin.is(part.UID)
		shard := r.origin.shardOf(uid)
		if shard.Is == 0 || shard.Was == shard.Is || part.From == part.To {
			continue
		}
		n, first := int64(0), error(nil)
		err := r.inFlight(ctx, part, func(rec kgo.Record) error {
			stamp, _, err := r.stamp(&rec)
			if err != nil || stamp.Kind != offsets.Data {
				return err
			}
			if _, err := shard.Key(rec.Key, part.Partition); err != nil {
				if n++; n == 1 {
					first = err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("records in flight of %s partition %d: %w", part.UID, part.Partition, err)
		}
		bad(fmt.Sprintf("records in flight of repartition %s, partition %d", uid, part.Partition), n, first)
	}
	return errors.Join(wrong...)
}

// dividedStores are those of the manifest whose rows are divided anew.
func (o *origin) dividedStores() (uids []string) {
	for _, job := range o.jobs {
		if job.divided && !slices.Contains(uids, job.uid) {
			uids = append(uids, job.uid)
		}
	}
	return uids
}

// stamp finds the stamp of a record, and which header it is.
func (r *rewinder) stamp(rec *kgo.Record) (offsets.Stamp, int, error) {
	for i, h := range rec.Headers {
		if h.Key == offsets.StampHeader {
			s, err := offsets.DecodeStamp(h.Value)
			return s, i, err
		}
	}
	return offsets.Stamp{}, 0, errNoStamp
}

// timesOf makes the watermark row of a task; nil: there is none.
func (o *origin) timesOf(t offsets.Task, rows map[offsets.Task]task.TimeRow) []byte {
	if !o.a.graph.Subs[t.Sub].HasTime || len(o.subs[t.Sub]) != 1 {
		return nil
	}
	var all []task.TimeRow
	for _, from := range o.from(t, o.subs[t.Sub][0]) {
		row, ok := rows[from]
		if !ok {
			return nil // it has heard nothing yet
		}
		all = append(all, row)
	}
	if planted("take the time of the task furthest on") {
		slices.SortFunc(all, func(a, b task.TimeRow) int { return cmp.Compare(b.Now, a.Now) })
		all = all[:1]
	}
	return rescale.Times(all, o.writersNow()).Append(nil)
}
