package processor

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// Whether time is wanted is asked of all that is downstream, but not round and round through
// loops: no time comes through them.
func TestTimeIsNotWantedThroughLoops(t *testing.T) {
	for _, windows := range []bool{false, true} {
		b := topology.New("round")
		inner := topology.NewLoop(b, "inner", codec.String, codec.Int64)
		outer := topology.NewLoop(b, "outer", codec.String, codec.Int64)
		begin := topology.From(b, topology.NewTopic("in", codec.String, codec.Int64)).Merge(inner.Stream(), outer.Stream())
		begin.ToLoop(inner)
		middle := begin.Repartition("middle")
		middle.ToLoop(outer)
		last := middle.Repartition("last")
		if windows {
			topology.Window(last, window.Tumbling(time.Hour)).Count("hours")
		}
		last.ToLoop(outer)
		// What is behind the windows has none: time is wanted nowhere there.
		last.Repartition("after").To(topology.NewTopic("out", codec.String, codec.Int64))
		plan, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		a := newApplication(nil, plan, 1)
		for sub := range a.graph.Subs {
			if got, want := a.wantsTime(sub), windows && sub < 3; got != want {
				t.Errorf("windows %v: time is wanted in sub-topology %d: %v", windows, sub, got)
			}
		}
		for uid, want := range map[string]bool{"inner": false, "outer": false, "middle": windows, "last": false, "after": false} {
			if got := a.forgetsTime(uid); got != want {
				t.Errorf("windows %v: readers of %s forget time: %v", windows, uid, got)
			}
		}
	}
}
