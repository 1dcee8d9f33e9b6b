package integration

import (
	"bytes"
	"errors"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// topLevel is what a stranger may find when opening the repository, and nothing else.
var topLevel = strings.Fields(`cmd processor offsets changelog topology integration deploy docs .ci .github
	go.mod go.sum docker-compose.yml Dockerfile Makefile README.md DESIGN.md FORMAT.md CHANGELOG.md CONTRIBUTING.md
	SECURITY.md LICENSE .gitignore .gitattributes .golangci.yml .golangci.yaml .dockerignore .editorconfig`)

// tracked are the files in the repository; outside of a git work tree, as in a source archive, the test is skipped.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("git ls-files: %v", err)
	}
	return strings.Fields(string(out))
}

func TestTopLevelHoldsWhatAStrangerNeeds(t *testing.T) {
	for _, f := range tracked(t) {
		first, _, _ := strings.Cut(f, "/")
		if !slices.Contains(topLevel, first) {
			t.Errorf("unexpected at the top level: %s", first)
		}
	}
}

// longLimit is what a person reads in one sitting. A longer file says why in a comment that begins with "Long file:".
const longLimit = 500

func TestSourceFilesAreFormattedAndShort(t *testing.T) {
	dir := root(t)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		formatted, err := format.Source(src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		if !bytes.Equal(src, formatted) {
			t.Errorf("%s: gofmt would change it", name)
		}
		lines := bytes.Count(src, []byte("\n"))
		if lines > longLimit && !strings.HasSuffix(name, "_test.go") && !bytes.Contains(src, []byte("// Long file:")) {
			t.Errorf("%s has %d lines: split it by idea, or say why not after \"Long file:\"", name, lines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// No reflection per record: the packages that a record passes do not import it. Codecs may, once per type. A file that
// needs it at start only is named here.
func TestHotPathHasNoReflection(t *testing.T) {
	hot := []string{"offsets", "topology", "topology/task", "topology/window", "changelog", "processor"}
	atStart := []string{"processor/options_kafka.go"} // compares the user's client options with the defaults
	for _, p := range packages(t) {
		if !slices.Contains(hot, p.ours()) {
			continue
		}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
			if err != nil {
				t.Error(err)
				continue
			}
			path := p.ours() + "/" + name
			for _, i := range file.Imports {
				if i.Path.Value == `"reflect"` && !slices.Contains(atStart, path) {
					t.Errorf("%s imports reflect", path)
				}
			}
		}
	}
}

// Every package is opened by a doc.go that its user reads before the code; a command has its comment in main.go, and a
// package of one file in that file.
func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		file := "doc.go"
		switch {
		case len(p.GoFiles) == 0:
			continue // tests only
		case slices.Contains(p.GoFiles, "main.go"):
			file = "main.go"
		case len(p.GoFiles) == 1:
			file = p.GoFiles[0]
		}
		src, err := os.ReadFile(filepath.Join(p.Dir, file))
		if err != nil {
			t.Errorf("%s has no doc.go", p.ours())
			continue
		}
		if !bytes.HasPrefix(src, []byte("// ")) && !bytes.HasPrefix(src, []byte("/*")) {
			t.Errorf("%s/%s does not begin with the package's comment", p.ours(), file)
		}
	}
}

func TestReadmeProgramIsTheExample(t *testing.T) {
	dir := root(t)
	program, err := os.ReadFile(filepath.Join(dir, "cmd/examples/wordcount/main.go"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the example is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "```go\n")
	shown, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("README.md shows no Go program")
	}
	if shown != string(program) {
		t.Error("the first program in README.md is not cmd/examples/wordcount/main.go: copy the file into it")
	}
}
