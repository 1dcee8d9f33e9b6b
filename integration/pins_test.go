package integration

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// pins are the oldest versions that may be linked, with the reason where an older one breaks a promise of ours.
var pins = []struct{ module, version, older string }{
	{"github.com/twmb/franz-go", "v1.22.2", "misses records after an abort (1.21.4), commits records of an unconfirmed transaction (1.21.6), acknowledges unwritten ones (1.22.2)"},
	{"github.com/twmb/franz-go/pkg/kadm", "v1.19.0", ""},
	{"github.com/twmb/franz-go/pkg/kmsg", "v1.15.0", ""},
	{"github.com/twmb/franz-go/pkg/kfake", "v0.0.0-20260918054303-01f206a7e32c", "lacks transaction and group behaviour that our tests rely on"},
	{"github.com/dgraph-io/badger/v4", "v4.9.6", "brings deleted keys back (4.9.3, 4.9.4)"},
	{"github.com/linkedin/goavro/v2", "v2.15.0", ""},
	{"github.com/rs/zerolog", "v1.35.1", ""},
	{"gonum.org/v1/plot", "v0.17.0", ""},
	{"gocloud.dev", "v0.48.0", "deletes with another signature, which our faulty driver would not fit"},
	{"github.com/klauspost/compress", "v1.20.3", ""},
	{"github.com/johannesboyne/gofakes3", "v1.2.0", "was not tried with the checksums that the S3 client sends"},
}

// olderThan compares versions without pre-release, and pseudo-versions of v0.0.0 by their time.
func olderThan(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

func numbers(version string) [4]int64 {
	var n [4]int64
	base, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	for i, part := range strings.SplitN(base, ".", 3) {
		n[i], _ = strconv.ParseInt(part, 10, 64)
	}
	stamp, _, _ := strings.Cut(rest, "-")
	n[3], _ = strconv.ParseInt(stamp, 10, 64)
	return n
}

func TestModulesAreNotOlderThanPinned(t *testing.T) {
	for _, p := range pins {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", p.module).CombinedOutput()
		if err != nil {
			t.Fatalf("go list -m %s: %v\n%s", p.module, err, out)
		}
		if got := strings.TrimSpace(string(out)); olderThan(got, p.version) {
			t.Errorf("%s is %s, want at least %s: older %s", p.module, got, p.version, p.older)
		}
	}
}

func TestOlderThan(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"v1.21.9", "v1.22.2", true},
		{"v1.22.10", "v1.22.2", false},
		{"v1.22.2", "v1.22.2", false},
		{"v4.9.4", "v4.9.6", true},
		{"v2.0.0", "v1.99.99", false},
		{"v0.0.0-20250101000000-aaaaaaaaaaaa", "v0.0.0-20260918054303-01f206a7e32c", true},
		{"v0.0.0-20270101000000-aaaaaaaaaaaa", "v0.0.0-20260918054303-01f206a7e32c", false},
	} {
		if got := olderThan(c.a, c.b); got != c.want {
			t.Errorf("olderThan(%s, %s) = %t", c.a, c.b, got)
		}
	}
}
