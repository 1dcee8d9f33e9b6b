package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/weir-stream/weir"

// buildTags are those under which a file of ours may be hidden; the rules hold for such files too.
const buildTags = "failpoints,synctests,invariants"

// listed is one package as the go command describes it.
type listed struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	Standard     bool
}

// ours is the import path below the module, "." for the module's root.
func (p listed) ours() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func root(t *testing.T) string {
	t.Helper()
	abs, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

var listOnce = sync.OnceValues(func() ([]listed, error) {
	seen := map[string]listed{}
	var order []string
	for _, tags := range []string{"", buildTags} {
		cmd := exec.Command("go", "list", "-tags", tags, "-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports,Deps,Standard", "./...")
		cmd.Dir = ".."
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			return nil, errors.New("go list: " + err.Error() + "\n" + errs.String())
		}
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var p listed
			if err := d.Decode(&p); err == io.EOF {
				break
			} else if err != nil {
				return nil, err
			}
			if first, ok := seen[p.ImportPath]; ok {
				p.Imports = append(p.Imports, first.Imports...)
				p.Deps = append(p.Deps, first.Deps...)
			} else {
				order = append(order, p.ImportPath)
			}
			seen[p.ImportPath] = p
		}
	}
	all := make([]listed, len(order))
	for i, path := range order {
		all[i] = seen[path]
	}
	return all, nil
})

// packages are all packages of the module, each with its imports under every build tag.
func packages(t *testing.T) []listed {
	t.Helper()
	all, err := listOnce()
	if err != nil {
		t.Fatal(err)
	}
	return all
}
