package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// promise is a sentence of the page and the tests that stand behind it.
type promise struct {
	section, sentence string
	tests             []string
}

var (
	proofs   = regexp.MustCompile("\\((`Test[A-Za-z0-9_]+`(?:,\\s+`Test[A-Za-z0-9_]+`)*)\\)")
	testName = regexp.MustCompile("Test[A-Za-z0-9_]+")
	testFunc = regexp.MustCompile(`^func (Test[A-Za-z0-9_]+)\(`)
)

// promises are the sentences that end in names of tests, in their order.
func promises(page string) (all []promise) {
	section := ""
	for _, block := range strings.Split(page, "\n\n") {
		if title, ok := strings.CutPrefix(block, "## "); ok {
			section, _, _ = strings.Cut(title, "\n")
			continue
		}
		for _, item := range strings.Split("\n"+block, "\n- ") {
			text, from := strings.Join(strings.Fields(item), " "), 0
			for _, at := range proofs.FindAllStringSubmatchIndex(text, -1) {
				before := strings.TrimSpace(text[from:at[0]])
				if i := strings.LastIndex(before, ". "); i >= 0 {
					before = before[i+2:]
				}
				before = strings.TrimLeft(before, ".;: ")
				all = append(all, promise{section, strings.ReplaceAll(before, "**", ""), testName.FindAllString(text[at[2]:at[3]], -1)})
				from = at[1]
			}
		}
	}
	return all
}

// place is where a test is, and what it takes to compile it.
type place struct {
	pkg  string // "./processor"
	tags string
}

// find looks every test function up below root. Two packages may have one of a name: both count.
func find(root string) (map[string][]place, error) {
	all := map[string][]place{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		at := place{pkg: "./" + filepath.ToSlash(rel)}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			line := lines.Text()
			if strings.HasPrefix(line, "//go:build ") && (strings.Contains(line, "synctests") || strings.Contains(line, "failpoints")) {
				at.tags = "synctests,failpoints"
			}
			if m := testFunc.FindStringSubmatch(line); m != nil {
				all[m[1]] = append(all[m[1]], at)
			}
		}
		return lines.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	return all, nil
}

// missing are the named tests that are nowhere.
func missing(all []promise, places map[string][]place) (names []string) {
	for _, p := range all {
		for _, t := range p.tests {
			if _, ok := places[t]; !ok && !slices.Contains(names, t) {
				names = append(names, t)
			}
		}
	}
	return names
}
