package processor_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor"
)

// Found in virtual time: the client could not learn the position of three partitions, said so
// once, and did not read them again for as long as it was a member. Their tasks were restored,
// owned and idle for ever. A lane that hears of such a partition begins anew with a fresh
// client; as a static member it gets the same tasks back.
func TestPartitionGivenUpByTheClient(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ta := tally.Tally{App: "unread", Keys: 100, Groups: 10, Partitions: 4}
	if err := ta.CreateTopics(ctx, c.ListenAddrs(), 1); err != nil {
		t.Fatal(err)
	}
	const n = 4_000
	if err := ta.Load(ctx, c.ListenAddrs(), 0, n, true); err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int32
	c.ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.OffsetFetchRequest)
		// The client's own request names its member, the engine's does not.
		if len(req.Groups) != 1 || req.Groups[0].MemberID == nil || refused.Add(1) > 1 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		g := kmsg.NewOffsetFetchResponseGroup()
		g.Group = req.Groups[0].Group
		for _, rt := range req.Groups[0].Topics {
			st := kmsg.NewOffsetFetchResponseGroupTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, p := range rt.Partitions {
				sp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				sp.Partition, sp.Offset, sp.ErrorCode = p, -1, kerr.UnknownServerError.Code
				st.Partitions = append(st.Partitions, sp)
			}
			g.Topics = append(g.Topics, st)
		}
		resp.Groups = append(resp.Groups, g)
		return resp, nil, true
	})
	assigned := 0
	stop := start(t, c, ta, t.TempDir(), processor.Lanes(1), processor.Events(&processor.Listener{TasksAssigned: func(i processor.AssignedInfo) {
		if len(i.Partitions) > 0 {
			assigned++
		}
	}}))
	out, err := ta.Await(ctx, c.ListenAddrs(), n)
	if err != nil {
		t.Fatal(err)
	}
	if err := ta.Check(out, n).Err(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if assigned < 2 {
		t.Errorf("assigned %d times: the client's first answer was not refused", assigned)
	}
}
