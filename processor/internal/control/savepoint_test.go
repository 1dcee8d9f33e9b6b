package control

import (
	"testing"

	"github.com/weir-stream/weir/processor/internal/checkpoint"
)

// What became of each savepoint, in the order in which they were asked for.
func TestStateOfSavepoints(t *testing.T) {
	request, trigger, declined, complete, _ := cutRecords()
	second := Request{ID: "r2", Timeline: 1, Kind: checkpoint.Savepoint, Path: "/s", Format: "portable", Stop: true}
	cut := Cut{ID: 2, Kind: checkpoint.Savepoint, Request: "r2"}
	again := second
	again.Path = "/elsewhere"
	s := fold(t, born1, request, second, again, trigger, declined, Request{ID: "c", Timeline: 1}, Trigger{Cut: cut, Timeline: 1})
	all := s.Savepoints()
	if len(all) != 2 || all[0].Request != request || all[1].Request != second {
		t.Fatalf("%+v", all)
	}
	if all[0].Trigger == nil || *all[0].Trigger != trigger || all[0].Declined == nil || *all[0].Declined != declined || all[0].Complete != nil {
		t.Errorf("%+v", all[0])
	}
	if p, ok := s.Savepoint("r2"); !ok || p.Trigger == nil || p.Declined != nil || p.Complete != nil {
		t.Errorf("%+v", p)
	}
	if _, ok := s.Savepoint("c"); ok {
		t.Error("a checkpoint is no savepoint")
	}
	done := Complete{Cut: cut, Timeline: 1, Manifest: "m", SHA256: sum, Path: "/s"}
	if s.StopsAt(complete) || !s.StopsAt(done) || !s.StopsAt(Stop{ID: "s", Timeline: 1}) || s.StopsAt(trigger) {
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
