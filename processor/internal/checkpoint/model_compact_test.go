package checkpoint

import (
	"fmt"
	"math/rand/v2"
)

// compaction is what the log cleaner has done to the control log. It removes records that a later one with their
// key replaces: a pass that knows the keys up to an end goes over the log from the front, and may die anywhere.
// Whoever reads meanwhile may have read the one and miss the other.
type compaction struct {
	gone map[int]bool // by place in the log
}

// keyOf is what a record is compacted by.
func keyOf(r Record) string {
	switch r := r.(type) {
	case Requested:
		return "request." + r.Request
	case Triggered:
		return fmt.Sprintf("cut.%d", r.ID)
	case Declined:
		return fmt.Sprintf("cut.%d", r.ID)
	case Completed:
		return fmt.Sprintf("cut.%d", r.ID)
	case Dropped:
		return fmt.Sprintf("cut.%d", r.ID)
	case Forgotten:
		return fmt.Sprintf("cut.%d", r.ID)
	case Activated:
		return fmt.Sprintf("active.%d", r.ID)
	}
	panic(fmt.Sprintf("no key for %T", r))
}

// pass is one run of the cleaner over what is stable. A tombstone goes when a pass before has taken all in front of it.
func (c *compaction) pass(log *topic[Record], rng *rand.Rand) {
	if c.gone == nil {
		c.gone = map[int]bool{}
	}
	known := log.stable()
	if known == 0 {
		return
	}
	known = 1 + rng.IntN(known)
	reach := 1 + rng.IntN(known)
	last, inFront := map[string]int{}, map[string]bool{}
	for i := range known {
		if log.committed(i) {
			last[keyOf(log.log[i].v)] = i
		}
	}
	for i := range reach {
		if !log.committed(i) || c.gone[i] {
			continue
		}
		key := keyOf(log.log[i].v)
		_, tombstone := log.log[i].v.(Forgotten)
		switch {
		case last[key] > i, tombstone && !inFront[key] && rng.IntN(2) == 0:
			c.gone[i] = true
		}
		inFront[key] = true
	}
}

// checkCompacted: what is left of the control log adds up to the same as all that was ever in it.
func (k *kafka) checkCompacted() {
	var whole, left Log
	for i, e := range k.control.log[:k.control.stable()] {
		if !k.control.committed(i) {
			continue
		}
		if err := whole.Apply(e.v); err != nil {
			k.violated("%v", err)
		}
		if k.compacted.gone[i] {
			continue
		}
		if err := left.Apply(e.v); err != nil {
			k.violated("compacted: %v", err)
		}
	}
	if a, b := fmt.Sprintf("%+v", left), fmt.Sprintf("%+v", whole); a != b {
		k.violated("what is left of the control log adds up to\n%s, all of it to\n%s", a, b)
	}
}
