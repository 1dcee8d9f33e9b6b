package control

import (
	"testing"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// What became of each savepoint, in the order of their cuts.
func TestStateOfSavepoints(t *testing.T) {
	request, trigger, declined, complete, _ := cutRecords()
	again := Request{ID: "r2", Timeline: 1, Kind: checkpoint.Savepoint, Path: "/elsewhere"}
	second := Request{ID: "r2", Timeline: 1, Kind: checkpoint.Savepoint, Path: "/s", Format: "portable", Stop: true}
	cut := Cut{ID: 2, Kind: checkpoint.Savepoint, Asked: &second}
	waits := Request{ID: "r0", Timeline: 1, Kind: checkpoint.Savepoint}
	s := fold(t, born1, waits, again, request, second, trigger, declined, Request{ID: "c", Timeline: 1}, Trigger{Cut: cut, Timeline: 1, Wall: 9}, again)
	all := s.Savepoints()
	if len(all) != 3 || all[0].Request != request || all[1].Request != second || all[2].Request != waits {
		t.Fatalf("%+v", all)
	}
	if all[0].Cut != 1 || all[0].Triggered != trigger.Wall || all[0].Declined == nil || *all[0].Declined != declined || all[0].Complete != nil {
		t.Errorf("%+v", all[0])
	}
	if p, ok := s.Savepoint("r2"); !ok || p.Cut != 2 || p.Triggered != 9 || p.Declined != nil || p.Complete != nil {
		t.Errorf("%+v", p)
	}
	if p, ok := s.Savepoint("r0"); !ok || p.Cut != 0 {
		t.Errorf("%+v", p)
	}
	if _, ok := s.Savepoint("c"); ok {
		t.Error("a checkpoint is no savepoint")
	}
	done := Complete{Cut: cut, Timeline: 1, Manifest: "m", SHA256: sum, Path: "/s", Triggered: 9}
	if StopsAt(complete) || !StopsAt(done) || !StopsAt(Stop{ID: "s", Timeline: 1}) || StopsAt(trigger) {
		t.Error("who stops whom is mixed up")
	}
	if err := s.Apply(done); err != nil {
		t.Fatal(err)
	}
	if p, _ := s.Savepoint("r2"); p.Complete == nil || *p.Complete != done {
		t.Errorf("%+v", p)
	}
	if err := s.Apply(Stop{ID: "s", Timeline: 2}); err == nil {
		t.Error("a stop of a timeline that is none")
	}
}

// A drain holds for its timeline from the request on, whatever becomes of its savepoint, and also where compaction has
// left nothing of the request but what the cut says of it. A rewind ends it.
func TestStateOfDrains(t *testing.T) {
	drain := Request{ID: "d1", Timeline: 1, Kind: checkpoint.Savepoint, Stop: true, Drain: true, By: "ann"}
	cut := Cut{ID: 1, Kind: checkpoint.Savepoint, Asked: &drain}
	declined := Declined{Cut: cut, Timeline: 1, Reason: checkpoint.TimedOut}
	plain := fold(t, born1, Request{ID: "r", Timeline: 1, Kind: checkpoint.Savepoint, Stop: true})
	if plain.Draining(1) || plain.Cuts().Draining() {
		t.Error("a stop is no drain")
	}
	asked := fold(t, born1, drain)
	if !asked.Draining(1) || asked.Draining(2) || !asked.Cuts().Draining() {
		t.Error("it was asked for, of timeline 1")
	}
	for _, s := range []*State{fold(t, born1, drain, Trigger{Cut: cut, Timeline: 1}, declined), fold(t, born1, declined)} {
		if _, over := s.Drained(1); !s.Draining(1) || over || s.Cuts().Draining() {
			t.Error("it stands although its savepoint was declined, and is not over")
		}
	}
	done := Complete{Cut: cut, Timeline: 1, Manifest: "m", SHA256: sum, Path: "/s"}
	s := fold(t, born1, done)
	if k, over := s.Drained(1); !over || k != done {
		t.Errorf("%+v, %t", k, over)
	}
	if _, over := s.Drained(2); over {
		t.Error("timeline 2 was never drained")
	}
	for _, bad := range []Request{{ID: "d", Timeline: 1, Kind: checkpoint.Savepoint, Drain: true}, {ID: "d", Timeline: 1, Stop: true, Drain: true}} {
		if _, _, err := Encode(bad); err == nil {
			t.Errorf("%+v was written", bad)
		}
	}
}
