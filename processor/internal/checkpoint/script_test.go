package checkpoint

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

var rewrite = flag.Bool("rewrite", false, "record what the scripts in testdata give; read the diff before you commit it")

// machine is what both have in common.
type machine interface {
	Step(Event)
	Ready() []Action
}

// newMachine reads the first line of a script.
func newMachine(line string) (machine, error) {
	if line == "new participant" {
		return NewParticipant(), nil
	}
	head, tasks, _ := strings.Cut(line, " tasks")
	var s Settings
	if _, err := fmt.Sscanf(head, "new coordinator interval=%d timeout=%d min-pause=%d tolerable=%d retained=%d", &s.Interval, &s.Timeout, &s.MinPause, &s.Tolerable, &s.Retained); err != nil {
		return nil, fmt.Errorf("%q: %w", line, err)
	}
	var ts []offsets.Task
	for _, word := range strings.Fields(tasks) {
		t, err := offsets.ParseTask(word)
		if err != nil {
			return nil, err
		}
		ts = append(ts, t)
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return NewCoordinator(s, ts), nil
}

func checkMachine(m machine) error {
	switch m := m.(type) {
	case *Coordinator:
		return checkCoordinator(m)
	case *Participant:
		return checkParticipant(m)
	}
	return errors.New("no machine: a script begins with a line that says \"new\"")
}

// runScript runs one scenario and returns it with what it gives. A scenario is a list of blocks with an empty
// line between them:
//
//	# a comment
//	new participant, or new coordinator with settings: a machine, in place of the one before
//	events, one per line
//	----
//	the actions that they lead to, or "(nothing)"
func runScript(text string) (string, error) {
	var m machine
	var out []string
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		head, _, isBlock := strings.Cut(block+"\n", "----\n")
		if !isBlock {
			out = append(out, block) // a comment on its own
			continue
		}
		var actions []string
		for _, line := range strings.Split(strings.TrimSpace(head), "\n") {
			var err error
			switch {
			case strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, "new "):
				m, err = newMachine(line)
			case m == nil:
				err = checkMachine(m)
			default:
				var e Event
				if e, err = parseEvent(line); err == nil {
					m.Step(e)
					for _, a := range m.Ready() {
						actions = append(actions, Text(a))
					}
					err = checkMachine(m)
				}
			}
			if err != nil {
				return "", fmt.Errorf("at %q: %w", line, err)
			}
		}
		if actions == nil {
			actions = []string{"(nothing)"}
		}
		out = append(out, head+"----\n"+strings.Join(actions, "\n"))
	}
	return strings.Join(out, "\n\n") + "\n", nil
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scripts in testdata (%v)", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(want), "# ") {
				t.Error("the script does not begin with a comment that says why it is there")
			}
			got, err := runScript(string(want))
			switch {
			case err != nil:
				t.Fatal(err)
			case *rewrite:
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			case got != string(want):
				t.Errorf("got:\n%s\nwant:\n%s\n(go test -run TestScripts -rewrite records; read the diff)", got, want)
			}
		})
	}
}
