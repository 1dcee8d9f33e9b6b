package offsets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// formatExamples gives the hex blocks of that name in FORMAT.md.
func formatExamples(t *testing.T, name string) (examples [][]byte) {
	t.Helper()
	page, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```hex "+name+"\n(.*?)^```").FindAllSubmatch(page, -1) {
		digits := regexp.MustCompile(`#.*|\s`).ReplaceAllString(string(block[1]), "")
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		examples = append(examples, b)
	}
	if examples == nil {
		t.Fatalf("FORMAT.md has no example %q", name)
	}
	return examples
}

func TestFormatOfMetadata(t *testing.T) {
	page, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range formatExamples(t, "offset-metadata") {
		s := base64.StdEncoding.EncodeToString(b)
		m, err := offsets.DecodeMetadata(s)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := m.Encode(); err != nil || again != s {
			t.Errorf("%+v encodes to %s, %v, not %s", m, again, err, s)
		}
		if m.Epoch.String() != "c7.p1001.e3" || m.Time != 1700000000000 || len(m.Ends) != 2 || m.Ends[0] != 4200 {
			t.Errorf("the comments say something else: %+v", m)
		}
		if !strings.Contains(string(page), "`"+s+"`") {
			t.Errorf("FORMAT.md does not show the base64 %s", s)
		}
	}
}

func TestFormatOfStamps(t *testing.T) {
	want := []offsets.Stamp{
		{Kind: offsets.Data, Timeline: 1, Task: offsets.Task{Sub: 0, Partition: 3}, Cut: 2, Watermark: 1700000000000},
		{Kind: offsets.Idle, Timeline: 1, Task: offsets.Task{Sub: 0, Partition: 3}, Cut: 2, Watermark: offsets.NoTime},
	}
	for i, b := range formatExamples(t, "stamp") {
		s, err := offsets.DecodeStamp(b)
		if err != nil || s != want[i] {
			t.Errorf("%x is %+v, %v, want %+v", b, s, err, want[i])
		}
		if again := s.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%+v encodes to %x, not %x", s, again, b)
		}
	}
}
