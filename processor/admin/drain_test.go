package admin

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

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
