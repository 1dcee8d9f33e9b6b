package topology

import "slices"

// writers are the sub-topologies that write what a hop reads.
func (c *check) writers(hop *vertex) []int {
	var subs []int
	for _, w := range hop.Inputs {
		subs = append(subs, c.sub[w])
	}
	slices.Sort(subs)
	return slices.Compact(subs)
}

// readers are, for each sub-topology, those that read what it writes.
func (c *check) readers(throughLoops bool) [][]int {
	readers := make([][]int, c.subs)
	for i, v := range c.vertices {
		if !v.hop || v.loop && !throughLoops {
			continue
		}
		for _, up := range c.writers(v) {
			readers[up] = append(readers[up], c.sub[i])
		}
	}
	return readers
}

// reaches says whether records of one sub-topology can come to another, or are there.
func reaches(readers [][]int, from, to int) bool {
	seen := make([]bool, len(readers))
	for todo := []int{from}; len(todo) > 0; {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s == to {
			return true
		}
		if !seen[s] {
			seen[s] = true
			todo = append(todo, readers[s]...)
		}
	}
	return false
}

// cycles finds sub-topologies that wait for themselves: time behind a repartition topic is
// that of its writers, so a writer that reads it, at once or through others, would never
// move. Nobody waits for a loop.
func (c *check) cycles() {
	readers := c.readers(false)
	for i, v := range c.vertices {
		if v.hop && !v.loop && len(v.Inputs) > 0 && reaches(readers, c.sub[i], c.sub[v.Inputs[0]]) {
			c.reject(v, "it is merged with a stream that it comes from: its time would wait for itself").
				fix("put a Repartition before the other side of the Merge too; records that are to go round take a NewLoop")
		}
	}
}

// loops finds loops that are open, that have no time, and that are none.
//
// With these rules, and without cycles, time comes to every sub-topology from a source: each
// has an input that is no loop, and there is no way round but through loops.
func (c *check) loops() {
	readers := c.readers(true)
	for i, v := range c.vertices {
		if !v.loop || !v.hop {
			continue
		}
		used := func(o *vertex) bool { return slices.Contains(o.Inputs, v.ID) }
		timed := func(o *vertex) bool { return o.input != nil && !o.loop && c.sub[o.ID] == c.sub[i] }
		switch {
		case len(v.Inputs) == 0:
			c.reject(v, "nothing is fed to it").fix("end with .ToLoop a stream that comes from it, or leave it out")
		case !slices.ContainsFunc(c.vertices, used):
			c.reject(v, "nothing reads it").fix("merge its Stream with the one that it begins with, or leave it out")
		case !slices.ContainsFunc(c.vertices, timed):
			c.reject(v, "its sub-topology reads nothing but loops, and these have no time: no window would ever close").
				fix("merge its Stream with the one that it begins with, put through a Repartition if it comes from the loop, too")
		default:
			for _, w := range v.Inputs {
				if !reaches(readers, c.sub[i], c.sub[w]) {
					c.reject(c.vertices[w], "nothing comes to it from %s (%s): that would be no loop, and its reader would not wait for it", v.String(), v.Site).
						fix("use Repartition, which carries time, and Merge")
				}
			}
		}
	}
}
