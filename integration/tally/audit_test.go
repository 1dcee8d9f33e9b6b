package tally

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

var audited = Tally{App: "t", Keys: 10, Groups: 4, Partitions: 2}

// copied facts may be changed: what plants change in place is copied deeply, see relog for logs.
func copied(f Facts) Facts {
	f.Positions, f.History, f.Logs, f.TopicIDs = maps.Clone(f.Positions), maps.Clone(f.History), maps.Clone(f.Logs), maps.Clone(f.TopicIDs)
	f.Disks = slices.Clone(f.Disks)
	for i := range f.Disks {
		f.Disks[i].Rows = maps.Clone(f.Disks[i].Rows)
	}
	return f
}

// edit changes the metadata of a position.
func edit(f *Facts, tp Partition, change func(*offsets.Metadata)) {
	p := f.Positions[tp]
	m, err := offsets.DecodeMetadata(p.Metadata)
	if err != nil {
		panic(err)
	}
	change(&m)
	p.Metadata, _ = m.Encode()
	f.Positions[tp] = p
}

// relog changes a log.
func relog(f *Facts, topic string, n int32, change func(*Log)) {
	l := f.Logs[Partition{topic, n}]
	l.Records, l.Shown = slices.Clone(l.Records), maps.Clone(l.Shown)
	change(&l)
	f.Logs[Partition{topic, n}] = l
}

// marker flips the fate that a marker gives, and what readers see with it.
func marker(l *Log, last bool) {
	at := slices.IndexFunc(l.Records, func(r Record) bool { return r.Control == "commit" })
	if last {
		at = len(l.Records) - 1
	}
	l.Records[at].Control = "abort"
	for i := at - 1; i >= 0 && l.Records[i].Control == ""; i-- {
		delete(l.Shown, l.Records[i].Offset)
	}
}

// disk is the store of a directory.
func disk(f *Facts, dir, uid string, n int32) *Disk {
	i := slices.IndexFunc(f.Disks, func(d Disk) bool { return d.Dir == dir && d.Store.UID == uid && d.Store.Task.Partition == n })
	return &f.Disks[i]
}

func anyKey(r Rows) string { return slices.Sorted(maps.Keys(r.users()))[0] }

// A task that was on its way between two lanes when all stopped need not be on a disk. Once the audit asked for it.
func TestAuditOfATaskOnItsWay(t *testing.T) {
	f := copied(audited.facts(1100))
	f.Disks = slices.DeleteFunc(f.Disks, func(d Disk) bool { return d.Dir == "new" && d.Store.Task == (offsets.Task{Sub: 1}) })
	if err := audited.Audit(f).Err(); err == nil || !strings.Contains(err.Error(), "I4 store groups of task 1-0: its last owner stopped cleanly") {
		t.Errorf("closed by the stop: %v", err)
	}
	f.Clean = func(who offsets.Task) bool { return who != offsets.Task{Sub: 1} }
	if err := audited.Audit(f).Err(); err != nil {
		t.Errorf("taken away before: %v", err)
	}
}

// The auditor is audited: right facts pass, and each planted mistake is reported under its invariant.
func TestAuditFindsPlantedMistakes(t *testing.T) {
	const n = 1100
	ta := audited
	right := ta.facts(n)
	if err := ta.Audit(right).Err(); err != nil {
		t.Fatalf("right facts are reported: %v", err)
	}
	names := ta.names()
	seen, groups, windows, between := names.Changelog("seen"), names.Changelog("groups"), names.Changelog("windows"), ta.input(1)
	for name, c := range map[string]struct {
		want  string
		plant func(*Facts)
	}{
		"a row lost from the changelog": {"I4", func(f *Facts) {
			relog(f, seen, 0, func(l *Log) { l.Records[0].Key = []byte("\x01nobody") })
		}},
		"a key dropped on restore": {"I4", func(f *Facts) { delete(disk(f, "new", "seen", 1).Rows, anyKey(disk(f, "new", "seen", 1).Rows)) }},
		"a byte of a row flipped": {"I4", func(f *Facts) {
			rows := disk(f, "new", "groups", 0).Rows
			v := slices.Clone(rows[anyKey(rows)])
			v[15] ^= 4
			rows[anyKey(rows)] = v
		}},
		"a row that was deleted is back": {"I4", func(f *Facts) {
			rows := disk(f, "new", "windows", 1).Rows
			rows["\x01old window"] = []byte("12345678")
		}},
		"an older base under a newer marker": {"I4", func(f *Facts) {
			disk(f, "new", "groups", 1).Rows = maps.Clone(disk(f, "old", "groups", 1).Rows)
		}},
		"an older base damaged":  {"I4 old", func(f *Facts) { disk(f, "old", "windows", 0).Rows["\x01key"] = []byte("1") }},
		"rows that nobody wrote": {"I4", func(f *Facts) { f.Disks = slices.DeleteFunc(f.Disks, func(d Disk) bool { return d.Dir == "new" }) }},
		"a record applied twice, state and changelog agreeing": {"I4", func(f *Facts) {
			key := anyKey(disk(f, "new", "groups", 0).Rows)
			rows := disk(f, "new", "groups", 0).Rows
			v := slices.Clone(rows[key])
			v[7]++
			rows[key] = v
			relog(f, groups, 0, func(l *Log) {
				for i := range l.Records {
					if string(l.Records[i].Key) == key {
						l.Records[i].Value = v
					}
				}
			})
		}},
		"a position that moved alone": {"I4", func(f *Facts) {
			tp := Partition{ta.In(), 0}
			f.History = nil
			f.Positions[tp] = Position{f.Positions[tp].Offset - 1, f.Positions[tp].Metadata}
		}},
		"a record lost on its way between two tasks": {"I4", func(f *Facts) {
			relog(f, between, 0, func(l *Log) {
				at := slices.IndexFunc(l.Records, func(r Record) bool { return r.Offset >= f.Positions[Partition{between, 0}].Offset && r.Control == "" })
				l.Records[at].Stamp = nil
			})
		}},
		"a time that the rows do not know": {"I4", func(f *Facts) { edit(f, Partition{between, 1}, func(m *offsets.Metadata) { m.Time++ }) }},
		"an input that is none": {"I4 has a value of 3 bytes", func(f *Facts) {
			relog(f, ta.In(), 1, func(l *Log) { l.Records[4].Value = []byte("abc") })
		}},
		"a changelog cut off": {"I4 ends at 9", func(f *Facts) {
			relog(f, seen, 0, func(l *Log) { l.Records, l.End, l.Stable = l.Records[:9], 9, 9 })
		}},

		"a transaction left open": {"I6", func(f *Facts) { f.Open = []string{"t.1.a.0"} }},
		"readers held up":         {"I6", func(f *Facts) { relog(f, ta.Seen(), 0, func(l *Log) { l.Stable-- }) }},
		"a marker missing":        {"I6", func(f *Facts) { relog(f, ta.Seen(), 0, func(l *Log) { l.Records = l.Records[:len(l.Records)-1] }) }},
		"committed here, aborted there": {"I6 transaction", func(f *Facts) {
			relog(f, ta.GroupsT(), 1, func(l *Log) { marker(l, false) })
		}},
		"an aborted record shown": {"I6", func(f *Facts) {
			relog(f, ta.Seen(), 0, func(l *Log) {
				at := slices.IndexFunc(l.Records, func(r Record) bool { return r.Control == "abort" })
				l.Shown[l.Records[at-1].Offset] = true
			})
		}},
		"a committed record hidden": {"I6", func(f *Facts) {
			relog(f, ta.Windows(), 0, func(l *Log) { l.Records, l.End, l.Stable = []Record{{Writer: Writer{7, 1}}}, 1, 1 })
		}},
		"the last epoch's outputs aborted": {"I6", func(f *Facts) {
			for tp := range f.Logs {
				last := f.Logs[tp].Records
				if w := f.Positions[Partition{between, 1}]; len(last) > 0 && last[len(last)-1].Writer == writerOfMetadata(w.Metadata) {
					relog(f, tp.Topic, tp.Number, func(l *Log) { marker(l, true) })
				}
			}
		}},
		"a position of an epoch that never was": {"I6", func(f *Facts) {
			edit(f, Partition{ta.In(), 1}, func(m *offsets.Metadata) { m.Epoch.ProducerEpoch = 30_000 })
			f.History = nil
		}},
		"a changelog ahead of the position": {"I6", func(f *Facts) {
			edit(f, Partition{between, 0}, func(m *offsets.Metadata) { m.Ends[0] -= 2 })
		}},
		"a zombie's changelog records": {"I6", func(f *Facts) {
			relog(f, windows, 0, func(l *Log) { l.Records[0].Writer, l.Records[0].Part = Writer{9999, 1}, false })
		}},

		"no position":       {"I7 no position of", func(f *Facts) { delete(f.Positions, Partition{between, 0}) }},
		"metadata damaged":  {"I7 decode offset metadata", func(f *Facts) { f.Positions[Partition{between, 0}] = Position{1, "AQEH"} }},
		"another timeline":  {"I7 position of timeline 2", func(f *Facts) { edit(f, Partition{between, 0}, func(m *offsets.Metadata) { m.Timeline = 2 }) }},
		"a store too few":   {"I7 changelog ends, want", func(f *Facts) { edit(f, Partition{between, 0}, func(m *offsets.Metadata) { m.Ends = m.Ends[:1] }) }},
		"beyond the log":    {"I7 outside the log", func(f *Facts) { relog(f, between, 0, func(l *Log) { l.End, l.Stable = 3, 3 }) }},
		"a disk too far":    {"I7 reaches to", func(f *Facts) { disk(f, "old", "groups", 0).Marker.Reach = math.MaxInt64 }},
		"a foreign marker":  {"I7 the marker of", func(f *Facts) { disk(f, "new", "groups", 0).Marker.TopicID[3]++ }},
		"a store of nobody": {"I7 belongs to no task", func(f *Facts) { disk(f, "new", "groups", 0).Store.UID = "else" }},
		"one epoch, two ends": {"I7 the position at", func(f *Facts) {
			disk(f, "new", "groups", 0).Marker.End--
		}},
		"a disk of a later epoch": {"I7 is at epoch", func(f *Facts) { disk(f, "old", "seen", 0).Marker.Epoch.Counter += 50 }},
		"a commit that cannot be read": {"I7 commit 1", func(f *Facts) {
			tp := Partition{ta.In(), 0}
			f.History[tp] = slices.Clone(f.History[tp])
			f.History[tp][1].Metadata = "AQEH"
		}},
		"a changelog end that went back": {"I7 changelog end goes back", func(f *Facts) {
			tp := Partition{ta.In(), 0}
			f.History[tp] = slices.Clone(f.History[tp])
			m, _ := offsets.DecodeMetadata(f.History[tp][2].Metadata)
			m.Ends[0] = 1
			f.History[tp][2].Metadata, _ = m.Encode()
		}},
		"an epoch lost": {"I7", func(f *Facts) {
			tp := Partition{ta.In(), 0}
			f.History[tp] = slices.Delete(slices.Clone(f.History[tp]), 1, 2)
		}},
		"two owners": {"I7", func(f *Facts) {
			tp := Partition{between, 1}
			f.History[tp] = slices.Insert(slices.Clone(f.History[tp]), 2, f.History[tp][0])
		}},
		"a position that went back": {"I7", func(f *Facts) {
			tp := Partition{ta.In(), 1}
			f.History[tp] = slices.Clone(f.History[tp])
			f.History[tp][1].Offset = 0
		}},
		"a last commit that is not the position": {"I7", func(f *Facts) {
			tp := Partition{ta.In(), 1}
			f.History[tp] = f.History[tp][:len(f.History[tp])-1] // a shorter view, no change in place
		}},
	} {
		f := copied(right)
		c.plant(&f)
		r := ta.Audit(f)
		number, text, _ := strings.Cut(c.want, " ")
		if !slices.ContainsFunc(r.Violations, func(v string) bool { return strings.HasPrefix(v, number+" ") && strings.Contains(v, text) }) {
			t.Errorf("%s: reported as %v, want %s", name, r.Err(), c.want)
		}
	}
}

func writerOfMetadata(text string) Writer {
	m, err := offsets.DecodeMetadata(text)
	if err != nil {
		panic(err)
	}
	return writerOf(m.Epoch)
}

// The auditor's idea of the topology is that of the plan.
func TestAuditKnowsThePlan(t *testing.T) {
	plan, err := audited.Plan()
	if err != nil {
		t.Fatal(err)
	}
	subs := plan.Graph().Subs
	if len(subs) != len(stores) {
		t.Fatalf("%d sub-topologies, want %d", len(subs), len(stores))
	}
	for i, sub := range subs {
		var uids []string
		for _, s := range sub.Stores {
			uids = append(uids, s.UID)
		}
		topic := sub.Inputs[0].Topic
		if sub.Inputs[0].Internal {
			topic = audited.names().Repartition(topic)
		}
		if !slices.Equal(uids, stores[i]) || len(sub.Inputs) != 1 || topic != audited.input(int32(i)) {
			t.Errorf("sub-topology %d reads %s (%d inputs) and keeps %v; the auditor thinks %s and %v", i, topic, len(sub.Inputs), uids, audited.input(int32(i)), stores[i])
		}
	}
}

func TestFailedClosedFindsPlantedMistakes(t *testing.T) {
	const n = 400
	ta, why := audited, errors.New("damaged")
	right := ta.facts(n)
	seen, between := ta.names().Changelog("seen"), ta.input(1)
	grown := func(topic string, rec Record) func(*Facts) {
		return func(f *Facts) {
			relog(f, topic, 1, func(l *Log) {
				rec.Offset, rec.Part = l.End, true
				l.Records, l.End = append(l.Records, rec), l.End+1
			})
		}
	}
	first, second := offsets.Task{Sub: 0, Partition: 1}, offsets.Task{Sub: 1, Partition: 1}
	for name, c := range map[string]struct {
		who      offsets.Task
		reported error
		want     string
		plant    func(*Facts)
	}{
		"it stopped":                   {first, why, "", func(*Facts) {}},
		"another task went on":         {first, why, "", grown(ta.GroupsT(), Record{})},
		"damage written by the test":   {first, why, "", grown(between, Record{})},
		"marker of an older epoch":     {first, why, "", grown(ta.Seen(), Record{Control: "abort"})},
		"nothing was said":             {first, nil, "not reported", func(*Facts) {}},
		"an output":                    {first, why, "t-seen/1", grown(ta.Seen(), Record{})},
		"a changelog record":           {first, why, seen + "/1", grown(seen, Record{})},
		"a record for another task":    {first, why, between + "/1", grown(between, Record{Stamp: &offsets.Stamp{Task: first}})},
		"a group, aborted afterwards":  {second, why, "t-groups/1", grown(ta.GroupsT(), Record{})},
		"a changelog made anew":        {first, why, seen + "/1", func(f *Facts) { f.TopicIDs[seen] = [16]byte{99} }},
		"a position that moved on":     {second, why, "position", func(f *Facts) { edit(f, Partition{between, 1}, func(m *offsets.Metadata) { m.Wall++ }) }},
		"a position taken back to 0":   {first, why, "position", func(f *Facts) { f.Positions[Partition{ta.In(), 1}] = Position{} }},
		"a position that disappeared":  {first, why, "position", func(f *Facts) { delete(f.Positions, Partition{ta.In(), 1}) }},
		"a position committed as read": {second, why, "position", func(f *Facts) { f.Positions[Partition{between, 1}] = Position{Offset: 1000} }},
	} {
		before, after := right, copied(right)
		c.plant(&after)
		r := ta.FailedClosed(before, after, c.who, c.reported)
		if c.want == "" && r.Err() != nil {
			t.Errorf("%s: %v", name, r.Err())
		}
		if c.want != "" && !slices.ContainsFunc(r.Violations, func(v string) bool { return strings.HasPrefix(v, "I12 ") && strings.Contains(v, c.want) }) {
			t.Errorf("%s: reported as %v, want I12 and %s", name, r.Err(), c.want)
		}
	}
}
