package control

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

var sum = strings.Repeat("0f", 32)

func cutRecords() (Request, Trigger, Declined, Complete, Dropped) {
	request := Request{ID: "r1", Timeline: 1, Kind: checkpoint.Savepoint, By: "ann", Wall: 5}
	cut := Cut{ID: 1, Kind: checkpoint.Savepoint, Asked: &request}
	complete := Complete{Cut: cut, Timeline: 1, Manifest: "m", SHA256: sum, Triggered: 6, Wall: 7}
	return request, Trigger{Cut: cut, Timeline: 1, Wall: 6}, Declined{Cut: cut, Timeline: 1, Reason: checkpoint.TimedOut, Triggered: 6, Wall: 7},
		complete, Dropped{Complete: complete, At: 8}
}

// What the machines know of cuts, and where the manifests are.
func TestStateOfCuts(t *testing.T) {
	request, trigger, declined, complete, dropped := cutRecords()
	s := fold(t, born1)
	if _, open := s.Cuts().Undecided(); open || s.Cuts().Last() != 0 || len(s.Kept()) != 0 {
		t.Fatalf("%+v", s)
	}
	s = fold(t, born1, Request{ID: "r1", Timeline: 1, Kind: checkpoint.Checkpoint}, request, trigger, Request{ID: "r1", Timeline: 1, Kind: checkpoint.Checkpoint})
	if got, open := s.Cuts().Undecided(); !open || trigger.fact() != got || s.Cuts().Last() != 1 {
		t.Fatalf("%+v", s)
	}
	if got, open := s.Undecided(); !open || got != trigger {
		t.Fatalf("%+v", got)
	}
	if r, ok := s.Request("r1"); !ok || r != request {
		t.Fatalf("the last request before its cut counts, got %+v", r)
	}
	s = fold(t, born1, request, trigger, declined)
	if _, open := s.Undecided(); open || s.Cuts().Last() != 1 || len(s.Kept()) != 0 {
		t.Fatalf("%+v", s)
	}
	s = fold(t, born1, request, trigger, complete)
	if k := s.Kept(); len(k) != 1 || k[0] != complete {
		t.Fatalf("%+v", k)
	}
	if k, ok := s.Complete(1); !ok || k != complete {
		t.Fatalf("%+v", k)
	}
	for _, records := range [][]Record{{born1, request, trigger, complete, dropped}, {born1, dropped}} {
		s = fold(t, records...)
		if k := s.Kept(); len(k) != 0 {
			t.Fatalf("%+v", k)
		}
		if c, ok := s.Dropped(1); !ok || c != complete {
			t.Fatalf("what is to be deleted stays known, got %+v", c)
		}
		if err := s.Apply(Forgotten{ID: 1}); err != nil {
			t.Fatal(err)
		}
		if c, ok := s.Dropped(1); ok {
			t.Fatalf("what is deleted need not be known, got %+v", c)
		}
	}
}

// Ids are not used again by the next timeline, and what was completed before it is kept: the
// next rewind may go there.
func TestStateOfCutsOverTimelines(t *testing.T) {
	request, trigger, _, complete, _ := cutRecords()
	s := fold(t, born1, request, trigger, complete, intent2, Active{Timeline: 2, From: 1, Cut: 9, Fingerprint: "5f2a"}, born2)
	if s.Cuts().Last() != 9 || len(s.Kept()) != 1 {
		t.Fatalf("%+v", s)
	}
	if err := s.Apply(Trigger{Cut: Cut{ID: 9}, Timeline: 2}); err == nil {
		t.Fatal("id 9 is used again")
	}
	if err := s.Apply(Trigger{Cut: Cut{ID: 10}, Timeline: 2}); err != nil {
		t.Fatal(err)
	}
}

func TestStateRefusesOrdersOfCuts(t *testing.T) {
	request, trigger, declined, complete, _ := cutRecords()
	for name, records := range map[string][]Record{
		"before birth":            {request},
		"id used":                 {born1, trigger, declined, trigger},
		"complete after declined": {born1, trigger, declined, complete},
		"declined after complete": {born1, trigger, complete, declined},
		"trigger of a later life": {born1, Trigger{Cut: Cut{ID: 1}, Timeline: 2}},
	} {
		s := new(State)
		var mine *OrderError
		var cuts *checkpoint.OrderError
		for i, r := range records {
			err := s.Apply(r)
			if last := i == len(records)-1; last != (err != nil) || last && !errors.As(err, &mine) && !errors.As(err, &cuts) {
				t.Errorf("%s: record %d: %v", name, i, err)
			}
		}
	}
}

func TestCutRecordsRefuse(t *testing.T) {
	for _, r := range []Record{
		Request{ID: "UPPER", Timeline: 1}, Request{ID: "a"},
		Trigger{Timeline: 1}, Trigger{Cut: Cut{ID: 1, Asked: &Request{ID: "a.b"}}, Timeline: 1},
		Declined{Timeline: 1}, Dropped{Complete: Complete{Timeline: 1}}, Forgotten{},
		Complete{Cut: Cut{ID: 1}, Timeline: 1, Manifest: "m", SHA256: "00"}, Complete{Cut: Cut{ID: 1}, Timeline: 1, SHA256: sum},
	} {
		if _, _, err := Encode(r); err == nil {
			t.Errorf("%+v is encoded", r)
		}
	}
	for key, value := range map[string]string{
		"cut.7":  `{"version":1,"state":"triggered","cut":7,"kind":"backup","timeline":1,"wall":0}`,
		"cut.8":  `{"version":1,"state":"triggered","cut":7,"kind":"checkpoint","timeline":1,"wall":0}`,
		"cut.9":  `{"version":1,"state":"declined","cut":9,"kind":"checkpoint","timeline":1,"reason":"tired","triggered":0,"wall":0}`,
		"cut.10": `{"version":1,"cut":10,"kind":"checkpoint","timeline":1,"wall":0}`,
		"cut.0":  ``, "cut.07": ``, "cut": ``, "cut.": ``, "cut.x": ``,
	} {
		if r, err := Decode([]byte(key), []byte(value)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %+v, %v", key, r, err)
		}
	}
	if r, err := Decode([]byte("cut.7"), []byte(`{"version":1,"state":"lost","cut":7}`)); !errors.Is(err, ErrNewer) {
		t.Errorf("a state of a later release: got %+v, %v", r, err)
	}
}

func messages() []Message {
	epoch := offsets.EpochID{Counter: 3, ProducerID: 7, ProducerEpoch: 1}
	return []Message{
		Ack{Task: offsets.Task{Sub: 1, Partition: 2}, Cut: 4, Epoch: epoch, Positions: []Position{{"in", 2, 9}}, Time: offsets.NoTime, Times: []int64{offsets.NoTime}, Wall: 1},
		Ack{Task: offsets.Task{}, Cut: 4, Epoch: epoch, Positions: []Position{{"a", 0, 0}, {"b", 0, 1}}, Times: []int64{1, 2}},
		Uploaded{Task: offsets.Task{Sub: 1, Partition: 2}, Cut: 4, Epoch: epoch, Stores: []byte(`[]`), Wall: 2},
		Uploaded{Task: offsets.Task{Sub: 1, Partition: 2}, Cut: 4, Epoch: epoch, Failed: "full"},
		Moved{Task: offsets.Task{Sub: 1, Partition: 2}, Cut: 4, Wall: 3},
	}
}

func TestMessages(t *testing.T) {
	for _, m := range messages() {
		key, value, err := EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeMessage(key, value); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, %v, want %+v", got, err, m)
		}
	}
	epoch := offsets.EpochID{Counter: 3, ProducerID: 7, ProducerEpoch: 1}
	good := []Position{{"in", 0, 1}}
	for _, m := range []Message{
		Ack{Cut: 1, Epoch: epoch}, Ack{Cut: 1, Epoch: epoch, Positions: good}, Ack{Epoch: epoch, Positions: good, Times: []int64{1}},
		Ack{Cut: 1, Positions: good, Times: []int64{1}}, Ack{Cut: 1, Epoch: epoch, Positions: []Position{{"", 0, 1}}, Times: []int64{1}},
		Ack{Cut: 1, Epoch: epoch, Positions: []Position{{"a", 0, -1}}, Times: []int64{1}}, Ack{Task: offsets.Task{Sub: -1}, Cut: 1, Epoch: epoch, Positions: good, Times: []int64{1}},
		Uploaded{Cut: 1, Epoch: epoch}, Uploaded{Cut: 1, Failed: "x"}, Moved{Task: offsets.Task{}},
	} {
		if _, _, err := EncodeMessage(m); err == nil {
			t.Errorf("%+v is encoded", m)
		}
	}
	for _, tt := range []struct {
		key, value string
		want       error
	}{
		{"left.0-1", `{"version":1,"task":"0-1"}`, ErrNewer},
		{"ack.0-1", `{"version":2}`, ErrNewer},
		{"ack.0-1", `{"cut":2}`, ErrCorrupt},
		{"ack.0-1", ``, ErrCorrupt},
		{"uploaded.0-1", `{"version":1,"task":"0-2","cut":1,"epoch":"c3.p7.e1","failed":"x","wall":0}`, ErrCorrupt},
		{"uploaded", `{"version":1,"task":"0-2","cut":1,"epoch":"c3.p7.e1","failed":"x","wall":0}`, ErrCorrupt},
		{"uploaded.0-2", `{"version":1,"task":"0-2","cut":1,"epoch":"c03.p7.e1","failed":"x","wall":0}`, ErrCorrupt},
		{"uploaded.0-2", `{"version":1,"task":"0-2","cut":1,"epoch":"c3.p7.e1","failed":"x","wall":0} ` + "x", ErrCorrupt},
	} {
		if m, err := DecodeMessage([]byte(tt.key), []byte(tt.value)); !errors.Is(err, tt.want) {
			t.Errorf("%s %s: got %+v, %v, want %v", tt.key, tt.value, m, err, tt.want)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range messages() {
		key, value, _ := EncodeMessage(m)
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		m, err := DecodeMessage(key, value)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again, _, err := EncodeMessage(m); err != nil || string(again) != string(key) {
			t.Fatalf("%s: encodes to key %s, %v", key, again, err)
		}
	})
}
