package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Every name ends in the SHA-256 of the bytes and begins with the cut that wrote them. doc.go says why.
const (
	manifestDir = "manifests/"
	objectDir   = "objects/"
)

var nameForm = regexp.MustCompile(`^(manifests|objects)/([0-9]{10,20})-([0-9a-f]{64})\.(json|weir|jsonl|jsonl\.zst)$`)

// name is that of a manifest or an object, taken apart.
type name struct {
	dir string // with its slash
	cut uint64
	sum [sha256.Size]byte
	ext string
}

func (n name) String() string {
	return fmt.Sprintf("%s%010d-%x.%s", n.dir, n.cut, n.sum, n.ext)
}

// parseName accepts only what String gives, so that no name leads out of its directory.
func parseName(s string) (name, bool) {
	m := nameForm.FindStringSubmatch(s)
	if m == nil {
		return name{}, false
	}
	n := name{dir: m[1] + "/", ext: m[4]}
	var err error
	if n.cut, err = strconv.ParseUint(m[2], 10, 64); err != nil {
		return name{}, false
	}
	if _, err = hex.Decode(n.sum[:], []byte(m[3])); err != nil {
		return name{}, false
	}
	return n, n.String() == s && (n.dir == manifestDir) == (n.ext == "json")
}

// cutOf gives the cut of anything that lies in the directory and begins like a name of ours: also of what a killed
// writer left under a temporary name.
func cutOf(dir, s string) (uint64, bool) {
	rest, ok := strings.CutPrefix(s, dir)
	digits, _, dash := strings.Cut(rest, "-")
	cut, err := strconv.ParseUint(digits, 10, 64)
	return cut, ok && dash && err == nil && fmt.Sprintf("%010d", cut) == digits
}

func extension(f Format, c Compression) string {
	switch {
	case f == Native:
		return "weir"
	case c == None:
		return "jsonl"
	}
	return "jsonl.zst"
}
