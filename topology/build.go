package topology

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// maxStores bounds the stores of a sub-topology: the metadata beside each committed offset
// holds one changelog position per store, and Kafka bounds it to 4,096 bytes.
const maxStores = 200

// Build checks everything and returns an immutable plan, or every mistake at once:
// a joined error of *BuildError, each with the line of the user's program.
func (b *Builder) Build() (*Plan, error) {
	c := &check{Builder: b, found: slices.Clone(b.mistakes), sub: make([]int, len(b.vertices))}
	c.names()
	c.sources()
	c.sinks()
	c.divide()
	c.keys()
	c.partitions()
	c.cycles()
	c.loops()
	c.stores()
	if len(c.found) > 0 {
		slices.SortStableFunc(c.found, func(a, b *BuildError) int { return compareSites(a.Site, b.Site) })
		all := make([]error, len(c.found))
		for i, e := range c.found {
			all[i] = e
		}
		return nil, errors.Join(all...)
	}
	b.built = true
	p := &Plan{application: b.name, partitions: b.partitions, graph: c.graph()}
	for _, v := range b.vertices {
		p.bindings = append(p.bindings, v.bindings...)
	}
	return p, nil
}

// compareSites orders by file, then by line.
func compareSites(a, b string) int {
	af, al, _ := strings.Cut(a, ":")
	bf, bl, _ := strings.Cut(b, ":")
	return cmp.Or(cmp.Compare(af, bf), cmp.Compare(len(al), len(bl)), cmp.Compare(al, bl))
}

// check is one run of Build. It leaves the Builder as it is.
type check struct {
	*Builder
	found []*BuildError
	sub   []int // of each vertex
	subs  int
}

func (c *check) reject(v *vertex, what string, args ...any) *mistake {
	before := c.mistakes
	m := c.Builder.reject(v, what, args...)
	c.Builder.mistakes = before
	c.found = append(c.found, (*BuildError)(m))
	return m
}

func (c *check) names() {
	if err := offsets.CheckName(c.name); err != nil {
		c.reject(c.self(), "its name %q cannot be part of a topic name: %v", c.name, err).fix("use a-z, 0-9 and -, at most 100 characters")
	}
	owner := map[string]*vertex{}
	for _, v := range c.vertices {
		if v.UID == "" || v.hop != v.loop { // of a repartition the writing end has it, of a loop the reading one
			continue
		}
		if first, ok := owner[v.UID]; ok {
			c.reject(v, "its uid is taken by %s (%s)", first.String(), first.Site).fix("give each store and each internal topic a uid of its own")
			continue
		}
		owner[v.UID] = v
	}
}

func (c *check) sources() {
	reads := map[string]*vertex{}
	for _, v := range c.vertices {
		if v.input == nil || v.hop {
			continue
		}
		if first, ok := reads[v.Topic]; ok {
			c.reject(v, "the topic is read already by %s", first.Site).fix("use the stream of that From twice: a stream may have any number of operators")
			continue
		}
		reads[v.Topic] = v
	}
	if len(reads) == 0 {
		c.reject(c.self(), "it reads no topic").fix("start with topology.From")
	}
}

func (c *check) sinks() {
	for _, v := range c.vertices {
		for _, o := range v.outputs {
			if o.Internal {
				continue
			}
			for _, s := range c.vertices {
				if s.input != nil && !s.hop && s.Topic == o.Topic {
					c.reject(v, "topic %s is read by %s: the application would feed itself", o.Topic, s.Site).
						fix("write another topic, or use the stream itself instead of reading it back; for records that are to go round, NewLoop")
				}
			}
		}
	}
}

// divide finds the sub-topologies: what hangs together without a repartition topic between.
// They are numbered in the order in which their first node was added.
func (c *check) divide() {
	root := make([]int, len(c.vertices))
	var find func(int) int
	find = func(i int) int {
		if root[i] != i {
			root[i] = find(root[i])
		}
		return root[i]
	}
	for i, v := range c.vertices {
		root[i] = i
		if v.hop {
			continue
		}
		for _, p := range v.Inputs {
			a, b := find(p), find(i)
			root[max(a, b)] = min(a, b)
		}
	}
	number := map[int]int{}
	for i := range c.vertices {
		r := find(i)
		if _, ok := number[r]; !ok {
			number[r] = len(number)
		}
		c.sub[i] = number[r]
	}
	c.subs = len(number)
}

// keys finds stateful operators whose key was changed since the records were placed by it.
func (c *check) keys() {
	for _, v := range c.vertices {
		if !v.stateful || len(v.Inputs) == 0 {
			continue
		}
		if m := c.ancestor(c.vertices[v.Inputs[0]], func(p *vertex) bool { return p.rekeys }); m != nil {
			c.reject(v, "its key may be changed by %s and the stream was not repartitioned since: records of one key would be counted in several tasks", m.String()).
				fix(`put .Repartition("<uid>") before it, or use KeyBy in place of the change of key (MapValues if the key stays)`)
		}
	}
}

// partitions finds repartition topics that meet in one sub-topology with different counts.
func (c *check) partitions() {
	first := map[int]*vertex{}
	for i, v := range c.vertices {
		if !v.hop || len(v.Inputs) == 0 {
			continue
		}
		f, ok := first[c.sub[i]]
		if !ok {
			first[c.sub[i]] = v
			continue
		}
		if a, b := c.count(f), c.count(v); a != b {
			c.reject(v, "it meets %s (%s) in one sub-topology, and they have different numbers of partitions", f.String(), f.Site).
				fix("give both the same Partitions")
		}
	}
}

func (c *check) count(reading *vertex) int {
	return cmp.Or(c.vertices[reading.Inputs[0]].outputs[0].Partitions, c.Builder.partitions)
}

func (c *check) stores() {
	n := make([]int, c.subs)
	for i, v := range c.vertices {
		if v.store == nil {
			continue
		}
		if n[c.sub[i]]++; n[c.sub[i]] == maxStores+1 {
			c.reject(v, "it is store number %d of its sub-topology", maxStores+1).fix("keep to %d: put a Repartition between, or keep several values in one Aggregate", maxStores)
		}
	}
}

// graph makes the immutable half. Nothing of it is shared with the Builder but the typed
// nodes, and these take no more children.
func (c *check) graph() *task.Graph {
	g := &task.Graph{Nodes: make([]task.Node, len(c.vertices)), Subs: make([]task.Sub, c.subs), StreamTime: c.streamTime}
	for i := range g.Subs {
		g.Subs[i].ID = i
	}
	for i, v := range c.vertices {
		s := &g.Subs[c.sub[i]]
		n := v.Node
		n.Sub, n.Inputs = s.ID, slices.Clone(v.Inputs)
		n.Delay = v.grace
		if !v.hop {
			n.Delay += c.delay(g, v)
		}
		if v.input != nil {
			in := *v.input
			index := len(s.Inputs)
			in.Open = func(t *task.Task) func(*task.Raw) error { return v.open(t, index) }
			if v.hop {
				in.Upstream = c.writers(v)
			}
			s.Inputs = append(s.Inputs, in)
		}
		if v.store != nil {
			n.Store = len(s.Stores)
			s.Stores = append(s.Stores, *v.store)
			s.HasTime = s.HasTime || v.store.Kind == task.StoreWindow
		}
		for _, o := range v.outputs {
			at := slices.IndexFunc(s.Outputs, func(p task.Output) bool { return p.Topic == o.Topic && p.Internal == o.Internal })
			if at < 0 {
				at = len(s.Outputs)
				s.Outputs = append(s.Outputs, o)
			}
			n.Outputs = append(n.Outputs, at)
			if o.Internal && !o.Loop {
				s.Hold = max(s.Hold, n.Delay)
			}
		}
		g.Nodes[i] = n
	}
	return g
}

// delay is the largest of the parents, which come before.
func (c *check) delay(g *task.Graph, v *vertex) time.Duration {
	var d time.Duration
	for _, p := range v.Inputs {
		d = max(d, g.Nodes[p].Delay)
	}
	return d
}
