package main

import (
	"strings"
	"testing"

	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// A loop is told from a repartition topic at both ends, and its reading end names what feeds it.
func TestDescribeShowsLoops(t *testing.T) {
	b := topology.New("round")
	again := topology.NewLoop(b, "again", codec.String, codec.Int64)
	s := topology.From(b, topology.NewTopic("in", codec.String, codec.Int64)).Merge(again.Stream())
	s.Repartition("next").ToLoop(again)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	showBirth(&shown, admin.Birth{
		Application: "round", Timeline: 1, Plan: plan.Describe(),
		Partitions: map[string]int32{"in": 2, "round.1.again.repartition": 2, "round.1.next.repartition": 2},
	})
	for _, want := range []string{
		"sub-topology 0: 2 tasks\n  reads   again (loop)\n  reads   in\n", "  0       loop again describe_test.go:15 <- 5\n",
		"  writes  next (repartition topic) (string, int64)\n", "  writes  again (loop) (string, int64)\n",
	} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("lacks %q:\n%s", want, shown.String())
		}
	}
}
