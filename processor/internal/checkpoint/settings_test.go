package checkpoint

import (
	"strings"
	"testing"
)

func TestSettings(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	off := Settings{Timeout: minute, Retained: 1}
	if err := off.Validate(); err != nil {
		t.Errorf("checkpoints on request only are refused: %v", err)
	}
	for _, c := range []struct {
		change func(*Settings)
		want   string // "" if it is valid
	}{
		{func(s *Settings) { s.Interval = 10; s.Timeout = 10; s.MinPause = minute; s.Tolerable = 0 }, ""},
		{func(s *Settings) { s.Interval = -1 }, "interval of -1 ms"},
		{func(s *Settings) { s.Interval = 9 }, "interval of 9 ms is shorter"},
		{func(s *Settings) { s.Timeout = 9 }, "timeout of 9 ms is shorter"},
		{func(s *Settings) { s.MinPause = -1 }, "minimum pause of -1 ms is negative"},
		{func(s *Settings) { s.Interval = 0; s.MinPause = 1 }, "without an interval"},
		{func(s *Settings) { s.Tolerable = -2 }, "-2 tolerable failures: want -1"},
		{func(s *Settings) { s.Interval = 0; s.Tolerable = 3 }, "3 tolerable failures without an interval"},
		{func(s *Settings) { s.Retained = 0 }, "0 retained checkpoints"},
	} {
		s := Defaults()
		c.change(&s)
		switch err := s.Validate(); {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", s, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: got %v, want %q", s, err, c.want)
		}
	}
	err := (Settings{Interval: -1, MinPause: -1, Tolerable: -5}).Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("want all five mistakes, got %v", err)
	}
}

func TestCoordinatorRefusesSettings(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewCoordinator(Settings{}, nil)
}
