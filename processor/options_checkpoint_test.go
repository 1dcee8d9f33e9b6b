package processor

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// What the words of Checkpoints may be, and what does not go together.
func TestCheckpointsAreValidated(t *testing.T) {
	for _, tt := range []struct {
		of   Checkpoints
		want []string // none if it is valid
	}{
		{of: Checkpoints{}},
		{of: Checkpoints{Dir: "/c", Mode: "exactly-once", OnTooManyFailures: "report", OnCancel: "retain", Compression: "zstd"}},
		{of: Checkpoints{Dir: "/c", Mode: "at-least-once", OnTooManyFailures: "fail", OnCancel: "delete", Compression: "none", TolerableFailures: 3}},
		{of: Checkpoints{Dir: "/c", OnTooManyFailures: "fail"}},
		{of: Checkpoints{Dir: "/c", OnTooManyFailures: "report", TolerableFailures: -1}},
		{of: Checkpoints{Dir: "/c", OnCancel: "delete", Interval: -1}},
		{Checkpoints{Dir: "/c", Mode: "at-most-once"}, []string{`mode of checkpoints is "at-most-once"`, "exactly-once or at-least-once"}},
		{Checkpoints{Dir: "/c", OnTooManyFailures: "stop"}, []string{`"stop"`, "report or fail"}},
		{Checkpoints{Dir: "/c", OnCancel: "keep"}, []string{`"keep"`, "retain or delete"}},
		{Checkpoints{Dir: "/c", Compression: "zip"}, []string{`compression of checkpoints is "zip"`, "zstd or none"}},
		{Checkpoints{Dir: "/c", OnTooManyFailures: "fail", TolerableFailures: -1}, []string{"never too many", "a number of TolerableFailures"}},
		{Checkpoints{Dir: "/c", OnTooManyFailures: "fail", Interval: -1}, []string{"on request only", "an interval"}},
		{Checkpoints{OnCancel: "delete"}, []string{"no Dir", "OnCancel:delete"}},
		{Checkpoints{Mode: "at-least-once"}, []string{"no Dir"}},
	} {
		err := tt.of.validate()
		if (err != nil) != (len(tt.want) > 0) {
			t.Errorf("%+v: %v", tt.of, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v lacks %q", tt.of, err, want)
			}
		}
	}
}

// Both modes are the same machine, and the same settings.
func TestModesAreOne(t *testing.T) {
	at := func(mode string) checkpoint.Settings {
		return Checkpoints{Dir: "/c", Interval: time.Second, Mode: mode}.settings()
	}
	if at("at-least-once") != at("exactly-once") || at("") != at("exactly-once") {
		t.Error("a mode changes the settings")
	}
}
