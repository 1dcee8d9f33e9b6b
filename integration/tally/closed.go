package tally

import (
	"strings"

	"github.com/weir-stream/weir/offsets"
)

// FailedClosed judges a run that met damage to what belongs to a task, from the facts before and after it and the error
// that the worker reported for it.
//
//	I12  the task stopped before it produced anything: in no log is a new record of it, not even an aborted one, its
//	     position is where it was, and the worker said why
func (t Tally) FailedClosed(before, after Facts, who offsets.Task, reported error) *Report {
	r := &Report{}
	if reported == nil {
		r.add("I12 task %s: the damage was not reported", who)
	}
	in := Partition{t.input(who.Sub), who.Partition}
	if was, is := before.Positions[in], after.Positions[in]; was != is {
		r.add("I12 task %s: its position went from %d to %d", who, was.Offset, is.Offset)
	}
	for _, tp := range partitions(after.Logs) {
		from := before.Logs[tp].End
		if before.TopicIDs[tp.Topic] != after.TopicIDs[tp.Topic] {
			from = 0 // made anew
		}
		for _, rec := range after.Logs[tp].Records {
			if rec.Offset >= from && rec.Control == "" && t.writes(who, tp, rec) {
				r.add("I12 task %s was to stop, but wrote %s/%d@%d", who, tp.Topic, tp.Number, rec.Offset)
				break
			}
		}
	}
	return r
}

// writes says whether a record is one of a task. Outputs and changelogs have the partition of their task, because all
// topics of the tally have equally many and the keys stay. Only the last records of the input are not where their keys
// belong, so what they lead to is anybody's.
func (t Tally) writes(who offsets.Task, tp Partition, rec Record) bool {
	if tp.Topic == t.Seen() && strings.HasPrefix(string(rec.Key), "last-") {
		return false
	}
	if tp.Topic == t.input(1) {
		return rec.Stamp != nil && rec.Stamp.Task == who
	}
	out := [][]string{{t.Seen()}, {t.GroupsT(), t.Windows()}}[who.Sub]
	for _, uid := range stores[who.Sub] {
		out = append(out, t.names().Changelog(uid))
	}
	for _, topic := range out {
		if tp == (Partition{topic, who.Partition}) {
			return true
		}
	}
	return false
}
