package topology

import (
	"fmt"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology/task"
)

// Builder collects the nodes of one application. It is not safe for concurrent use.
type Builder struct {
	name       string
	site       string
	partitions int
	streamTime bool

	vertices []*vertex
	mistakes []*BuildError
	built    bool
	told     map[string]bool // mistakes of codecs
}

// New starts the topology of the application called name. The name prefixes the
// consumer group, the internal topics and the transactional ids: it is for ever.
func New(name string, opts ...BuilderOption) *Builder {
	b := &Builder{name: name, site: site()}
	for _, o := range opts {
		o.applyBuilder(b)
	}
	return b
}

// add makes a vertex. Parents of another builder are a mistake and left out.
func (b *Builder) add(kind string, parents ...*vertex) *vertex {
	v := &vertex{b: b, Node: task.Node{ID: len(b.vertices), Kind: kind, Site: site(), Store: -1}}
	for _, p := range parents {
		if p.b != b {
			b.reject(v, "it takes %s of another Builder (application %q)", p.String(), p.b.name).
				fix("build both streams from one Builder; two applications meet in a topic")
			continue
		}
		v.Inputs = append(v.Inputs, p.ID)
	}
	if b.built {
		b.reject(v, "it was added after Build").fix("call Build last; for another plan, start with New again")
	}
	b.vertices = append(b.vertices, v)
	return v
}

// self stands for the application in mistakes that have no node.
func (b *Builder) self() *vertex {
	return &vertex{b: b, Node: task.Node{Kind: "application", Name: b.name, Site: b.site}}
}

type mistake BuildError

// reject notes a mistake, to be reported by Build.
func (b *Builder) reject(v *vertex, what string, args ...any) *mistake {
	e := &BuildError{Node: v.String(), Site: v.Site, What: fmt.Sprintf(what, args...)}
	b.mistakes = append(b.mistakes, e)
	return (*mistake)(e)
}

func (m *mistake) fix(how string, args ...any) { m.Fix = fmt.Sprintf(how, args...) }

// setUID names the state or internal topic of a node.
func (v *vertex) setUID(uid string) {
	v.UID = uid
	if err := offsets.CheckName(uid); err != nil {
		v.b.reject(v, "its uid %q cannot be part of a topic name: %v", uid, err).fix("use a-z, 0-9 and -, at most 100 characters")
	}
}

// needFunc notes a function that is missing.
func (v *vertex) needFunc(missing bool) {
	if missing {
		v.b.reject(v, "its function is nil").fix("pass a function")
	}
}

// needCodec notes a codec argument that is missing.
func (v *vertex) needCodec(missing bool, of string) {
	if missing {
		v.b.reject(v, "its codec of the %s is nil", of).fix("pass one, for example codec.String")
	}
}

// needKey and needValue note that bytes are needed of a stream without codec.
func (v *vertex) needKey(missing bool, parent *vertex) {
	if missing {
		v.needs(parent, "key", "WithKeyCodec", func(p *vertex) string { return p.newKey })
	}
}

func (v *vertex) needValue(missing bool, parent *vertex) {
	if missing {
		v.needs(parent, "value", "WithValueCodec", func(p *vertex) string { return p.newValue })
	}
}

func (v *vertex) needs(parent *vertex, what, method string, lost func(*vertex) string) {
	if p := v.b.ancestor(parent, func(p *vertex) bool { return lost(p) != "" }); p != nil {
		v.b.reject(v, "it needs the bytes of the %s, and the %s of %s has no codec", what, lost(p), p.String()).
			fix("put .%s(...) behind %s", method, p.String())
		return
	}
	v.b.reject(v, "it needs the bytes of the %s, and the stream has no codec for it", what).fix("put .%s(...) before it", method)
}

// ancestor finds the nearest vertex, from v up to the next topic, that is wanted.
func (b *Builder) ancestor(v *vertex, wanted func(*vertex) bool) *vertex {
	seen := map[int]bool{}
	for level := []*vertex{v}; len(level) > 0; {
		var up []*vertex
		for _, v := range level {
			if wanted(v) {
				return v
			}
			if v.hop {
				continue
			}
			for _, id := range v.Inputs {
				if !seen[id] {
					seen[id] = true
					up = append(up, b.vertices[id])
				}
			}
		}
		level = up
	}
	return nil
}
