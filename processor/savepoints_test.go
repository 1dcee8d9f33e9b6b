package processor

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/processor/internal/control"
)

// Where a savepoint goes: what was asked for, or below what the worker has, the place for
// savepoints first.
func TestPlaceOfSavepoints(t *testing.T) {
	here, err := filepath.Abs("rel")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of           Checkpoints
		path, format string
		want, refuse string
	}{
		{of: Checkpoints{Dir: "/c"}, want: "/c/app/savepoints/s1"},
		{of: Checkpoints{Dir: "/c", SavepointDir: "s3://bucket/x?region=eu"}, want: "s3://bucket/x/app/savepoints/s1?region=eu"},
		{of: Checkpoints{SavepointDir: "rel"}, want: filepath.Join(here, "app", "savepoints", "s1")},
		{of: Checkpoints{Dir: "/c"}, path: "/elsewhere/", format: "portable", want: "/elsewhere"},
		{of: Checkpoints{}, path: "file:///x", want: "/x"},
		{of: Checkpoints{}, path: "mem://x/y", want: "mem://x/y"},
		{of: Checkpoints{}, refuse: "no place for savepoints"},
		{of: Checkpoints{Dir: "/c"}, path: "x/y", refuse: "relative"},
		{of: Checkpoints{Dir: "/c"}, path: "file://elsewhere/x", refuse: "file URL of host"},
		{of: Checkpoints{Dir: "/c"}, format: "xml", refuse: "native or portable"},
	} {
		got, format, err := c.of.placeOf("app", control.Request{ID: "s1", Path: c.path, Format: c.format})
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if want := snapshot.Format(c.format); err != nil || got != c.want || want != "" && format != want || want == "" && format != snapshot.Native {
			t.Errorf("%+v: %s, %s, %v", c, got, format, err)
		}
	}
}

// Savepoints need no directory for checkpoints; what is of those does.
func TestSavepointsWithoutCheckpoints(t *testing.T) {
	for _, c := range []Checkpoints{{SavepointDir: "/s"}, {SavepointDir: "/s", Compression: "none", Timeout: 1e9}, {Timeout: 1e9}} {
		if err := c.validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if s := c.settings(); s.Interval != 0 {
			t.Errorf("%+v: takes checkpoints every %d ms", c, s.Interval)
		}
	}
	if err := (Checkpoints{SavepointDir: "/s", Retained: 5}).validate(); err == nil {
		t.Error("retained checkpoints without a place for them")
	}
}
