package tally

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// past makes the facts of a run in which nothing went wrong: a sequential application, written down for this alone, with
// epochs of a few records, one of them aborted and tried again.
type past struct {
	Tally
	f      Facts
	writer Writer
	wrote  []Partition // in the open transaction
	rows   map[Partition]Rows
	epoch  map[offsets.Task]offsets.EpochID
}

func (p *past) write(topic string, n int32, r Record) {
	tp := Partition{topic, n}
	l := p.f.Logs[tp]
	r.Offset, r.Writer, r.Part = l.End, p.writer, p.writer.ID != 0
	l.Records, l.End, l.Stable = append(l.Records, r), l.End+1, l.End+1
	p.f.Logs[tp] = l
	if r.Part && !slices.Contains(p.wrote, tp) {
		p.wrote = append(p.wrote, tp)
	}
}

// end decides the open transaction everywhere.
func (p *past) end(fate string) {
	for _, tp := range p.wrote {
		p.write(tp.Topic, tp.Number, Record{Control: fate})
	}
	p.wrote = nil
	p.writer.Epoch++
}

// epochOf processes some records of a task in one transaction: step is called for each.
func (p *past) epochOf(who offsets.Task, most int, fate string, time int64, step func(Record)) (n int) {
	tp := Partition{p.input(who.Sub), who.Partition}
	at := p.f.Positions[tp].Offset
	before := map[string]Rows{}
	for _, uid := range stores[who.Sub] {
		before[uid] = maps.Clone(p.store(uid, who))
	}
	for _, r := range p.f.Logs[tp].committed() {
		if r.Offset >= at && n < most {
			step(r)
			at, n = r.Offset+1, n+1
		}
	}
	m := offsets.Metadata{Timeline: 1, Prev: p.epoch[who], Time: time}
	m.Epoch = offsets.EpochID{Counter: m.Prev.Counter + 1, ProducerID: p.writer.ID, ProducerEpoch: p.writer.Epoch}
	for _, uid := range stores[who.Sub] {
		if uid == "groups" {
			p.store(uid, who)[clockRow] = binary.BigEndian.AppendUint64([]byte{1}, uint64(time))
		}
		now := p.store(uid, who)
		for k := range before[uid] {
			if _, ok := now[k]; !ok {
				p.write(p.names().Changelog(uid), who.Partition, Record{Key: []byte(k)})
			}
		}
		for _, k := range slices.Sorted(maps.Keys(now)) {
			if string(before[uid][k]) != string(now[k]) {
				p.write(p.names().Changelog(uid), who.Partition, Record{Key: []byte(k), Value: now[k]})
			}
		}
		m.Ends = append(m.Ends, p.f.Logs[Partition{p.names().Changelog(uid), who.Partition}].End)
		if fate == "abort" {
			p.rows[Partition{uid, who.Partition}] = before[uid]
		}
	}
	if fate == "commit" {
		p.epoch[who] = m.Epoch
		text, _ := m.Encode()
		p.f.Positions[tp] = Position{at, text}
		p.f.History[tp] = append(p.f.History[tp], p.f.Positions[tp])
	}
	p.end(fate)
	return n
}

func (p *past) store(uid string, who offsets.Task) Rows {
	tp := Partition{uid, who.Partition}
	if p.rows[tp] == nil {
		p.rows[tp] = Rows{}
	}
	return p.rows[tp]
}

// sources is a step of sub-topology 0, sinks of 1.
func (p *past) sources(who offsets.Task) func(Record) {
	return func(r Record) {
		row := task.AppendKeyedRow(nil, r.Key)
		v := int64(binary.BigEndian.Uint64(r.Value))
		add(p.store("seen", who), row, 1, func(int64) int64 { return v })
		p.write(p.Seen(), who.Partition, Record{Key: r.Key, Value: p.store("seen", who)[string(row)]})
		group := []byte(p.group(string(r.Key)))
		p.write(p.input(1), offsets.Partition(group, p.Partitions), Record{Key: group, Value: r.Value, Time: r.Time,
			Stamp: &offsets.Stamp{Timeline: 1, Task: who, Watermark: r.Time}})
	}
}

func (p *past) sinks(who offsets.Task, now int64) func(Record) {
	return func(r Record) {
		maps.DeleteFunc(p.store("windows", who), func(k string, _ []byte) bool {
			start, _, _ := task.ParseWindowRow([]byte(k))
			return start+WindowSize.Milliseconds() <= now
		})
		row := task.AppendKeyedRow(nil, r.Key)
		v := int64(binary.BigEndian.Uint64(r.Value))
		add(p.store("groups", who), row, 1, func(sum int64) int64 { return sum + v })
		p.write(p.GroupsT(), who.Partition, Record{Key: r.Key, Value: p.store("groups", who)[string(row)]})
		start := r.Time - r.Time%WindowSize.Milliseconds()
		if start+WindowSize.Milliseconds() > now {
			count(p.store("windows", who), task.AppendWindowRow(nil, start, r.Key), 1)
		}
	}
}

// keep notes what a disk has of a task.
func (p *past) keep(dir string, who offsets.Task) {
	m, _ := offsets.DecodeMetadata(p.f.Positions[Partition{p.input(who.Sub), who.Partition}].Metadata)
	for i, uid := range stores[who.Sub] {
		p.f.Disks = append(p.f.Disks, Disk{
			Dir:    dir,
			Store:  changelog.StoreID{Timeline: 1, UID: uid, Task: who, TopicID: p.f.TopicIDs[p.names().Changelog(uid)]},
			Marker: changelog.Marker{Timeline: 1, TopicID: p.f.TopicIDs[p.names().Changelog(uid)], Epoch: m.Epoch, End: m.Ends[i], Reach: m.Ends[i]},
			Rows:   maps.Clone(p.store(uid, who)),
		})
	}
}

// facts of n input records, of which the last few per partition of the repartition topic are not read yet. Worker "old"
// had everything for a while, worker "new" has stopped with it.
func (t Tally) facts(n int) Facts {
	p := &past{Tally: t, rows: map[Partition]Rows{}, epoch: map[offsets.Task]offsets.EpochID{}, f: Facts{
		Positions: map[Partition]Position{}, History: map[Partition][]Position{}, Logs: map[Partition]Log{}, TopicIDs: map[string][16]byte{}, Clean: Every,
	}}
	for i, topic := range t.topics() {
		p.f.TopicIDs[topic] = [16]byte{byte(i + 1)}
	}
	for i := range n {
		key := []byte(t.key(i))
		p.write(t.In(), offsets.Partition(key, t.Partitions), Record{Key: key, Value: binary.BigEndian.AppendUint64(nil, uint64(i/t.Keys+1)),
			Time: Base.Add(time.Duration(i) * time.Millisecond).UnixMilli()})
	}
	p.writer.ID = 1000
	for _, who := range t.tasks() {
		now := Base.UnixMilli() // windows of the first second are open, then closed
		step, left := p.sources(who), 0
		if who.Sub == 1 {
			step, left = p.sinks(who, now), 5
		}
		for round := 0; ; round++ {
			tp := Partition{t.input(who.Sub), who.Partition}
			unread := 0
			for _, r := range p.f.Logs[tp].committed() {
				if r.Offset >= p.f.Positions[tp].Offset {
					unread++
				}
			}
			if unread <= left {
				break
			}
			if round == 2 {
				p.epochOf(who, 10, "abort", now, step)
			}
			if round == 3 {
				p.keep("old", who)
			}
			if who.Sub == 1 && unread-left <= 20 {
				now = Base.Add(time.Second).UnixMilli()
				step = p.sinks(who, now)
			}
			p.epochOf(who, min(20, unread-left), "commit", now, step)
		}
		p.keep("new", who)
	}
	for tp, l := range p.f.Logs {
		l.Shown = map[int64]bool{}
		for _, r := range l.committed() {
			l.Shown[r.Offset] = true
		}
		p.f.Logs[tp] = l
	}
	if len(p.f.Disks) == 0 {
		panic(fmt.Sprintf("%d records are too few", n))
	}
	return p.f
}
