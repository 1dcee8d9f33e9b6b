package tally

import (
	"bytes"
	"maps"
	"slices"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
)

// Facts are what an application has left behind, as plain values: Collect gathers them, Audit judges them.
type Facts struct {
	Open        []string               // transactional ids of the application with a transaction in progress
	Positions   map[Partition]Position // of every input
	History     map[Partition][]Position
	Logs        map[Partition]Log // of every topic that the application reads or writes
	Disks       []Disk            // what is in the workers' state directories
	TopicIDs    map[string][16]byte
	Checkpoints []Checkpoint // that are complete
	// Clean says of a task that its last owner has closed it as it stopped cleanly, so that all of its rows are on that disk.
	// Of one that the group had just taken away they need not be. nil: of none.
	Clean func(offsets.Task) bool
}

// Every is for Clean where all stopped cleanly and no task was on its way between two lanes.
func Every(offsets.Task) bool { return true }

// Partition of a topic.
type Partition struct {
	Topic  string
	Number int32
}

// Position is what the group remembers of an input. Metadata is as it was found.
type Position struct {
	Offset   int64
	Metadata string
}

// Log is a partition as its leader has it.
type Log struct {
	Start, Stable, End int64
	Records            []Record       // all of them: aborted ones and control records too
	Shown              map[int64]bool // offsets that a read_committed reader gets to see; control records left out
}

// Record is one of a log.
type Record struct {
	Offset  int64
	Writer  Writer
	Part    bool   // of a transaction
	Control string // "": data, else "commit" or "abort"
	Key     []byte
	Value   []byte
	Time    int64
	Stamp   *offsets.Stamp // of a repartition record
}

// Writer is a producer id and epoch. With transaction.version 2 each transaction has one of its own, so it names the
// transaction.
type Writer struct {
	ID    int64
	Epoch int16
}

// Disk is a store that was found in a state directory.
type Disk struct {
	Dir    string
	Store  changelog.StoreID
	Marker changelog.Marker
	Rows   Rows
}

// Rows are a store's rows by key; keys and values as in the changelog.
type Rows map[string][]byte

func (r Rows) set(key, value []byte) {
	if value == nil {
		delete(r, string(key))
		return
	}
	r[string(key)] = value
}

func (r Rows) keys() []string { return slices.Sorted(maps.Keys(r)) }

// differs describes the first key, in order, at which the two are not the same byte for byte.
func (r Rows) differs(other Rows) (key string, mine, its []byte, yes bool) {
	all := slices.Sorted(maps.Keys(r))
	for k := range other {
		if _, ok := r[k]; !ok {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	for _, k := range all {
		a, ok := r[k]
		b, ok2 := other[k]
		if ok != ok2 || !bytes.Equal(a, b) {
			return k, a, b, true
		}
	}
	return "", nil, nil, false
}

// users are the rows that belong to keys, not to the task.
func (r Rows) users() Rows {
	out := Rows{}
	for k, v := range r {
		if k != "" && k[0] != 0 {
			out[k] = v
		}
	}
	return out
}

// fate of a record: what the next marker of its producer in the same partition says. Records outside of transactions
// are committed.
func (l Log) fates() []string {
	out := make([]string, len(l.Records))
	open := map[int64][]int{} // by producer id
	for i, r := range l.Records {
		switch {
		case r.Control != "":
			for _, j := range open[r.Writer.ID] {
				out[j] = r.Control
			}
			delete(open, r.Writer.ID)
			out[i] = r.Control
		case r.Part:
			open[r.Writer.ID] = append(open[r.Writer.ID], i)
		default:
			out[i] = "commit"
		}
	}
	return out // "" is undecided
}

// committed are the data records that count, in order.
func (l Log) committed() []Record {
	var out []Record
	for i, fate := range l.fates() {
		if fate == "commit" && l.Records[i].Control == "" {
			out = append(out, l.Records[i])
		}
	}
	return out
}

// fold is what the committed records from <= offset < to make of rows.
func (l Log) fold(rows Rows, from, to int64) Rows {
	out := maps.Clone(rows)
	for _, r := range l.committed() {
		if r.Offset >= from && r.Offset < to {
			out.set(r.Key, r.Value)
		}
	}
	return out
}
