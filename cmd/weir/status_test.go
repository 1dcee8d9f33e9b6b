package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/processor/admin"
)

// A status says how far a drain is: of each way in which one can stand there is a line.
func TestStatusShowsDrains(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	done := ago(2 * time.Hour)
	var b strings.Builder
	for _, c := range []struct {
		what  string
		drain *admin.Drain
	}{
		{"nobody has asked for one", nil},
		{"time ends", &admin.Drain{Request: "last", By: "ada@mill", Since: ago(3 * time.Second), Tasks: 8, Ended: 3}},
		{"it ends in loops", &admin.Drain{Request: "last", By: "ada@mill", Since: ago(90 * time.Second), Tasks: 8, Ended: 4, Loops: true}},
		{"time has ended", &admin.Drain{Request: "last", By: "ada@mill", Since: ago(90 * time.Second), Tasks: 8, Ended: 8}},
		{"the savepoint failed", &admin.Drain{Request: "last", By: "ada@mill", Since: ago(5 * time.Minute), Tasks: 8, Ended: 8, Declined: "upload-failed: no room"}},
		{"done", &admin.Drain{Request: "again", By: "ada@mill", Since: ago(3 * time.Hour), Tasks: 8, Ended: 8, Done: &done, Path: "s3://copies/last"}},
	} {
		b.WriteString("# " + c.what + "\n")
		showDrain(&b, c.drain, now)
		b.WriteString("\n")
	}
	const path = "testdata/status_drain.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}
