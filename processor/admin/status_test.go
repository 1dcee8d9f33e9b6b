package admin

import (
	"testing"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// A loop has no time, and so it looks like the input that is furthest behind. It is not what
// time waits for.
func TestLoopsHoldNobody(t *testing.T) {
	b := topology.New("app")
	again := topology.NewLoop(b, "again", codec.String, codec.Int64)
	s := topology.From(b, topology.NewTopic("in", codec.String, codec.Int64)).Merge(again.Stream())
	s.Repartition("next").ToLoop(again)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	names := offsets.Names{Application: "app", Timeline: 1}
	l := look{
		names: names,
		birth: Birth{Plan: plan.Describe(), Partitions: map[string]int32{"in": 2, names.Repartition("again"): 2, names.Repartition("next"): 2}},
		inputTime: map[offsets.Task][]int64{
			{Sub: 0, Partition: 0}: {offsets.NoTime, 70}, {Sub: 0, Partition: 1}: {offsets.NoTime, 50},
			{Sub: 1, Partition: 0}: {50}, {Sub: 1, Partition: 1}: {50},
		},
		metadata: map[offsets.Task]offsets.Metadata{
			{Sub: 0, Partition: 0}: {Time: 70}, {Sub: 0, Partition: 1}: {Time: 50},
			{Sub: 1, Partition: 0}: {Time: 50}, {Sub: 1, Partition: 1}: {Time: 50},
		},
	}
	for task, want := range map[offsets.Task]string{
		{Sub: 0, Partition: 0}: "in/0", {Sub: 0, Partition: 1}: "in/1", {Sub: 1, Partition: 0}: "in/1", {Sub: 1, Partition: 1}: "in/1",
	} {
		if got := l.heldBy(task, len(l.birth.Plan.Subs)); got != want {
			t.Errorf("task %s is held by %q, want %q", task, got, want)
		}
	}
}
