package processor

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weir-stream/weir/topology/task"
)

// A store or repartition may have another uid in the plan than in the manifest. The plan of the
// manifest is read with the new ones; where something of the manifest or of its topics is named,
// was gives the old one.

// is gives a uid of the manifest as the plan has it.
func (o *origin) is(was string) string {
	if is, ok := o.renamed[was]; ok {
		return is
	}
	return was
}

// was is the other way round.
func (o *origin) was(is string) string {
	for was, to := range o.renamed {
		if to == is {
			return was
		}
	}
	return is
}

// rename reads the plan of the manifest with the new uids.
func (o *origin) rename() {
	o.had = map[string]bool{}
	for i := range o.plan.Subs {
		sub := &o.plan.Subs[i]
		for j := range sub.Stores {
			o.had[sub.Stores[j].UID] = true
			sub.Stores[j].UID = o.is(sub.Stores[j].UID)
		}
		for j := range sub.Inputs {
			if sub.Inputs[j].Internal {
				sub.Inputs[j].Topic = o.is(sub.Inputs[j].Topic)
			}
		}
		for j := range sub.Outputs {
			if sub.Outputs[j].Internal {
				o.had[sub.Outputs[j].Topic] = true
				sub.Outputs[j].Topic = o.is(sub.Outputs[j].Topic)
			}
		}
	}
}

// rowIs gives a watermark row the new uids. Time that has ended begins anew.
func (o *origin) rowIs(row task.TimeRow) task.TimeRow {
	for i := range row.Inputs {
		in := &row.Inputs[i]
		if in.Internal {
			in.Topic = o.is(in.Topic)
		}
	}
	return row.Reborn()
}

// verifyRenames looks at uids alone; whether rows fit is seen where stores are compared.
func (o *origin) verifyRenames(no func(fix, format string, args ...any)) {
	const fix = "check the spelling: old=new, uids of stores and repartitions"
	has := map[string]bool{}
	for i := range o.a.graph.Subs {
		for _, s := range o.a.graph.Subs[i].Stores {
			has[s.UID] = true
		}
		for _, in := range o.a.graph.Subs[i].Inputs {
			if in.Internal {
				has[in.Topic] = true
			}
		}
	}
	from := map[string]string{}
	for _, was := range slices.Sorted(maps.Keys(o.renamed)) {
		is := o.renamed[was]
		other, twice := from[is]
		from[is] = was
		switch {
		case !o.had[was]:
			no(fix, "%s is renamed to %s, and there is nothing of that name", was, is)
		case !has[is]:
			no(fix, "%s is renamed to %s, which is not in the plan", was, is)
		case twice:
			no(fix, "%s and %s are both renamed to %s", other, was, is)
		case o.had[is] && o.renamed[is] == "":
			no("rename that one, too", "%s is renamed to %s, and there is something of that name already", was, is)
		}
	}
}

// renames lists what was given another uid.
func (o *origin) renames() (out []string) {
	for _, was := range slices.Sorted(maps.Keys(o.renamed)) {
		out = append(out, fmt.Sprintf("%s=%s", was, o.renamed[was]))
	}
	return out
}
