package integration

import (
	"slices"
	"strings"
	"testing"
)

const (
	kgo     = "github.com/twmb/franz-go/pkg/kgo"
	kadm    = "github.com/twmb/franz-go/pkg/kadm"
	kmsg    = "github.com/twmb/franz-go/pkg/kmsg"
	kerr    = "github.com/twmb/franz-go/pkg/kerr"
	sasl    = "github.com/twmb/franz-go/pkg/sasl"
	kfake   = "github.com/twmb/franz-go/pkg/kfake"
	zerolog = "github.com/rs/zerolog"
	badger  = "github.com/dgraph-io/badger/v4"
	goavro  = "github.com/linkedin/goavro/v2"
	plot    = "gonum.org/v1/plot"
	gocloud = "gocloud.dev/blob"
	aws     = "github.com/aws/aws-sdk-go-v2/aws"
	zstd    = "github.com/klauspost/compress/zstd"
)

// A rung says what the packages below a path may import directly, outside of their tests. The longest path that fits a
// package decides. A package may always import the standard library, except what never lists.
type rung struct {
	path    string
	ours    []string // packages of this module; "x/..." is x and all below it
	outside []string // modules' packages; "x/..." likewise
	never   []string // standard packages that would bring a clock, a lock, a goroutine's tools or the outside world
}

var outsideWorld = []string{"time", "os/...", "net/...", "sync/...", "context", "math/rand/...", "crypto/rand", "io/fs", "runtime/..."}

var ladder = []rung{
	{path: "offsets", never: []string{"os/...", "net/...", "sync", "context", "math/rand/..."}},
	{path: "topology/task", ours: []string{"offsets"}, never: []string{"os/...", "net/...", "sync/...", "context", "math/rand/..."}},
	{path: "topology/codec", ours: []string{"offsets"}},
	{path: "topology/window"},
	{path: "topology", ours: []string{"offsets", "topology/task", "topology/codec", "topology/window"}},
	{path: "topology/topologytest", ours: []string{"offsets", "topology", "topology/task", "topology/codec", "topology/window"}},
	{path: "topology/avro", ours: []string{"topology/codec"}, outside: []string{goavro}},
	{path: "changelog", ours: []string{"offsets"}, outside: []string{badger + "/...", kgo, kmsg, kerr, "golang.org/x/sys/..."}},
	{path: "changelog/snapshot", ours: []string{"offsets"}, outside: []string{gocloud, gocloud + "/fileblob", gocloud + "/memblob", "gocloud.dev/gcerrors", zstd}},
	{path: "processor/internal/epoch", ours: []string{"offsets"}, never: outsideWorld},
	{path: "processor/internal/assign", ours: []string{"offsets"}, never: outsideWorld},
	{path: "processor/internal/checkpoint", ours: []string{"offsets"}, never: outsideWorld},
	{path: "processor/internal/control", ours: []string{"offsets", "processor/internal/checkpoint"}, never: outsideWorld},
	{path: "processor/internal/restart", never: outsideWorld},
	{path: "processor/internal/rescale", ours: []string{"offsets", "topology/task"}, never: outsideWorld},
	{path: "processor/internal", ours: []string{"offsets"}, never: outsideWorld},
	{
		path:    "processor",
		ours:    []string{"offsets", "topology/...", "changelog", "changelog/snapshot", "processor/internal/..."},
		outside: []string{kgo, kadm, kmsg, kerr, sasl, zerolog, "golang.org/x/sync/...", "golang.org/x/sys/..."},
	},
	{path: "processor/embedded", ours: []string{"offsets", "processor"}, outside: []string{kfake, kgo, kadm, kmsg, kerr}},
	{
		path:    "processor/cli",
		ours:    []string{"offsets", "topology/...", "processor", "processor/admin"},
		outside: []string{kgo, kadm, kmsg, sasl + "/...", zerolog, "github.com/spf13/cobra", "github.com/spf13/pflag"},
	},
	{path: "processor/state", ours: []string{"offsets", "topology/...", "changelog/snapshot", "processor"}},
	{path: "processor/admin", ours: []string{"offsets", "topology/...", "changelog", "changelog/snapshot", "processor", "processor/internal/..."}, outside: []string{kgo, kadm, kmsg, kerr}},
	{path: "cmd", ours: []string{"..."}, outside: []string{"..."}},
	{path: "integration", ours: []string{"..."}, outside: []string{"..."}},
}

// Who may depend on a heavy module at all, directly or not: everybody else's users would carry it without need.
var carriers = map[string][]string{
	kfake:   {"processor/embedded", "cmd", "integration"},
	goavro:  {"topology/avro", "processor/state", "cmd", "integration"}, // state is read by tools, not by programs
	plot:    {"integration"},
	zerolog: {"processor", "cmd", "integration"},
	badger:  {"changelog", "processor", "cmd", "integration"},
	kgo:     {"changelog", "processor", "cmd", "integration"},
	gocloud: {"changelog/snapshot", "processor", "cmd", "integration"},
	aws:     {"cmd", "integration"}, // clients of clouds are imported by programs
}

// Pure packages below a carrier: what is said of the package above does not hold for them.
var carryNothing = []string{"processor/internal"}

func below(pkg, path string) bool { return pkg == path || strings.HasPrefix(pkg, path+"/") }

func matches(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if p == "..." {
			return true
		}
		if dir, ok := strings.CutSuffix(p, "/..."); ok {
			return below(pkg, dir)
		}
		return pkg == p
	})
}

func rungOf(pkg string) (rung, bool) {
	var best rung
	found := false
	for _, r := range ladder {
		if below(pkg, r.path) && len(r.path) >= len(best.path) {
			best, found = r, true
		}
	}
	return best, found
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// check returns why pkg may not import path, or "".
func (r rung) check(pkg, path string) string {
	sub, mine := strings.CutPrefix(path, module+"/")
	switch {
	case path == "C":
		return "no C: programs stay static"
	case mine && (below(sub, "cmd") || below(sub, "integration")) && !below(pkg, "integration") && !below(pkg, "cmd"):
		return "nobody imports cmd and integration"
	case mine && !matches(sub, r.ours):
		return "not on a lower rung"
	case mine:
		return ""
	case standard(path) && matches(path, r.never):
		return "a package here decides or computes; the outside world comes in as arguments"
	case standard(path):
		return ""
	case !matches(path, r.outside):
		return "not one of its outside packages"
	}
	return ""
}

func TestImportLadder(t *testing.T) {
	for _, p := range packages(t) {
		pkg := p.ours()
		r, ok := rungOf(pkg)
		if !ok {
			t.Errorf("%s is on no rung of the ladder: add one", pkg)
			continue
		}
		for _, path := range p.Imports {
			if why := r.check(pkg, path); why != "" {
				t.Errorf("%s imports %s: %s", pkg, path, why)
			}
		}
	}
}

func TestHeavyModulesStayWhereTheyBelong(t *testing.T) {
	for _, p := range packages(t) {
		pkg := p.ours()
		for heavy, who := range carriers {
			if !slices.Contains(p.Deps, heavy) {
				continue
			}
			may := slices.ContainsFunc(who, func(path string) bool { return below(pkg, path) })
			for _, pure := range carryNothing {
				may = may && !below(pkg, pure)
			}
			if !may {
				t.Errorf("%s depends on %s, which only %v may", pkg, heavy, who)
			}
		}
	}
}

// The rules are worth nothing if they let everything pass.
func TestLadderRefuses(t *testing.T) {
	for _, c := range []struct{ pkg, imports string }{
		{"offsets", module + "/topology/task"},
		{"offsets", kmsg},
		{"topology", module + "/changelog"},
		{"topology", kgo},
		{"topology/task", module + "/topology"},
		{"topology/codec", goavro},
		{"changelog", module + "/topology/task"},
		{"changelog", zerolog},
		{"changelog", gocloud},
		{"changelog", module + "/changelog/snapshot"},
		{"changelog/snapshot", module + "/changelog"},
		{"changelog/snapshot", module + "/topology"},
		{"changelog/snapshot", gocloud + "/s3blob"},
		{"processor", gocloud + "/s3blob"},
		{"processor", kfake},
		{"processor", module + "/processor/embedded"},
		{"processor/internal/epoch", "time"},
		{"processor/internal/epoch", "sync/atomic"},
		{"processor/internal/assign", "context"},
		{"processor/internal/checkpoint", "time"},
		{"processor/internal/checkpoint", module + "/processor/internal/control"},
		{"processor/internal/epoch", kgo},
		{"processor/internal/restart", "math/rand/v2"},
		{"processor/internal/restart", module + "/offsets"},
		{"processor/cli", plot},
		{"processor/cli", module + "/integration/kafkatest"},
		{"processor", module + "/cmd/weir"},
	} {
		r, ok := rungOf(c.pkg)
		if !ok {
			t.Fatalf("no rung for %s", c.pkg)
		}
		if r.check(c.pkg, c.imports) == "" {
			t.Errorf("the ladder lets %s import %s", c.pkg, c.imports)
		}
	}
}
