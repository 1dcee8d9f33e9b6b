package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	entryOf = regexp.MustCompile(`(?m)^\* \*\*(N\d+)\.`)
	rowOf   = regexp.MustCompile(`(?m)^\| (N\d+(?:, N\d+)*|base on disk[^|]*) \| (.*) \|$`)
	testIn  = regexp.MustCompile("`(Test\\w+)`")
	testOf  = regexp.MustCompile(`(?m)^func (Test\w+)\(\w+ \*testing\.T\)`)
)

// DESIGN.md says for each of its non-obvious entries which tests hold it, or why none does. A
// test that was renamed or taken out, and an entry that nobody thought of, are found here.
func TestNonObviousEntriesNameTheirTests(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n## 6. Non-obvious\n")
	entries, how, ok2 := strings.Cut(text, "\n## 7. How it is tested\n")
	if !ok || !ok2 {
		t.Fatal("sections 6 and 7 are not there")
	}
	tests := map[string]bool{}
	for _, file := range tracked(t) {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(filepath.Join(root(t), file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testOf.FindAllSubmatch(src, -1) {
			tests[string(m[1])] = true
		}
	}
	rows := map[string]bool{}
	for _, m := range rowOf.FindAllStringSubmatch(how, -1) {
		for n := range strings.SplitSeq(m[1], ", ") {
			if rows[n] {
				t.Errorf("%s has two rows", n)
			}
			rows[n] = true
		}
		named := testIn.FindAllStringSubmatch(m[2], -1)
		for _, name := range named {
			if !tests[name[1]] {
				t.Errorf("%s: there is no %s", m[1], name[1])
			}
		}
		if len(named) == 0 && !strings.HasPrefix(m[2], "none: ") {
			t.Errorf("%s names no test, and no reason why", m[1])
		}
	}
	for _, m := range entryOf.FindAllStringSubmatch(entries, -1) {
		if !rows[m[1]] {
			t.Errorf("%s has no row in section 7: name the tests that were seen to fail without it, or say \"none: \" and why", m[1])
		}
		delete(rows, m[1])
	}
	for n := range rows {
		if !strings.HasPrefix(n, "N") {
			continue // of another section
		}
		t.Errorf("%s has a row in section 7 and no entry in section 6", n)
	}
}
