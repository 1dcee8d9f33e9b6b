package admin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
	"github.com/weir-stream/weir/processor/internal/control"
)

// A loop has no time that could end, so that a drain would not know when it is through.
func TestLoopsAreNotDrained(t *testing.T) {
	for plan, want := range map[string]string{
		`{"sub_topologies":[{"inputs":[{"topic":"in"},{"topic":"again","internal":true,"loop":true}]}]}`: "the loop again has no time",
		`{"sub_topologies":[{"inputs":[{"topic":"in"},{"topic":"hop","internal":true}]}]}`:               "",
	} {
		var state control.State
		born := control.Born{Timeline: 1, InternalPartitions: 1, Partitions: map[string]int32{"in": 1}, Plan: json.RawMessage(plan), Fingerprint: "f", TopicIDs: map[string]string{}, Wall: 1}
		if err := state.Apply(born); err != nil {
			t.Fatal(err)
		}
		c := &Client{application: "app"}
		err := c.drainable(&state)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrLoop) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", plan, err)
		}
	}
}

// What follows on a declined savepoint is another thing behind the end of time.
func TestDeclinedBehindADrain(t *testing.T) {
	c := &Client{application: "app"}
	for drain, want := range map[bool]string{false: "the application goes on", true: "stays drained"} {
		err := c.declinedSavepoint(Savepoint{ID: "s", Drain: drain, Reason: checkpoint.UploadFailed.String(), Why: "no room"})
		var e *processor.Error
		if !errors.Is(err, ErrDeclined) || !errors.As(err, &e) || !strings.Contains(e.Fix, want) || !strings.Contains(e.What, "no room") {
			t.Errorf("drain %t: %v", drain, err)
		}
	}
}

// The end of time is no moment, and RFC 3339 ends with the year 9999.
func TestTheEndOfTimeIsShown(t *testing.T) {
	for ms, want := range map[int64]string{offsets.NoTime: "null", 0: `"1970-01-01T00:00:00Z"`, offsets.EndOfTime: `"end"`} {
		b, err := json.Marshal(watermark(ms))
		if err != nil || string(b) != want {
			t.Errorf("%d is %s, %v", ms, b, err)
		}
		var back *Time
		if err := json.Unmarshal(b, &back); err != nil || ms != offsets.NoTime && back.UnixMilli() != ms {
			t.Errorf("%s is %v, %v", b, back, err)
		}
	}
}
