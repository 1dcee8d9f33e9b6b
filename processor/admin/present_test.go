package admin

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A coordinator trims what the tasks have said while `weir status` is about to read it: that is no failure. Once a cancel
// killed at its twelfth step showed it, in one run of three.
func TestTrimmedWhileItIsRead(t *testing.T) {
	const topic = "app.1.acks"
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := New("app", kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, key := range []string{"a", "b", "c"} {
		if err := a.client.ProduceSync(t.Context(), kgo.KeyStringRecord(key, key)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	listed := 0
	c.ControlKey(kmsg.ListOffsets.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if listed++; req.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].Timestamp == -1 && listed == 2 { // the end, behind the start
			c.SleepControl(func() {
				floors := kadm.Offsets{}
				floors.AddOffset(topic, 0, 2, -1)
				if _, err := kadm.NewClient(a.client).DeleteRecords(t.Context(), floors); err != nil {
					t.Error(err)
				}
			})
		}
		return nil, nil, false
	})
	var keys []string
	err = a.readPresent(t.Context(), topic, func(key, _ []byte) error { keys = append(keys, string(key)); return nil })
	if err != nil || !slices.Equal(keys, []string{"c"}) {
		t.Errorf("%v, %v, %d lists", keys, err, listed)
	}
	if listed < 4 {
		t.Errorf("it was not read again: %d lists", listed)
	}
}
