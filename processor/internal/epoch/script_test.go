package epoch

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "record what the scripts in testdata give; read the diff before you commit it")

// runScript runs one scenario and returns it with what it gives. A scenario is a list of
// blocks with an empty line between them:
//
//	# a comment
//	events, one per line
//	----
//	the actions that they lead to, or "(nothing)"
//
// Every machine begins empty.
func runScript(text string) (string, error) {
	m := New()
	var out []string
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		head, _, isBlock := strings.Cut(block+"\n", "----\n")
		if !isBlock {
			out = append(out, block) // a comment on its own
			continue
		}
		var actions []string
		for _, line := range strings.Split(strings.TrimSpace(head), "\n") {
			if strings.HasPrefix(line, "#") {
				continue
			}
			e, err := parseEvent(line)
			if err != nil {
				return "", err
			}
			m.Step(e)
			for _, a := range m.Ready() {
				actions = append(actions, Text(a))
			}
			if err := check(m); err != nil {
				return "", fmt.Errorf("after %q: %w", line, err)
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
