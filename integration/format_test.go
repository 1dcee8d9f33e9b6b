package integration

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/weir-stream/weir/topology/task"
)

// The row keys in FORMAT.md are taken apart and put together again. Blocks of other names are
// tested by the packages that own those layouts.
func TestFormatOfRowKeys(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root(t), "FORMAT.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, block := range regexp.MustCompile("(?ms)^```hex ([a-z-]+)\n(.*?)^```").FindAllSubmatch(page, -1) {
		name := string(block[1])
		seen[name] = true
		b, err := hex.DecodeString(regexp.MustCompile(`#.*|\s`).ReplaceAllString(string(block[2]), ""))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		switch name {
		case "keyed-row":
			key, ok := task.ParseKeyedRow(b)
			if !ok || string(key) != "word" || !bytes.Equal(task.AppendKeyedRow(nil, key), b) {
				t.Errorf("%x is not the row of %q", b, key)
			}
		case "window-row":
			start, key, ok := task.ParseWindowRow(b)
			if !ok || start != 1700000000000 || string(key) != "word" || !bytes.Equal(task.AppendWindowRow(nil, start, key), b) {
				t.Errorf("%x is not the row of %q at %d", b, key, start)
			}
		}
	}
	if !seen["keyed-row"] || !seen["window-row"] {
		t.Errorf("FORMAT.md shows only %v", seen)
	}
}
