package processor_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// What is kept back to the end of the epoch can fail there, at no record in particular. The
// lane once replayed up to the next queued record, came to the same end of the epoch, and
// failed again, without end and without a pause, and no other task committed meanwhile.
func TestFailureAtTheEndOfAnEpoch(t *testing.T) {
	r := newRig(t)
	plan := func(refuse bool) *topology.Plan {
		b := topology.New("bad")
		hours := topology.Window(topology.From(b, badIn), window.Tumbling(time.Hour).EmitOnCommit())
		counted := hours.Count("counts").ToStream()
		topology.Map(counted, func(k topology.Windowed[string], n int64) (string, int64, error) {
			if refuse && k.Key != "b" {
				return "", 0, errors.New("results of a are refused")
			}
			return k.Key, n, nil
		}).WithKeyCodec(codec.String).WithValueCodec(codec.Int64).To(badOut)
		p, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	// More keys than one epoch holds, so that records wait when the first epoch ends.
	const keys = 2000
	for i := range keys {
		r.send(0, fmt.Sprintf("a%d", i), i64(1))
	}
	r.send(1, "b", i64(1))
	failed := make(chan error, 100)
	aborts := 0
	listener := &processor.Listener{
		TaskFailed: func(i processor.FailedInfo) {
			select {
			case failed <- i.Err:
			default:
			}
		},
		EpochAborted: func(processor.AbortedInfo) { aborts++ },
	}
	r.ran(plan(true), func() bool { return len(failed) > 0 && r.committed() == 1 }, processor.Events(listener), processor.CommitBytes(1<<10))
	if err := <-failed; !strings.Contains(err.Error(), "results of a are refused") {
		t.Errorf("the task failed with %v", err)
	}
	if aborts > 10 {
		t.Errorf("%d epochs were aborted", aborts)
	}
	// Mended, it goes on where it stopped.
	r.ran(plan(false), func() bool { return r.committed() == keys+1 })
	got := r.out(keys + 1)
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != keys+1 || got[keys] != "b=1" || got[0] != "a0=1" {
		t.Errorf("results %v, %d of them different: want one for each of %d keys", got, n, keys+1)
	}
}
