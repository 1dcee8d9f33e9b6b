package offsets_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

func TestTasksAndEpochsAsText(t *testing.T) {
	type both struct {
		Task  offsets.Task    `json:"task"`
		Epoch offsets.EpochID `json:"epoch"`
	}
	for text, want := range map[string]both{
		`{"task":"0-3","epoch":"c7.p1001.e3"}`: {offsets.Task{Sub: 0, Partition: 3}, offsets.EpochID{Counter: 7, ProducerID: 1001, ProducerEpoch: 3}},
		`{"task":"12-0","epoch":"birth"}`:      {Task: offsets.Task{Sub: 12}},
		`{"task":"0-0","epoch":"c18446744073709551615.p-1.e-32768"}`: {
			Epoch: offsets.EpochID{Counter: math.MaxUint64, ProducerID: -1, ProducerEpoch: math.MinInt16},
		},
	} {
		var got both
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
		if again, err := json.Marshal(got); err != nil || string(again) != text {
			t.Errorf("%+v encodes to %s, %v", got, again, err)
		}
	}
}

func TestParseEpochIDRefuses(t *testing.T) {
	for _, s := range []string{"", "c", "c7", "c7.p1001", "c7.p1001.e", "7.p1001.e3", "c07.p1001.e3", "c7.p+1.e3", "c7.p1001.e32768", "c7.p1001.e3 ", "c0.p0.e0", "Birth"} {
		if e, err := offsets.ParseEpochID(s); err == nil {
			t.Errorf("%q is %+v", s, e)
		}
	}
}
