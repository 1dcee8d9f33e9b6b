package tally

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// The parts of the topology as the engine cuts it: sub-topology 0 reads the source, 1 the repartition topic.
var stores = [2][]string{{"seen"}, {"groups", "windows"}}

func (t Tally) names() offsets.Names {
	return offsets.Names{Application: t.App, Timeline: max(t.Timeline, 1)}
}

func (t Tally) input(sub int32) string {
	if sub == 0 {
		return t.In()
	}
	return t.names().Repartition("by-group")
}

// Inner is the number of partitions of the repartition topic: as many as the inputs have, until it is rescaled.
func (t Tally) Inner() int32 { return cmp.Or(t.inner, t.Partitions) }

// tasks of the topology, in order.
func (t Tally) tasks() (out []offsets.Task) {
	for sub, n := range []int32{t.Partitions, t.Inner()} {
		for p := range n {
			out = append(out, offsets.Task{Sub: int32(sub), Partition: p})
		}
	}
	return out
}

// Rescaled says that a timeline begins with the state of a checkpoint or savepoint, in another number of partitions.
func (t *Tally) Rescaled(ctx context.Context, from string, partitions int32, timeline uint32) error {
	b, m, err := snapshot.FindManifest(ctx, from, snapshot.Options{})
	if err != nil {
		return err
	}
	t.madeOf(m)
	t.inner, t.Timeline = partitions, timeline
	return b.Close()
}

// madeOf has the tasks begin with what is in a manifest. Each gets the time of the slowest that it is made of, and the
// windows that the others have fired do not come back with that.
func (t *Tally) madeOf(from *snapshot.Manifest) {
	var times []int64 // of the tasks with windows
	for _, k := range from.Tasks {
		if k.Task.Sub == 1 {
			times = append(times, k.Time)
		}
	}
	before := t.fired
	t.ahead = func(group []byte) int64 {
		return max(before(group), times[offsets.Partition(group, int32(len(times)))])
	}
}

// fired is the time up to which windows of a group had fired where the timeline begins.
func (t Tally) fired(group []byte) int64 {
	if t.ahead == nil {
		return offsets.NoTime
	}
	return t.ahead(group)
}

// inputFold is the state of a task as it must be after the committed prefix of the inputs, by store; rows that belong
// to the task and not to a key are left out. now is the task's time: windows that ended by then are gone, and
// those that had fired before the timeline began.
//
// Repartition topics are trimmed, so what a task of sub-topology 1 has read is not there any more. But counts and sums
// do not depend on order: it is what the source's prefix sends to it, less what is in flight to it.
func (t Tally) inputFold(f Facts, at map[Partition]Position, who offsets.Task, now int64, inFlight []Record) (map[string]Rows, error) {
	out := map[string]Rows{}
	for _, uid := range stores[who.Sub] {
		out[uid] = Rows{}
	}
	if who.Sub == 0 {
		in := Partition{t.In(), who.Partition}
		for _, r := range f.Logs[in].committed() {
			v, err := inputValue(r)
			if err != nil {
				return nil, err
			}
			if r.Offset < at[in].Offset {
				add(out["seen"], task.AppendKeyedRow(nil, r.Key), 1, func(int64) int64 { return v })
			}
		}
		return out, nil
	}
	one := func(group []byte, v, time, n int64) {
		add(out["groups"], task.AppendKeyedRow(nil, group), n, func(sum int64) int64 { return sum + n*v })
		size := WindowSize.Milliseconds()
		if start := time - time%size; start+size > max(now, t.fired(group)) {
			count(out["windows"], task.AppendWindowRow(nil, start, group), n)
		}
	}
	for p := range t.Partitions {
		in := Partition{t.In(), p}
		for _, r := range f.Logs[in].committed() {
			group := []byte(t.group(string(r.Key)))
			if r.Offset >= at[in].Offset || offsets.Partition(group, t.Inner()) != who.Partition {
				continue
			}
			v, err := inputValue(r)
			if err != nil {
				return nil, err
			}
			one(group, v, r.Time, 1)
		}
	}
	for _, r := range inFlight {
		if r.Stamp == nil || r.Stamp.Kind != offsets.Data {
			continue
		}
		v, err := inputValue(r)
		if err != nil {
			return nil, err
		}
		one(r.Key, v, r.Time, -1)
	}
	return out, nil
}

// inFlight is what lies unread in the partition of a task. With a cut, that is what was sent before it; 0 stands for now.
func (t Tally) inFlight(f Facts, at map[Partition]Position, who offsets.Task, cut uint64) (out []Record) {
	if who.Sub == 0 {
		return nil
	}
	between := Partition{t.input(1), who.Partition}
	for _, r := range f.Logs[between].committed() {
		if r.Offset >= at[between].Offset && r.Stamp != nil && (cut == 0 || r.Stamp.Cut < cut) {
			out = append(out, r)
		}
	}
	return out
}

func inputValue(r Record) (int64, error) {
	if len(r.Value) != 8 {
		return 0, fmt.Errorf("input %q has a value of %d bytes", r.Key, len(r.Value))
	}
	return int64(binary.BigEndian.Uint64(r.Value)), nil
}

// add counts n records into the pair of a row.
func add(rows Rows, key []byte, n int64, value func(int64) int64) {
	p, _ := pairCodec{}.Decode(slices.Concat(rows[string(key)], make([]byte, 16-len(rows[string(key)]))))
	p = Pair{p.N + n, value(p.Value)}
	v, _ := pairCodec{}.Append(nil, p)
	if p == (Pair{}) {
		v = nil
	}
	rows.set(key, v)
}

func count(rows Rows, key []byte, n int64) {
	if old := rows[string(key)]; old != nil {
		n += int64(binary.BigEndian.Uint64(old))
	}
	var v []byte
	if n != 0 {
		v = binary.BigEndian.AppendUint64(nil, uint64(n))
	}
	rows.set(key, v)
}

// rowTime is the time in the row that keeps a task's watermarks.
func rowTime(row []byte) (int64, bool) {
	if len(row) < 9 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(row[1:])), true
}

var clockRow = string([]byte{0, 'w'})
