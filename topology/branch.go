package topology

import "github.com/weir-stream/weir/topology/task"

// Branches splits a stream: each record goes to the first case that takes it, in the
// order in which the cases were added, else to the default, else nowhere.
type Branches[K, V any] struct {
	s     Stream[K, V]
	n     *node[K, V]
	cases []branchCase[K, V]
	other *node[K, V]
}

type branchCase[K, V any] struct {
	take func(K, V) (bool, error)
	n    *node[K, V]
}

// Branch splits the stream.
func (s Stream[K, V]) Branch(opts ...Option) *Branches[K, V] {
	br := &Branches[K, V]{s: s, n: newNode[K, V](s.b, "branch", settingsOf(opts), s.n.vertex)}
	s.n.attach(br.open)
	return br
}

func (br *Branches[K, V]) open(t *task.Task) receiver[K, V] {
	nexts := make([]receiver[K, V], len(br.cases))
	for i, c := range br.cases {
		nexts[i] = c.n.next(t)
	}
	other := func(K, V) error { return nil }
	if br.other != nil {
		other = br.other.next(t)
	}
	cases := br.cases
	return func(key K, value V) error {
		for i := range cases {
			t.At(cases[i].n.ID)
			ok, err := cases[i].take(key, value)
			if err != nil {
				return t.Fail(cases[i].n.ID, err)
			}
			if ok {
				return nexts[i](key, value)
			}
		}
		return other(key, value)
	}
}

// Case is the records that take says true to, and no earlier case took.
func (br *Branches[K, V]) Case(name string, take func(key K, value V) (bool, error)) Stream[K, V] {
	n := br.add("case", name)
	n.needFunc(take == nil)
	if !n.b.built {
		br.cases = append(br.cases, branchCase[K, V]{take, n})
	}
	return br.s.on(n)
}

// Default is the records that no case took.
func (br *Branches[K, V]) Default(name string) Stream[K, V] {
	n := br.add("default", name)
	if br.other != nil {
		n.b.reject(n.vertex, "the branch has a default already, %s", br.other.Site).fix("keep one Default")
	}
	if !n.b.built {
		br.other = n
	}
	return br.s.on(n)
}

func (br *Branches[K, V]) add(kind, name string) *node[K, V] {
	n := newNode[K, V](br.n.b, kind, settings{name: name}, br.n.vertex)
	if name == "" {
		n.b.reject(n.vertex, "it has no name").fix("give each case a name of its own")
	}
	for _, c := range br.cases {
		if c.n.Name == name {
			n.b.reject(n.vertex, "the branch has a case of this name already, %s", c.n.Site).fix("give each case a name of its own")
		}
	}
	return n
}
