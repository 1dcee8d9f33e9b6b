package changelog

// A row of a large store costs two misses of the CPU's caches, one for its slot of the
// index and one for the row, and a program that handles one record after the other waits
// for each of them. Loads that do not depend on one another are under way at the same
// time, so rows that will be wanted soon are touched in groups.

// ahead is how many rows are touched at a time: what one core keeps under way.
const ahead = 16

// look is where Prefetch is with one key.
type look struct {
	shard *shard
	entry uint64
	slot  int
	tag   uint32
}

// Prefetch brings the rows of keys that will be read next closer to the CPU and returns
// how many it found in memory. It changes nothing and does not read the disk; a key that
// is not there costs one load.
func (s *Store) Prefetch(keys [][]byte) (found int) {
	var looks [ahead]look
	for len(keys) > 0 {
		n := min(len(keys), ahead)
		for i, key := range keys[:n] {
			at, tag := s.hash(key)
			l := look{shard: &s.shards[at], tag: tag}
			if size := len(l.shard.index); size > 0 {
				l.slot = int(tag) & (size - 1)
				l.entry = l.shard.index[l.slot]
			}
			looks[i] = l
		}
		for i := range looks[:n] { // the slots behind the first mostly came with it
			l := &looks[i]
			for l.entry != 0 && uint32(l.entry>>32) != l.tag {
				l.slot = (l.slot + 1) & (len(l.shard.index) - 1)
				l.entry = l.shard.index[l.slot]
			}
		}
		for i, key := range keys[:n] {
			if l := &looks[i]; l.entry != 0 {
				s.touchRow(l.shard.row(uint32(l.entry)-1), rowHeader+len(key))
				found++
			}
		}
		keys = keys[n:]
	}
	return found
}

// touchRow loads the beginning of a row and the byte at end: half of all small rows lie in
// two lines of the CPU's caches. A load whose value nobody wants is left out by the
// compiler, so it goes into a field.
func (s *Store) touchRow(row []byte, end int) {
	s.loaded ^= row[2] ^ row[min(end, len(row)-1)]
}

// touchRows brings the rows of some undo entries closer.
func (s *Store) touchRows(list []undo) {
	for _, u := range list {
		// Where the row ends is not known yet; for one of common size this is its second line.
		s.touchRow(s.shards[u.shard].row(u.unit), 32)
	}
}
