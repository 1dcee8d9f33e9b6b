package topology

import (
	"fmt"
	"strings"
)

// Difference is one incompatible difference between two plans.
type Difference struct {
	UID      string // of the store or internal topic; the topic of a source; "" for the application
	What     string // "value codec", "sub-topology", ...
	Old, New string // "" if it is not there
	Fix      string
}

// String gives "records of hop: key string, value json, partitions 0 became ...; <fix>".
func (d Difference) String() string {
	of := d.What
	if d.UID != "" {
		of += " of " + d.UID
	}
	switch {
	case d.Old == "":
		return fmt.Sprintf("%s is new (%s); %s", of, d.New, d.Fix)
	case d.New == "":
		return fmt.Sprintf("%s is gone (%s); %s", of, d.Old, d.Fix)
	}
	return fmt.Sprintf("%s was %q, is %q; %s", of, d.Old, d.New, d.Fix)
}

const (
	fixRename = "give it a new uid and start from a rewind or as a new application, or put the old one back"
	fixBack   = "put it back, or start as a new application"
)

// Diff compares the plan with an older one, in a stable order. It is empty if and only if
// the fingerprints are equal: then both may run in one group.
func (p *Plan) Diff(old Description) []Difference {
	is, was := p.Describe(), old
	var ds []Difference
	if is.Application != was.Application {
		ds = append(ds, Difference{What: "application", Old: was.Application, New: is.Application, Fix: "use the old name"})
	}
	a, b := facts(&was), facts(&is)
	for _, f := range a.list {
		g, ok := b.byID[f.id]
		if !ok {
			ds = append(ds, Difference{UID: f.uid, What: f.what, Old: f.text, Fix: fixBack})
			continue
		}
		if f.text != g.text {
			ds = append(ds, Difference{UID: f.uid, What: f.what, Old: f.text, New: g.text, Fix: f.fix})
		}
	}
	for _, g := range b.list {
		if _, ok := a.byID[g.id]; !ok {
			ds = append(ds, Difference{UID: g.uid, What: g.what, New: g.text, Fix: "leave it out, or start as a new application: positions and stores are laid out at the first start"})
		}
	}
	return ds
}

// fact is a thing that must be the same in both plans, found by id.
type fact struct{ id, uid, what, text, fix string }

type factList struct {
	list []fact
	byID map[string]fact
}

func (l *factList) add(uid, what, text, fix string) {
	f := fact{id: what + " " + uid, uid: uid, what: what, text: text, fix: fix}
	l.list = append(l.list, f)
	l.byID[f.id] = f
}

// facts restates the description's shape by uid. Where a thing is counts too: the number
// of its sub-topology is part of the name of its tasks, its place among the inputs and
// stores that of its positions.
func facts(d *Description) factList {
	l := factList{byID: map[string]fact{}}
	ends := map[string]int{} // writing ends of each uid
	for i, sub := range d.Subs {
		for j, in := range sub.Inputs {
			what := "source"
			switch {
			case in.Loop:
				what = "loop"
			case in.Internal:
				what = "reading end"
			}
			l.add(in.Topic, what, place(i, "input", j), "keep the order of From, KeyBy, Repartition and NewLoop in the program; add new ones at its end, in a new application")
		}
		for j, s := range sub.Stores {
			l.add(s.UID, "store", place(i, "store", j), "keep the order of stores in the program")
			text := strings.TrimSpace(fmt.Sprintf("%s, key %s, value %s", s.Kind, s.KeyCodec, s.ValueCodec))
			if s.WindowMS != 0 {
				text += fmt.Sprintf(", windows of %d ms", s.WindowMS)
			}
			l.add(s.UID, "rows", text, fixRename)
		}
		k := 0
		for _, o := range sub.Outputs {
			if !o.Internal {
				continue
			}
			what := "writing end"
			if ends[o.Topic]++; ends[o.Topic] > 1 { // of a loop
				what = fmt.Sprintf("writing end %d", ends[o.Topic])
			}
			l.add(o.Topic, what, place(i, "repartition", k), "keep the order of KeyBy, Repartition and ToLoop in the program")
			if ends[o.Topic] == 1 {
				l.add(o.Topic, "records", fmt.Sprintf("key %s, value %s, partitions %d", o.KeyCodec, o.ValueCodec, o.Partitions), fixRename)
			}
			k++
		}
	}
	l.add("", "number of sub-topologies", fmt.Sprint(len(d.Subs)), fixBack)
	return l
}

func place(sub int, what string, i int) string {
	return fmt.Sprintf("sub-topology %d, %s %d", sub, what, i)
}
