package changelog

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inspected is what Inspect shows, in short.
func inspected(t *testing.T, opt DBOptions) string {
	t.Helper()
	var out []string
	err := Inspect(opt, func(s Stored, rows iter.Seq2[[]byte, []byte]) error {
		text := fmt.Sprintf("%s to %d:", s.ID, s.Marker.End)
		for k, v := range rows {
			text += fmt.Sprintf(" %s=%s", k, v)
		}
		out = append(out, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "; ")
}

// What Inspect shows is what the next start would begin with, and it is still there afterwards.
func TestInspect(t *testing.T) {
	const all = "counts of task 0-0 to 3: a=value of a b=value of b c=value of c"
	for _, c := range []struct {
		name string
		edit func(*dirState)
		want string
	}{
		{"clean end", func(*dirState) {}, all},
		{"clean end, machine started anew", func(s *dirState) { s.Boot = "b0" }, all},
		{"killed", func(s *dirState) { s.Clean = false }, all},
		{"killed with the machine", func(s *dirState) { s.Clean, s.Boot = false, "b0" }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := withRows(t, DBOptions{Boot: "b1"})
			name := filepath.Join(dir, stateName)
			state, err := readState(name)
			if err != nil {
				t.Fatal(err)
			}
			c.edit(&state)
			text, _ := json.Marshal(state)
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
			opt := DBOptions{Dir: dir, Application: "app", Boot: "b1"}
			for range 2 {
				if got := inspected(t, opt); got != c.want {
					t.Errorf("shows %q, want %q", got, c.want)
				}
			}
			if after, err := os.ReadFile(name); err != nil || string(after) != string(text) {
				t.Errorf("%s was %s, is %s, %v", stateName, text, after, err)
			}
			s := openStore(t, openTest(t, opt), storeID(0))
			if found := s.markerEnd.Load() == 3; found != (c.want != "") {
				t.Errorf("afterwards a start finds marker end %d", s.markerEnd.Load())
			}
		})
	}
}

func TestInspectRefuses(t *testing.T) {
	show := func(Stored, iter.Seq2[[]byte, []byte]) error { return nil }
	db := openTest(t, DBOptions{})
	if err := Inspect(DBOptions{Dir: db.dir.path, Application: "app"}, show); !errors.Is(err, ErrLocked) {
		t.Errorf("a directory in use: %v", err)
	}
	dir := withRows(t, DBOptions{})
	if err := Inspect(DBOptions{Dir: dir, Application: "other"}, show); !errors.Is(err, ErrForeign) {
		t.Errorf("another application's: %v", err)
	}
	if err := Inspect(DBOptions{Dir: filepath.Join(dir, "none"), Application: "app"}, show); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none there: %v", err)
	}
	want := errors.New("enough")
	if err := Inspect(DBOptions{Dir: dir, Application: "app"}, func(Stored, iter.Seq2[[]byte, []byte]) error { return want }); !errors.Is(err, want) {
		t.Errorf("stopped by its caller: %v", err)
	}
}
