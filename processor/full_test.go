package processor_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// An epoch keeps the records that it has read, for a replay. Its limit once counted only what
// was written, so with commits every second a worker took a gigabyte, and one that wrote
// nothing knew no limit at all.
func TestEpochEndsAtItsLimitOfMemory(t *testing.T) {
	r := newRig(t)
	b := topology.New("bad")
	topology.From(b, badIn).Filter(func(string, int64) (bool, error) { return false, nil }).WithKeyCodec(codec.String).WithValueCodec(codec.Int64).To(badOut)
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	const records, limit = 4000, 64 << 10
	for range records {
		r.send(0, "k", i64(1))
	}
	var most atomic.Int64
	listener := &processor.Listener{EpochCommitted: func(i processor.CommittedInfo) {
		most.Store(max(most.Load(), i.Records))
	}}
	r.ran(plan, func() bool { return r.committed() == records }, processor.Events(listener), processor.Lanes(1),
		processor.CommitBytes(limit), processor.CommitInterval(time.Second))
	// The limit is looked at after each turn of a task, of some hundred records.
	if n := most.Load(); n == 0 || n > records/4 {
		t.Errorf("an epoch had %d of %d records, at a limit of %d bytes", n, records, limit)
	}
}
