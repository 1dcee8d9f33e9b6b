package main

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/processor"
)

func TestEpochTimes(t *testing.T) {
	var e epochTimes
	if got := e.result(); got != (benchEpochs{}) {
		t.Errorf("of nothing: %+v", got)
	}
	for i := range 1000 {
		e.add(processor.CommittedInfo{Ending: time.Duration(1000-i) * time.Millisecond})
	}
	e.add(processor.CommittedInfo{Ending: 7 * time.Millisecond, Cuts: 2, CutWork: 50 * time.Microsecond})
	got := e.result()
	if got.Plain != (quantiles{N: 1000, P50: 500, P99: 990, P999: 999, Max: 1000}) {
		t.Errorf("%+v", got.Plain)
	}
	if got.Cuts != (quantiles{1, 7, 7, 7, 7}) || got.CutWork != (quantiles{1, 0.05, 0.05, 0.05, 0.05}) {
		t.Errorf("%+v", got)
	}
}
