package processor_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// A broker may refuse a record for what it is: its time, its size, the rights of the writer.
// Writing it again changes nothing. The lane once aborted, processed the same records again
// and was refused again, without a pause and without telling anybody, and no task of the lane
// committed anything.
func TestRefusedRecordStopsItsTask(t *testing.T) {
	r := newRig(t)
	r.c.ControlKey(kmsg.Produce.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.c.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		if req.TransactionID == nil || !slices.ContainsFunc(req.Topics, func(t kmsg.ProduceRequestTopic) bool {
			return slices.ContainsFunc(t.Partitions, func(p kmsg.ProduceRequestTopicPartition) bool { return strings.Contains(string(p.Records), "poison") })
		}) {
			return nil, nil, false
		}
		return refuse(req, kerr.InvalidTimestamp, 0), nil, true
	})
	r.send(0, "poison", i64(1))
	r.send(1, "b", i64(1))
	failed := make(chan error, 100)
	aborts := 0
	listener := &processor.Listener{
		TaskFailed: func(i processor.FailedInfo) {
			if i.Task != (offsets.Task{}) {
				return // its record was in a request with the poison; it is sent again
			}
			select {
			case failed <- i.Err:
			default:
			}
		},
		EpochAborted: func(processor.AbortedInfo) { aborts++ },
	}
	r.ran(sums(t, same), func() bool { return len(failed) > 0 && r.committed() == 1 }, processor.Events(listener), processor.CommitInterval(20*time.Millisecond))
	says(t, <-failed, processor.ErrSink, "task 0-0", "out/", "message.timestamp.after.max.ms")
	if aborts > 10 {
		t.Errorf("%d epochs were aborted", aborts)
	}
}
