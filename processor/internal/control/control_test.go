package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var (
	born1 = Born{
		Timeline: 1, Fingerprint: "5f2a", InternalPartitions: 4, Wall: 1700000000000,
		Partitions: map[string]int32{"lines": 4}, TopicIDs: map[string]string{"lines": "id"}, Plan: json.RawMessage(`{"nodes":[]}`),
	}
	intent2 = Intent{Timeline: 2, By: "pod-0", Wall: 1700000000001}
	base2   = Base{Rewind: "again", Application: "word-count", Timeline: 1, Cut: 8, Manifest: "/s/manifests/m.json", SHA256: "e3b0", Superseded: []Superseded{{"counts", 0, 42}}}
	active2 = Active{Timeline: 2, From: 1, Cut: 9, Fingerprint: "5f2a", Base: base2}
	born2   = Born{Timeline: 2, Fingerprint: "5f2a", InternalPartitions: 8, Plan: json.RawMessage(`{}`)}
)

func TestEncodeGolden(t *testing.T) {
	for _, tt := range []struct {
		r          Record
		key, value string
	}{
		{born1, "born.1", `{"version":1,"timeline":1,"fingerprint":"5f2a","internalPartitions":4,"partitions":{"lines":4},"topicIds":{"lines":"id"},"wall":1700000000000,"plan":{"nodes":[]}}`},
		{intent2, "intent.2", `{"version":1,"timeline":2,"by":"pod-0","wall":1700000000001}`},
		{active2, "active.2", `{"version":1,"timeline":2,"from":1,"cut":9,"fingerprint":"5f2a","wall":0,"base":{"rewind":"again","application":"word-count","timeline":1,"cut":8,"manifest":"/s/manifests/m.json","sha256":"e3b0","superseded":[{"topic":"counts","partition":0,"end":42}]}}`},
		{Cancelled{Timeline: 2, By: "me"}, "cancelled.2", `{"version":1,"timeline":2,"by":"me","wall":0}`},
	} {
		key, value, err := Encode(tt.r)
		if err != nil || string(key) != tt.key || string(value) != tt.value {
			t.Errorf("got %s %s %v\nwant %s %s", key, value, err, tt.key, tt.value)
		}
		if back, err := Decode(key, value); err != nil || !reflect.DeepEqual(back, tt.r) {
			t.Errorf("%s: decoded %+v, %v", tt.key, back, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		key, value string
		want       error
	}{
		{"forked.7", `{"version":1,"id":7}`, ErrNewer}, // a kind of a later release
		{"intent.2", `{"version":2,"what":"ever"}`, ErrNewer},
		{"intent.2", `{"version":1,"timeline":2,"by":"","wall":0,"extra":1}`, ErrCorrupt},
		{"intent.2", `{"version":1,"timeline":3,"by":"","wall":0}`, ErrCorrupt},
		{"intent.02", `{"version":1,"timeline":2,"by":"","wall":0}`, ErrCorrupt},
		{"intent", `{"version":1,"timeline":2,"by":"","wall":0}`, ErrCorrupt},
		{"intent.0", `{"version":1,"timeline":0,"by":"","wall":0}`, ErrCorrupt},
		{"intent.2", `{"version":0,"timeline":2,"by":"","wall":0}`, ErrCorrupt},
		{"intent.2", `{"version":1,"timeline":2,"by":"","wall":0} x`, ErrCorrupt},
		{"intent.2", ``, ErrCorrupt},
		{"born.1", `{"version":1,"timeline":1}`, ErrCorrupt},
		{"active.2", `{"version":1,"timeline":2,"from":2,"base":{"rewind":"a"}}`, ErrCorrupt},
		{"active.2", `{"version":1,"timeline":2,"from":1,"base":{"rewind":""}}`, ErrCorrupt},
		{"active.2", `{"version":1,"timeline":2,"from":1,"base":{"rewind":"a","superseded":[{"topic":"t","partition":0,"end":-1}]}}`, ErrCorrupt},
	} {
		if r, err := Decode([]byte(tt.key), []byte(tt.value)); !errors.Is(err, tt.want) {
			t.Errorf("%s %s: got %+v, %v, want %v", tt.key, tt.value, r, err, tt.want)
		}
	}
	for _, r := range []Record{Intent{}, Born{Timeline: 1}, Born{Timeline: 1, Fingerprint: "x", InternalPartitions: 1, Plan: json.RawMessage("{}"), Partitions: map[string]int32{"a": 0}}} {
		if _, _, err := Encode(r); err == nil {
			t.Errorf("%+v is encoded", r)
		}
	}
}

func fold(t *testing.T, records ...Record) *State {
	t.Helper()
	s := new(State)
	for _, r := range records {
		if err := s.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestState(t *testing.T) {
	s := fold(t)
	if _, ok := s.Newest(); ok || s.Active() != 0 || s.Next() != 1 || s.Check(1) != nil {
		t.Fatal("an application without records is not born")
	}
	s = fold(t, born1)
	if b, ok := s.Newest(); !ok || b.Timeline != 1 || s.Next() != 2 || s.Check(1) != nil {
		t.Fatalf("%+v", s)
	}
	s = fold(t, born1, intent2)
	var stop *StopError
	if err := s.Check(1); !errors.As(err, &stop) || *stop != (StopError{Timeline: 1, Newer: 2, Intended: true, By: "pod-0"}) || !strings.Contains(err.Error(), "timeline 2") {
		t.Fatalf("an intent stops the lanes of older timelines: %v", err)
	}
	if b, _ := s.Newest(); b.Timeline != 1 || len(s.Pending()) != 1 || s.Next() != 3 {
		t.Fatal("an intended timeline does not count yet")
	}
	s = fold(t, born1, intent2, Cancelled{Timeline: 2})
	if s.Check(1) != nil || s.Next() != 3 || len(s.Pending()) != 0 {
		t.Fatal("after the cancellation timeline 1 goes on, and 2 is never used again")
	}
	s = fold(t, born1, intent2, active2)
	if _, ok := s.Newest(); ok || s.Active() != 2 || s.Cuts().Last() != 9 || s.Check(2) != nil {
		t.Fatal("an active timeline that is not born yet")
	}
	if err := s.Check(1); !errors.As(err, &stop) || stop.Intended {
		t.Fatalf("got %v", err)
	}
	s = fold(t, born1, intent2, Intent{Timeline: 3}, Active{Timeline: 3, From: 1, Base: base2}, Born{Timeline: 3, Fingerprint: "x", Plan: json.RawMessage("{}"), InternalPartitions: 1})
	if b, ok := s.Newest(); !ok || b.Timeline != 3 || len(s.Pending()) != 0 {
		t.Fatal("an attempt that died is over when a later one is active")
	}
	third := Active{Timeline: 3, From: 2, Base: Base{Rewind: "third"}}
	if s = fold(t, born1, intent2, active2, born2, Intent{Timeline: 3}, third); s.Active() != 3 {
		t.Fatalf("active is %d", s.Active())
	}
	if a, ok := s.Rewound("again"); !ok || a.Timeline != 2 {
		t.Fatal("a rewind stays done when another one has come after it")
	}
	if _, ok := s.Rewound("fourth"); ok {
		t.Fatal("a rewind that nobody has made")
	}
	if s = fold(t, Intent{Timeline: 1}, Active{Timeline: 1, Base: base2}, born1); s.Active() != 1 || s.Check(1) != nil {
		t.Fatal("the first timeline may come from elsewhere")
	}
	if b, ok := s.Birth(1); !ok || b.Timeline != 1 {
		t.Fatal("older births stay known")
	}
}

// A savepoint that was claimed is the application's until its deletion is said. What is older than the last rewind to
// it is no reason to let it go.
func TestStateOfClaims(t *testing.T) {
	rewind := func(n uint32, cut uint64, claim string) []Record {
		return []Record{Intent{Timeline: n}, Active{Timeline: n, From: n - 1, Cut: cut, Base: Base{Rewind: number(n), SHA256: "s" + claim, Claim: claim}},
			Born{Timeline: n, Fingerprint: "x", Plan: json.RawMessage("{}"), InternalPartitions: 1}}
	}
	sees := func(s *State) string {
		var out string
		for _, c := range s.Claimed() {
			out += fmt.Sprintf("%d since %d %t; ", c.Timeline, c.Since, c.Dropped)
		}
		return out
	}
	log := slices.Concat([]Record{born1}, rewind(2, 9, "a"), rewind(3, 12, "b"))
	for _, tt := range []struct {
		more []Record
		want string
	}{
		{nil, "2 since 9 false; 3 since 12 false; "},
		{[]Record{Claim{Timeline: 2}}, "2 since 9 true; 3 since 12 false; "},
		{[]Record{Claim{Timeline: 2}, Claim{Timeline: 2, Deleted: true}}, "3 since 12 false; "},
		{[]Record{Claim{Timeline: 2, Deleted: true}}, "3 since 12 false; "}, // compacted
		{rewind(4, 20, "a"), "2 since 20 false; 3 since 12 false; 4 since 20 false; "},
	} {
		if got := sees(fold(t, append(slices.Clone(log), tt.more...)...)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.more, got, tt.want)
		}
	}
	for _, wrong := range [][]Record{
		{Claim{Timeline: 1}}, {Claim{Timeline: 4}}, {Claim{Timeline: 2}, Claim{Timeline: 2}},
		{Claim{Timeline: 2, Deleted: true}, Claim{Timeline: 2}}, {Claim{Timeline: 2, Deleted: true}, Claim{Timeline: 2, Deleted: true}},
	} {
		s := fold(t, append(slices.Clone(log), wrong[:len(wrong)-1]...)...)
		var order *OrderError
		if err := s.Apply(wrong[len(wrong)-1]); !errors.As(err, &order) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// Loops end with their timeline: those of the next one have not.
func TestStateOfQuiet(t *testing.T) {
	s := fold(t, born1, Quiet{Timeline: 1})
	if !s.Quiet(1) || s.Quiet(0) || s.Quiet(2) {
		t.Errorf("%+v", s)
	}
	if s = fold(t, born1, Quiet{Timeline: 1}, intent2, active2, born2); s.Quiet(2) {
		t.Error("the next timeline is quiet")
	}
	var order *OrderError
	if err := s.Apply(Quiet{Timeline: 3}); !errors.As(err, &order) {
		t.Errorf("of a timeline that is not active: %v", err)
	}
}

func TestStateRefusesOrders(t *testing.T) {
	for name, records := range map[string][]Record{
		"born twice":                {born1, born1},
		"born without activation":   {born1, born2},
		"first birth on old number": {intent2, Cancelled{Timeline: 2}, born1},
		"intent on a used number":   {born1, Intent{Timeline: 1}},
		"active without intent":     {born1, active2},
		"active over another one":   {born1, intent2, active2, born2, Intent{Timeline: 3}, Active{Timeline: 3, From: 1, Base: base2}},
		"active after cancellation": {born1, intent2, Cancelled{Timeline: 2}, active2},
		"cancelled without intent":  {born1, Cancelled{Timeline: 2}},
		"old birth after rewind":    {born1, intent2, active2, born2, born1},
	} {
		s := new(State)
		var order *OrderError
		for i, r := range records {
			err := s.Apply(r)
			if last := i == len(records)-1; last != (err != nil) || last && !errors.As(err, &order) {
				t.Errorf("%s: record %d: %v", name, i, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []Record{born1, intent2, active2, Cancelled{Timeline: 3, By: "<&>"}} {
		key, value, _ := Encode(r)
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := Decode(key, value)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		key2, value2, err := Encode(r)
		if err != nil || !bytes.Equal(key, key2) {
			t.Fatalf("%s %s: encodes to key %s, %v", key, value, key2, err)
		}
		again, err := Decode(key2, value2)
		if err != nil {
			t.Fatal(err)
		}
		if _, value3, _ := Encode(again); !bytes.Equal(value2, value3) {
			t.Fatalf("not stable: %s, then %s", value2, value3)
		}
	})
}
