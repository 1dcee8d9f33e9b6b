package window_test

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/topology/window"
)

func TestStart(t *testing.T) {
	s := window.Tumbling(10 * time.Second)
	for at, want := range map[int64]int64{
		0: 0, 1: 0, 9_999: 0, 10_000: 10_000, 10_001: 10_000, -1: -10_000, -10_000: -10_000, -10_001: -20_000,
	} {
		if got := s.Start(at); got != want {
			t.Errorf("Start(%d) = %d, want %d", at, got, want)
		}
	}
}

func FuzzStart(f *testing.F) {
	f.Add(int64(-1), int64(1))
	f.Add(int64(1_700_000_000_123), int64(3_600_000))
	f.Fuzz(func(t *testing.T, at, size int64) {
		if size < 1 || size > 1<<40 || at < -1<<61 || at > 1<<61 {
			t.Skip()
		}
		s := window.Tumbling(time.Duration(size%(1<<33)+1) * time.Millisecond)
		start := s.Start(at)
		if start > at || at >= start+s.Size().Milliseconds() || start%s.Size().Milliseconds() != 0 {
			t.Fatalf("Start(%d) = %d, size %v", at, start, s.Size())
		}
	})
}

func TestCheck(t *testing.T) {
	good := window.Tumbling(time.Hour).Grace(5 * time.Minute).EmitFinal()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	if got, want := good.String(), "tumbling 1h0m0s, grace 5m0s, final"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	for name, bad := range map[string]window.Spec{
		"zero":        {},
		"negative":    window.Tumbling(-time.Second),
		"microsecond": window.Tumbling(time.Second + time.Microsecond),
		"grace":       window.Tumbling(time.Second).Grace(-1),
		"fine grace":  window.Tumbling(time.Second).Grace(time.Microsecond),
	} {
		if bad.Check() == nil {
			t.Errorf("%s: Check() = nil", name)
		}
	}
}

func TestEmission(t *testing.T) {
	s := window.Tumbling(time.Second)
	for want, spec := range map[window.Emission]window.Spec{
		window.Updates: s.EmitFinal().EmitUpdates(), window.Commits: s.EmitOnCommit(), window.Final: s.EmitFinal(),
	} {
		if got := spec.Emission(); got != want {
			t.Errorf("Emission() = %v, want %v", got, want)
		}
	}
}
