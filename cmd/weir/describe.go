package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/topology"
)

func newDescribe() *cobra.Command {
	return ofApplication(&cobra.Command{
		Use:   "describe APPLICATION",
		Short: "Show the plan that an application was born with",
		Long: `Show the plan that an application was born with, and the partition counts that were decided then, as its
control topic has them. The plan of a program, which may be newer: <program> describe.`,
	}, func(ctx context.Context, cl *admin.Client, out output) error {
		b, err := cl.Birth(ctx)
		if err != nil {
			return err
		}
		return out.show(b, func(w io.Writer) { showBirth(w, b) })
	})
}

func showBirth(w io.Writer, b admin.Birth) {
	fmt.Fprintf(w, "application %s\n", b.Application)
	fmt.Fprintf(w, "  timeline %d, born %s, plan %s\n", b.Timeline, b.Born.Format("2006-01-02 15:04:05 MST"), b.Plan.Fingerprint)
	fmt.Fprintf(w, "  internal partitions %d\n", b.InternalPartitions)
	for _, s := range b.Plan.Subs {
		fmt.Fprintf(w, "\nsub-topology %d: %d tasks\n", s.ID, tasksOf(b, s))
		for _, in := range s.Inputs {
			fmt.Fprintf(w, "  reads   %s\n", in.Topic+internalMark(in.Internal, in.Loop))
		}
		for _, n := range s.Nodes {
			fmt.Fprintf(w, "  %-7d %s\n", n.ID, node(n))
		}
		for _, st := range s.Stores {
			fmt.Fprintf(w, "  keeps   %s: %s (%s, %s)\n", st.UID, st.Kind, st.KeyCodec, st.ValueCodec)
		}
		for _, o := range s.Outputs {
			fmt.Fprintf(w, "  writes  %s (%s, %s)\n", o.Topic+internalMark(o.Internal, o.Loop), o.KeyCodec, o.ValueCodec)
		}
	}
}

func tasksOf(b admin.Birth, s topology.SubDescription) int32 {
	topic := s.Inputs[0].Topic
	if s.Inputs[0].Internal {
		topic = offsets.Names{Application: b.Application, Timeline: b.Timeline}.Repartition(topic)
	}
	return b.Partitions[topic]
}

func internalMark(internal, loop bool) string {
	switch {
	case loop:
		return " (loop)"
	case internal:
		return " (repartition topic)"
	}
	return ""
}

// node is "map words orders.go:31 <- 2, 3".
func node(n topology.NodeDescription) string {
	text := n.Kind
	switch {
	case n.Name != "":
		text += " " + n.Name
	case n.UID != "":
		text += " " + n.UID
	case n.Topic != "":
		text += " " + n.Topic
	}
	text += " " + n.Site
	for i, id := range n.Inputs {
		sep := ", "
		if i == 0 {
			sep = " <- "
		}
		text += fmt.Sprintf("%s%d", sep, id)
	}
	return text
}
