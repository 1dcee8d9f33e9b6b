package changelog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// formatExample gives the one block of that name in FORMAT.md: bytes of hex, or text.
func formatExample(t *testing.T, name string) []byte {
	t.Helper()
	page, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```" + name + "\n(.*?)^```").FindSubmatch(page)
	if block == nil {
		t.Fatalf("FORMAT.md has no example %q", name)
	}
	if !strings.HasPrefix(name, "hex ") {
		return bytes.TrimSpace(block[1])
	}
	b, err := hex.DecodeString(regexp.MustCompile(`#.*|\s`).ReplaceAllString(string(block[1]), ""))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

func TestFormatOfKeys(t *testing.T) {
	if b := formatExample(t, "hex row-key"); !bytes.Equal(b, append(incarnation(2).prefix(), "\x01word"...)) {
		t.Errorf("row key %x", b)
	}
	b := formatExample(t, "hex store-key")
	id, err := decodeStoreKey(b)
	if err != nil || id.UID != "counts" || id.Task != (offsets.Task{Sub: 0, Partition: 3}) || id.Timeline != 1 {
		t.Errorf("the comments say something else: %+v, %v", id, err)
	}
	if again := storeKey(id); !bytes.Equal(again, b) {
		t.Errorf("%+v encodes to %x, not %x", id, again, b)
	}
	b = formatExample(t, "hex store-value")
	n, err := decodeUint32(b)
	if err != nil || n != 2 || !bytes.Equal(encodeUint32(n), b) {
		t.Errorf("store value %x: %d, %v", b, n, err)
	}
	for kind, want := range map[byte]string{rowMarker: "000000006d00000002", rowReach: "000000007200000002", rowDead: "000000006400000002"} {
		if got := hex.EncodeToString(systemKey(kind, 2)); got != want {
			t.Errorf("key of kind %c is %s, want %s", kind, got, want)
		}
	}
	if got := hex.EncodeToString(nextKey()); got != "000000006e" {
		t.Errorf("key of the highest incarnation is %s", got)
	}
	if got := hex.EncodeToString(anchorKey); got != "000000007a" {
		t.Errorf("key of the anchor is %s", got)
	}
}

func TestFormatOfMarker(t *testing.T) {
	b := formatExample(t, "hex marker")
	m, err := decodeMarker(b)
	if err != nil || m.Timeline != 1 || m.TopicID[15] != 0x0f || m.Epoch.String() != "c7.p1001.e3" || m.End != 4200 || m.Wall != 1700000001000 {
		t.Errorf("the comments say something else: %+v, %v", m, err)
	}
	if again := m.encode(); !bytes.Equal(again, b) {
		t.Errorf("%+v encodes to %x, not %x", m, again, b)
	}
	for i := range b { // every byte is covered
		c := bytes.Clone(b)
		c[i] ^= 0x10
		if _, err := decodeMarker(c); err == nil {
			t.Errorf("byte %d changed, and nobody saw it", i)
		}
	}
	b = formatExample(t, "hex restoring-marker")
	m, err = decodeMarker(b)
	if err != nil || !m.Restoring || m.Epoch != (offsets.EpochID{}) || m.End != 3000 || m.Wall != 1700000000500 {
		t.Errorf("the comments say something else: %+v, %v", m, err)
	}
	if again := m.encode(); !bytes.Equal(again, b) {
		t.Errorf("%+v encodes to %x, not %x", m, again, b)
	}
	b = formatExample(t, "hex reach")
	end, err := decodeEnd(b)
	if err != nil || end != 4350 || !bytes.Equal(encodeEnd(end), b) {
		t.Errorf("reach %x: %d, %v", b, end, err)
	}
}

func TestFormatOfState(t *testing.T) {
	b := formatExample(t, "state")
	var s dirState
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if s.Format != dirFormat || s.Application != "word-count" || !s.Clean || s.Instance == "" || s.Boot == "" {
		t.Errorf("state %+v", s)
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%+v encodes to %s, %v", s, again, err)
	}
}

func FuzzDecodeMarker(f *testing.F) {
	f.Add(Marker{Timeline: 1, End: 5}.encode())
	f.Add(Marker{Timeline: 1, End: 5, Restoring: true}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMarker(b)
		if err == nil && !bytes.Equal(m.encode(), b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, m, m.encode())
		}
		_, _ = decodeEnd(b)
		_, _ = decodeUint32(b)
		_, _ = decodeStoreKey(b)
	})
}
