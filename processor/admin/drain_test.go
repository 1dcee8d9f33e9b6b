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

// A drain began with the first request for one, and is as the last one says; that of a timeline before is none of this one.
func TestStatusOfDrain(t *testing.T) {
	ask := func(id string, timeline uint32, wall int64) control.Request {
		return control.Request{ID: id, Timeline: timeline, Kind: checkpoint.Savepoint, Stop: true, Drain: true, By: "ada@mill", Wall: wall}
	}
	cut := func(n uint64, r control.Request) control.Cut {
		return control.Cut{ID: n, Kind: checkpoint.Savepoint, Asked: &r}
	}
	first, second := ask("first", 1, 1000), ask("second", 1, 5000)
	plain := control.Request{ID: "plain", Timeline: 1, Kind: checkpoint.Savepoint, Stop: true, By: "ada@mill", Wall: 500}
	end, now := watermark(offsets.EndOfTime), watermark(7)
	var state control.State
	for _, step := range []struct {
		record control.Record
		tasks  []Task
		want   string
	}{
		{control.Born{Timeline: 1, Fingerprint: "f", InternalPartitions: 1, Plan: []byte(`{}`)}, nil, `null`},
		{plain, []Task{{Watermark: now}, {}}, `null`},
		{first, []Task{{Watermark: now}, {}}, `{"request":"first","by":"ada@mill","since":"1970-01-01T00:00:01Z","tasks":2,"ended":0}`},
		{control.Trigger{Cut: cut(1, first), Timeline: 1, Wall: 2000}, []Task{{Watermark: end}, {Watermark: now}}, `{"request":"first","by":"ada@mill","since":"1970-01-01T00:00:01Z","tasks":2,"ended":1}`},
		{control.Declined{Cut: cut(1, first), Timeline: 1, Reason: checkpoint.UploadFailed, Why: "no room", Triggered: 2000, Wall: 3000}, []Task{{Watermark: end}, {Watermark: end}}, `{"request":"first","by":"ada@mill","since":"1970-01-01T00:00:01Z","tasks":2,"ended":2,"declined":"upload-failed: no room"}`},
		{second, []Task{{Watermark: end}, {Watermark: end}}, `{"request":"second","by":"ada@mill","since":"1970-01-01T00:00:01Z","tasks":2,"ended":2}`},
		{control.Complete{Cut: cut(2, second), Timeline: 1, Manifest: "manifests/2-0.json", Path: "/copies/last", Triggered: 6000, Wall: 7000}, []Task{{Watermark: end}, {Watermark: end}},
			`{"request":"second","by":"ada@mill","since":"1970-01-01T00:00:01Z","tasks":2,"ended":2,"done":"1970-01-01T00:00:07Z","path":"/copies/last"}`},
	} {
		if err := state.Apply(step.record); err != nil {
			t.Fatalf("%+v: %v", step.record, err)
		}
		got, err := json.Marshal(drain(&state, &Status{Timeline: 1, Tasks: step.tasks}, false))
		if err != nil || string(got) != step.want {
			t.Errorf("behind %+v\n%s, %v, want\n%s", step.record, got, err, step.want)
		}
		if other := drain(&state, &Status{Timeline: 2, Tasks: step.tasks}, false); other != nil {
			t.Errorf("of timeline 2: %+v", other)
		}
	}
	if d := drain(&state, &Status{Timeline: 1}, true); !d.Loops {
		t.Errorf("nobody has said that loops are empty: %+v", d)
	}
}
