package topology

import (
	"fmt"
	"strings"

	"github.com/weir-stream/weir/topology/task"
)

// String is the plan as indented text. It names no lines of the program, so that it
// changes with the topology only: fit for golden files.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "application %s\n", p.application)
	if p.partitions > 0 {
		fmt.Fprintf(&b, "  internal partitions %d\n", p.partitions)
	}
	if p.graph.StreamTime {
		b.WriteString("  stream time\n")
	}
	for i := range p.graph.Subs {
		s := &p.graph.Subs[i]
		fmt.Fprintf(&b, "\nsub-topology %d\n", s.ID)
		for j := range p.graph.Nodes {
			if n := &p.graph.Nodes[j]; n.Sub == s.ID {
				p.line(&b, s, n)
			}
		}
	}
	return b.String()
}

// line is "  5 count counts <- 4, store counts: keyed (string, int64)".
func (p *Plan) line(b *strings.Builder, s *task.Sub, n *task.Node) {
	fmt.Fprintf(b, "  %d %s", n.ID, label(n))
	for i, id := range n.Inputs {
		sep := ", "
		if i == 0 {
			sep = " <- "
		}
		fmt.Fprintf(b, "%s%d", sep, id)
	}
	switch {
	case n.Store >= 0:
		st := &s.Stores[n.Store]
		fmt.Fprintf(b, ", store %s (%s, %s)", st.Kind, st.KeyCodec, st.ValueCodec)
		if st.Window > 0 {
			fmt.Fprintf(b, " window %v retention %v", st.Window, st.Retention)
		}
		if st.InMemory {
			b.WriteString(" in memory")
		}
	case n.Kind == "route":
		for i, o := range n.Outputs {
			sep := ", "
			if i == 0 {
				sep = " -> "
			}
			b.WriteString(sep + s.Outputs[o].Topic)
		}
	case n.KeyCodec != "" || n.ValueCodec != "":
		fmt.Fprintf(b, " (%s, %s)", n.KeyCodec, n.ValueCodec)
	}
	for _, in := range s.Inputs {
		if n.Kind == "source" && in.Topic == n.Topic && in.MaxDisorder > 0 {
			fmt.Fprintf(b, " disorder %v", in.MaxDisorder)
		}
	}
	for _, o := range n.Outputs {
		if s.Outputs[o].Internal && s.Outputs[o].Partitions > 0 {
			fmt.Fprintf(b, " partitions %d", s.Outputs[o].Partitions)
		}
	}
	b.WriteByte('\n')
}

// label is the kind and what names the node, but for the line of the program.
func label(n *task.Node) string {
	switch {
	case n.Name != "":
		return n.Kind + " " + n.Name
	case n.UID != "":
		return n.Kind + " " + n.UID
	case n.Topic != "":
		return n.Kind + " " + n.Topic
	}
	return n.Kind
}

// Mermaid is the plan as a flowchart for mermaid.js, which many viewers of Markdown draw. The
// way back of a loop is dotted.
func (p *Plan) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	topics := map[string]string{} // topic to node
	topic := func(name string, internal bool) string {
		id, ok := topics[name]
		if !ok {
			id = fmt.Sprintf("t%d", len(topics))
			topics[name] = id
			shape := "[(%s)]"
			if internal {
				shape = "[/%s/]"
			}
			fmt.Fprintf(&b, "  %s"+shape+"\n", id, quoted(name))
		}
		return id
	}
	for i := range p.graph.Subs {
		s := &p.graph.Subs[i]
		for _, in := range s.Inputs {
			topic(in.Topic, in.Internal)
		}
		for _, o := range s.Outputs {
			topic(o.Topic, o.Internal)
		}
	}
	for i := range p.graph.Subs {
		s := &p.graph.Subs[i]
		fmt.Fprintf(&b, "  subgraph s%d[%s]\n", s.ID, quoted(fmt.Sprintf("sub-topology %d", s.ID)))
		for j := range p.graph.Nodes {
			if n := &p.graph.Nodes[j]; n.Sub == s.ID {
				fmt.Fprintf(&b, "    n%d[%s]\n", n.ID, quoted(label(n)))
			}
		}
		b.WriteString("  end\n")
	}
	for j := range p.graph.Nodes {
		n := &p.graph.Nodes[j]
		s := &p.graph.Subs[n.Sub]
		if in := reads(p.graph, n); in != "" {
			arrow := "-->"
			if n.Kind == kindLoop {
				arrow = "-.->"
			}
			fmt.Fprintf(&b, "  %s %s n%d\n", topics[in], arrow, n.ID)
		} else {
			for _, id := range n.Inputs {
				fmt.Fprintf(&b, "  n%d --> n%d\n", id, n.ID)
			}
		}
		for _, o := range n.Outputs {
			fmt.Fprintf(&b, "  n%d --> %s\n", n.ID, topics[s.Outputs[o].Topic])
		}
	}
	return b.String()
}

// reads is the topic or uid that a node reads, or "".
func reads(g *task.Graph, n *task.Node) string {
	switch {
	case n.Kind == "source":
		return n.Topic
	case n.Kind == kindLoop: // it may be in the sub-topology that feeds it
		return n.UID
	case len(n.Inputs) == 1 && g.Nodes[n.Inputs[0]].Sub != n.Sub:
		return n.UID
	}
	return ""
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, "#quot;") + `"` }
