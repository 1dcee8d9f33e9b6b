package changelog

import (
	"bytes"
	"slices"
	"sort"
)

// order lists the rows in memory that Badger may not have as they are, so that Range can
// merge them in without walking every shard. It exists from the first Range of a store.
//
// Rows are grouped by the first bytes of their key. A window store's keys begin with the
// window's start, so a group is a window: few groups, the newest two or three of them
// busy, and a Range over a window looks at that window's rows only. A store with too many
// groups falls back to one.
//
// Every row that is unapplied, or whose batch is not finished, is listed. Others may be
// until purge drops them. Flag ordered says that a row is listed: it is listed once.
type order struct {
	groups []group // by prefix
	last   int     // where the last row went
	single bool
	next   int // for purge
}

type group struct {
	prefix prefix
	refs   []uint64 // shard(32) unit(32)
}

const (
	groupBytes = 9 // kind byte and window start
	maxGroups  = 4096
	purgeRefs  = 8192 // looked at in one purge
)

type prefix [groupBytes]byte

func prefixOf(key []byte) (p prefix) {
	copy(p[:], key)
	return p
}

func (p prefix) compare(q prefix) int { return bytes.Compare(p[:], q[:]) }

func ref(shard int, unit uint32) uint64 { return uint64(shard)<<32 | uint64(unit) }

func (o *order) search(p prefix) (int, bool) {
	return slices.BinarySearchFunc(o.groups, p, func(g group, p prefix) int { return g.prefix.compare(p) })
}

// add lists a row.
func (o *order) add(shard int, unit uint32, row []byte) {
	if flags(row)&ordered != 0 {
		return
	}
	row[2] |= ordered
	var p prefix
	if !o.single {
		p = prefixOf(rowKey(row))
	}
	if o.last >= len(o.groups) || o.groups[o.last].prefix != p {
		i, ok := o.search(p)
		if !ok && len(o.groups) == maxGroups {
			o.merge()
			i, ok, p = 0, true, prefix{}
		}
		if !ok {
			o.groups = slices.Insert(o.groups, i, group{prefix: p})
		}
		o.last = i
	}
	g := &o.groups[o.last]
	g.refs = append(g.refs, ref(shard, unit))
}

// merge gives up on groups.
func (o *order) merge() {
	var all []uint64
	for _, g := range o.groups {
		all = append(all, g.refs...)
	}
	o.groups, o.single, o.last, o.next = []group{{refs: all}}, true, 0, 0
}

// between returns the groups that may have keys k with lo <= k, and k < hi unless hi is nil.
func (o *order) between(lo, hi []byte) []group {
	if o.single {
		return o.groups
	}
	from, _ := o.search(prefixOf(lo))
	to := len(o.groups)
	if hi != nil {
		p := prefixOf(hi)
		to = from + sort.Search(to-from, func(i int) bool { return o.groups[from+i].prefix.compare(p) > 0 })
	}
	return o.groups[from:to]
}

// moved follows a rebuild of a shard.
func (o *order) moved(shard int, old []byte) {
	for i := range o.groups {
		g := &o.groups[i]
		kept := g.refs[:0]
		for _, r := range g.refs {
			if int(r>>32) == shard {
				unit, ok := translate(old, uint32(r))
				if !ok {
					continue
				}
				r = ref(shard, unit)
			}
			kept = append(kept, r)
		}
		g.refs = kept
	}
}

// purge drops rows of one group that Badger has.
func (o *order) purge(s *Store) {
	if len(o.groups) == 0 {
		return
	}
	done := s.done.Load()
	for work := 0; work < purgeRefs && len(o.groups) > 0; {
		i := o.next % len(o.groups)
		g := &o.groups[i]
		work += len(g.refs) + 16
		kept := g.refs[:0]
		for _, r := range g.refs {
			sh := &s.shards[r>>32]
			row := sh.row(sh.follow(uint32(r)))
			if flags(row)&unapplied == 0 && sh.handed <= done {
				row[2] &^= ordered
				continue
			}
			kept = append(kept, r)
		}
		g.refs = kept
		if len(kept) == 0 && !o.single {
			o.groups = slices.Delete(o.groups, i, i+1)
			o.last = len(o.groups)
			continue
		}
		if o.next = i + 1; o.next >= len(o.groups) {
			o.next = 0
			return
		}
	}
}

func (o *order) bytes() int64 {
	n := 0
	for _, g := range o.groups {
		n += 48 + 8*cap(g.refs)
	}
	return int64(n)
}

// gap is an interval of keys, from <= k < to, that Badger holds no row of (to nil: none
// known). Expired windows leave deletes behind that Badger has to walk over until they
// are compacted away; with the gap each of them is walked over once.
type gap struct {
	from, to []byte
}

// put takes note of a row that Badger may get.
func (g *gap) put(key []byte) {
	if g.to != nil && bytes.Compare(key, g.to) < 0 && bytes.Compare(key, g.from) >= 0 {
		g.to = append(g.to[:0], key...)
	}
}

// skip returns where a walk from lo may begin.
func (g *gap) skip(lo []byte) []byte {
	if g.to != nil && bytes.Compare(lo, g.from) >= 0 && bytes.Compare(lo, g.to) < 0 {
		return g.to
	}
	return lo
}

// learn notes that a walk from lo met no row below to. The interval is joined with the
// one known if they touch, else it takes its place.
func (g *gap) learn(lo, to []byte) {
	if bytes.Compare(lo, to) >= 0 {
		return
	}
	if g.to == nil || bytes.Compare(lo, g.from) < 0 || bytes.Compare(lo, g.to) > 0 {
		g.from = append(g.from[:0], lo...)
		g.to = append(g.to[:0:0], to...)
		return
	}
	if bytes.Compare(to, g.to) > 0 {
		g.to = append(g.to[:0], to...)
	}
}
