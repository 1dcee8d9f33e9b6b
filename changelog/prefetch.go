package changelog

// A row of a large store costs two misses of the CPU's caches, one for its slot of the
// index and one for the row, and a program that handles one record after the other waits
// for each of them. Loads that do not depend on one another are under way at the same
// time, so rows that will be wanted soon are touched in groups.

// ahead is how many rows are touched at a time: what one core keeps under way.
const ahead = 16

// Prefetch brings the rows of keys that will be read next closer to the CPU and returns
// how many it found in memory. It changes nothing and does not read the disk; a key that
// is not there costs one load.
func (s *Store) Prefetch(keys [][]byte) (found int) {
	var entries [ahead]uint64
	var shards [ahead]*shard
	for len(keys) > 0 {
		n := min(len(keys), ahead)
		for i, key := range keys[:n] {
			at, tag := s.hash(key)
			sh := &s.shards[at]
			shards[i], entries[i] = sh, 0
			if len(sh.index) == 0 {
				continue
			}
			// The first slot only: most keys are there, and the others cost no more than before.
			if e := sh.index[int(tag)&(len(sh.index)-1)]; uint32(e>>32) == tag {
				entries[i] = e
			}
		}
		for i, e := range entries[:n] {
			// flags is never read as a whole here, but the load is one that cannot be left out.
			if e != 0 && flags(shards[i].row(uint32(e)-1))&moved == 0 {
				found++
			}
		}
		keys = keys[n:]
	}
	return found
}

// touchRows brings the rows of some undo entries closer.
func (s *Store) touchRows(list []undo) (live int) {
	for _, u := range list {
		if flags(s.shards[u.shard].row(u.unit))&moved == 0 {
			live++
		}
	}
	return live
}
