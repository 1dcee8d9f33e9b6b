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

// refs[:sorted] is in the order of keys; what came later is sorted in by the next Range
// that comes to the group.
type group struct {
	prefix prefix
	refs   []uint64 // shard(32) unit(32)
	sorted int
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
	o.groups, o.single, o.last, o.next = []group{{refs: all}}, true, 0, 0 // sorted by the next Range
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

// sort brings the whole group into the order of keys. A window that closes is read in
// slices; it is sorted once, not once for each slice.
func (g *group) sort(s *Store) {
	tail := g.refs[g.sorted:]
	if len(tail) == 0 {
		return
	}
	key := func(r uint64) []byte {
		sh := &s.shards[r>>32]
		return rowKey(sh.row(sh.follow(uint32(r))))
	}
	byKey := func(a, b uint64) int { return bytes.Compare(key(a), key(b)) }
	slices.SortFunc(tail, byKey)
	if g.sorted > 0 && byKey(g.refs[g.sorted-1], tail[0]) > 0 {
		// Merge from the back, so that only the tail needs a copy.
		late, i := slices.Clone(tail), g.sorted-1
		for at := len(g.refs) - 1; len(late) > 0; at-- {
			if last := len(late) - 1; i < 0 || byKey(g.refs[i], late[last]) < 0 {
				g.refs[at], late = late[last], late[:last]
			} else {
				g.refs[at] = g.refs[i]
				i--
			}
		}
	}
	g.sorted = len(g.refs)
}

// listing walks the listed rows lo <= key < hi in the order of keys. A group is looked at
// when the walk comes to it.
type listing struct {
	s      *Store
	groups []group // shares memory with order
	refs   []uint64
	lo, hi []byte
}

// first is the row where the walk stands, nil at its end. Rows of which memory knows
// nothing are passed over.
func (l *listing) first() []byte {
	for {
		for len(l.refs) > 0 {
			r := l.refs[0]
			sh := &l.s.shards[r>>32]
			row := sh.row(sh.follow(uint32(r)))
			if l.hi != nil && bytes.Compare(rowKey(row), l.hi) >= 0 {
				l.refs, l.groups = nil, nil
				return nil
			}
			if flags(row)&known != 0 {
				return row
			}
			l.refs = l.refs[1:]
		}
		if len(l.groups) == 0 {
			return nil
		}
		g := &l.groups[0]
		l.groups = l.groups[1:]
		g.sort(l.s)
		from, _ := slices.BinarySearchFunc(g.refs, l.lo, func(r uint64, lo []byte) int {
			sh := &l.s.shards[r>>32]
			return bytes.Compare(rowKey(sh.row(sh.follow(uint32(r)))), lo)
		})
		l.refs = g.refs[from:]
	}
}

func (l *listing) next() { l.refs = l.refs[1:] }

// moved follows a rebuild of a shard.
func (o *order) moved(shard int, old []byte) {
	for i := range o.groups {
		g := &o.groups[i]
		kept, sorted := g.refs[:0], 0
		for at, r := range g.refs {
			if int(r>>32) == shard {
				unit, ok := translate(old, uint32(r))
				if !ok {
					continue
				}
				r = ref(shard, unit)
			}
			kept = append(kept, r)
			if at < g.sorted {
				sorted++
			}
		}
		g.refs, g.sorted = kept, sorted
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
		kept, sorted := g.refs[:0], 0
		for at, r := range g.refs {
			sh := &s.shards[r>>32]
			row := sh.row(sh.follow(uint32(r)))
			if flags(row)&unapplied == 0 && sh.handed <= done {
				row[2] &^= ordered
				continue
			}
			kept = append(kept, r)
			if at < g.sorted {
				sorted++
			}
		}
		g.refs, g.sorted = kept, sorted
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
		n += 56 + 8*cap(g.refs)
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
