package tally

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// Audit judges what a stopped application has left behind. It is a function of the facts alone.
//
//	I6  every transaction is decided, in all partitions alike, and readers see what was committed and nothing else;
//	    what a changelog shows, the positions name
//	I7  the inputs of a task agree; markers on disk are not ahead of positions; a task's epochs form a chain
//	I4  fold of the inputs below the positions = fold of the changelog to the ends that they name = rows on disk, with
//	    the changelog's tail behind their marker
//	I8  a completed checkpoint is consistent: the state of each task, with what was on its way to it, is what the inputs
//	    below the checkpoint's positions give
func (t Tally) Audit(f Facts) *Report {
	r := &Report{}
	if !t.settled(f, r) {
		return r // the logs are not final
	}
	t.transactions(f, r)
	meta := t.agreement(f, r)
	t.history(f, meta, r)
	t.state(f, meta, r)
	t.checkpoints(f, r)
	return r
}

// settled: no transaction is open, and none holds back readers.
func (t Tally) settled(f Facts, r *Report) bool {
	for _, id := range f.Open {
		r.add("I6 transaction of %s is left open", id)
	}
	for _, tp := range partitions(f.Logs) {
		if l := f.Logs[tp]; l.Stable != l.End {
			r.add("I6 %s/%d: readers are held at %d, the log ends at %d", tp.Topic, tp.Number, l.Stable, l.End)
		}
	}
	return len(r.Violations) == 0
}

func partitions[V any](m map[Partition]V) []Partition {
	return slices.SortedFunc(maps.Keys(m), func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Number, b.Number))
	})
}

// transactions compares the fates of a transaction in all partitions, and what readers see with them.
func (t Tally) transactions(f Facts, r *Report) {
	type end struct {
		fate string
		tp   Partition
	}
	ends := map[Writer]end{}
	for _, tp := range partitions(f.Logs) {
		l := f.Logs[tp]
		for i, fate := range l.fates() {
			rec := l.Records[i]
			if rec.Control != "" {
				continue
			}
			if fate == "" {
				r.add("I6 %s/%d@%d: no marker decides the record of %v", tp.Topic, tp.Number, rec.Offset, rec.Writer)
				continue
			}
			if shown := l.Shown[rec.Offset]; shown != (fate == "commit") {
				r.add("I6 %s/%d@%d: the marker says %s, readers see it: %t", tp.Topic, tp.Number, rec.Offset, fate, shown)
			}
			if !rec.Part {
				continue
			}
			if first, ok := ends[rec.Writer]; !ok {
				ends[rec.Writer] = end{fate, tp}
			} else if first.fate != fate {
				r.add("I6 transaction %v: %s in %s/%d, %s in %s/%d", rec.Writer, first.fate, first.tp.Topic, first.tp.Number, fate, tp.Topic, tp.Number)
			}
		}
	}
	trimmed := slices.ContainsFunc(slices.Collect(maps.Values(f.Logs)), func(l Log) bool { return l.Start > 0 })
	for _, tp := range partitions(f.Positions) {
		m, err := offsets.DecodeMetadata(f.Positions[tp].Metadata)
		if err != nil || m.Epoch.Counter == 0 {
			continue // agreement says so; the birth's records are in the control topic
		}
		switch e, ok := ends[writerOf(m.Epoch)]; {
		case !ok && !trimmed:
			r.add("I6 %s/%d: the position is of epoch %s, of which there is no record", tp.Topic, tp.Number, m.Epoch)
		case ok && e.fate != "commit":
			r.add("I6 %s/%d: the position is of epoch %s, which was aborted in %s/%d", tp.Topic, tp.Number, m.Epoch, e.tp.Topic, e.tp.Number)
		}
	}
}

func writerOf(e offsets.EpochID) Writer { return Writer{e.ProducerID, e.ProducerEpoch} }

// agreement decodes the positions of each task and compares them with the logs and the disks. What it returns fits.
func (t Tally) agreement(f Facts, r *Report) map[offsets.Task]offsets.Metadata {
	out := map[offsets.Task]offsets.Metadata{}
	for _, who := range t.tasks() {
		tp := Partition{t.input(who.Sub), who.Partition}
		at, ok := f.Positions[tp]
		l := f.Logs[tp]
		m, err := offsets.DecodeMetadata(at.Metadata)
		switch {
		case !ok:
			r.add("I7 task %s: no position of %s/%d", who, tp.Topic, tp.Number)
		case err != nil:
			r.add("I7 task %s: %v", who, err)
		case m.Timeline != t.names().Timeline:
			r.add("I7 task %s: position of timeline %d", who, m.Timeline)
		case len(m.Ends) != len(stores[who.Sub]):
			r.add("I7 task %s: the position names %d changelog ends, want those of %v", who, len(m.Ends), stores[who.Sub])
		case at.Offset < l.Start || at.Offset > l.End:
			r.add("I7 task %s: position %d of %s/%d is outside the log [%d, %d]", who, at.Offset, tp.Topic, tp.Number, l.Start, l.End)
		default:
			out[who] = m
		}
	}
	for _, d := range f.Disks {
		end, m, ok := t.endOf(d, out)
		switch {
		case !ok:
			r.add("I7 %s: store %s belongs to no task with a position", d.Dir, d.Store)
		case d.Marker.Timeline != m.Timeline || d.Marker.TopicID != f.TopicIDs[t.names().Changelog(d.Store.UID)]:
			r.add("I7 %s: the marker of %s is of timeline %d and topic %x", d.Dir, d.Store, d.Marker.Timeline, d.Marker.TopicID)
		case d.Marker.End > end || d.Marker.Reach > end:
			r.add("I7 %s: %s is at %d and reaches to %d, the position says %d", d.Dir, d.Store, d.Marker.End, d.Marker.Reach, end)
		case d.Marker.Epoch.Counter > m.Epoch.Counter:
			r.add("I7 %s: %s is at epoch %s, the position at %s", d.Dir, d.Store, d.Marker.Epoch, m.Epoch)
		case d.Marker.Epoch.Counter == m.Epoch.Counter && (d.Marker.Epoch != m.Epoch || d.Marker.End != end):
			r.add("I7 %s: %s is at epoch %s, end %d; the position at %s, end %d", d.Dir, d.Store, d.Marker.Epoch, d.Marker.End, m.Epoch, end)
		}
	}
	return out
}

// endOf is the changelog end that a task's position names for a store.
func (t Tally) endOf(d Disk, meta map[offsets.Task]offsets.Metadata) (int64, offsets.Metadata, bool) {
	m, ok := meta[d.Store.Task]
	if !ok {
		return 0, m, false
	}
	i := slices.Index(stores[d.Store.Task.Sub], d.Store.UID)
	if i < 0 {
		return 0, m, false
	}
	return m.Ends[i], m, true
}

// history follows the commits of each task, where the broker lets us read them: each epoch continues the one before,
// nothing goes back, the last one is the position, and a transaction that a changelog shows is one of them.
func (t Tally) history(f Facts, meta map[offsets.Task]offsets.Metadata, r *Report) {
	if f.History == nil {
		return
	}
	for _, who := range t.tasks() {
		tp := Partition{t.input(who.Sub), who.Partition}
		var first, last offsets.Metadata
		at := int64(-1)
		known := map[Writer]bool{}
		for i, p := range f.History[tp] {
			m, err := offsets.DecodeMetadata(p.Metadata)
			if err != nil {
				r.add("I7 task %s: commit %d: %v", who, i, err)
				continue
			}
			if i == 0 {
				first = m
			}
			switch {
			case i == 0 || m.Epoch == last.Epoch && p == f.History[tp][i-1]: // the client may send it twice
			case m.Epoch.Counter != last.Epoch.Counter+1 || m.Prev != last.Epoch:
				r.add("I7 task %s: epoch %s, said to follow %s, follows %s", who, m.Epoch, m.Prev, last.Epoch)
			case p.Offset < at:
				r.add("I7 task %s: epoch %s goes back from %d to %d", who, m.Epoch, at, p.Offset)
			}
			for j := range min(len(m.Ends), len(last.Ends)) {
				if m.Ends[j] < last.Ends[j] {
					r.add("I7 task %s: epoch %s: changelog end goes back from %d to %d", who, m.Epoch, last.Ends[j], m.Ends[j])
				}
			}
			last, at = m, p.Offset
			known[writerOf(m.Epoch)] = true
		}
		if m, ok := meta[who]; ok && (m.Epoch != last.Epoch || f.Positions[tp].Offset != at) {
			r.add("I7 task %s: the position is %d of epoch %s, the last commit was %d of %s", who, f.Positions[tp].Offset, m.Epoch, at, last.Epoch)
		}
		for i, uid := range stores[who.Sub] {
			log := Partition{t.names().Changelog(uid), who.Partition}
			for _, rec := range f.Logs[log].committed() {
				base := first.Epoch.Birth() && i < len(first.Ends) && rec.Offset < first.Ends[i] // written by a rewind
				if !known[rec.Writer] && !base {
					r.add("I6 %s/%d@%d: committed by %v, which committed no position of task %s", log.Topic, log.Number, rec.Offset, rec.Writer, who)
					break
				}
			}
		}
	}
}

// state compares what the inputs, the changelog and the disks say.
func (t Tally) state(f Facts, meta map[offsets.Task]offsets.Metadata, r *Report) {
	for _, who := range t.tasks() {
		m, ok := meta[who]
		if !ok {
			continue
		}
		want, err := t.inputFold(f, f.Positions, who, m.Time, t.inFlight(f, f.Positions, who, 0))
		if err != nil {
			r.add("I4 task %s: %v", who, err)
			continue
		}
		for i, uid := range stores[who.Sub] {
			tp := Partition{t.names().Changelog(uid), who.Partition}
			l, end := f.Logs[tp], m.Ends[i]
			if data := l.committed(); len(data) > 0 && data[len(data)-1].Offset >= end {
				r.add("I6 %s/%d@%d is committed, the position says that the changelog ends at %d", tp.Topic, tp.Number, data[len(data)-1].Offset, end)
			}
			if end > l.End {
				r.add("I4 %s/%d ends at %d, the position says %d", tp.Topic, tp.Number, l.End, end)
			}
			have := l.fold(Rows{}, 0, end)
			if key, a, b, yes := have.users().differs(want[uid]); yes {
				r.add("I4 %s/%d below %d: row %q is %x, the inputs give %x", tp.Topic, tp.Number, end, key, a, b)
			}
			if row, ok := have[clockRow]; ok {
				if now, ok := rowTime(row); !ok || now != m.Time {
					r.add("I4 %s/%d below %d: the task's time is %d, the position says %d", tp.Topic, tp.Number, end, now, m.Time)
				}
			}
			t.disks(f, who, uid, end, have, r)
		}
	}
}

// disks compares the rows in state directories, each with the changelog behind its marker, with the changelog's fold.
func (t Tally) disks(f Facts, who offsets.Task, uid string, end int64, want Rows, r *Report) {
	whole := false
	for _, d := range f.Disks {
		if d.Store.Task != who || d.Store.UID != uid {
			continue
		}
		tail := f.Logs[Partition{t.names().Changelog(uid), who.Partition}]
		rows := tail.fold(d.Rows, d.Marker.End, end)
		if key, a, b, yes := rows.differs(want); yes {
			r.add("I4 %s: %s at %d, with the changelog to %d: row %q is %x, the changelog alone gives %x", d.Dir, d.Store, d.Marker.End, end, key, a, b)
		}
		whole = whole || d.Marker.End == end
	}
	if f.Clean != nil && f.Clean(who) && !whole && end > 0 {
		r.add("I4 store %s of task %s: its last owner stopped cleanly, but no disk has its rows up to %d", uid, who, end)
	}
}
