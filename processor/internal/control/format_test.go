package control

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"testing"
)

// The examples in FORMAT.md are decoded and encoded again.
func TestFormatOfControlRecords(t *testing.T) {
	page, err := os.ReadFile("../../../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]bool)
	for _, block := range regexp.MustCompile("(?m)^```control\n(.*)\n((?:{.*)?)\n?```").FindAllSubmatch(page, -1) {
		r, err := Decode(block[1], block[2])
		if err != nil {
			t.Errorf("%s: %v", block[1], err)
			continue
		}
		kinds[fmt.Sprintf("%T", r)] = true
		key, value, err := Encode(r)
		if err != nil || !bytes.Equal(key, block[1]) || !bytes.Equal(value, block[2]) {
			t.Errorf("got  %s %s %v\nwant %s %s", key, value, err, block[1], block[2])
		}
	}
	if len(kinds) != 13 {
		t.Errorf("FORMAT.md shows only %v", kinds)
	}
	block := regexp.MustCompile("(?ms)^```hex control-intent\n(.*?)^```").FindSubmatch(page)
	b, err := hex.DecodeString(regexp.MustCompile(`#.*|\s`).ReplaceAllString(string(block[1]), ""))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Decode(b[:8], b[8:])
	if err != nil || r != Record(intent2) {
		t.Fatalf("got %+v, %v", r, err)
	}
	if key, value, err := Encode(r); err != nil || !bytes.Equal(append(key, value...), b) {
		t.Errorf("%+v encodes to %s %s, %v", r, key, value, err)
	}
}

func TestFormatOfAcks(t *testing.T) {
	page, err := os.ReadFile("../../../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]int{}
	for _, block := range regexp.MustCompile("(?m)^```ack\n(.*)\n(.*)\n```").FindAllSubmatch(page, -1) {
		m, err := DecodeMessage(block[1], block[2])
		if err != nil {
			t.Error(err)
			continue
		}
		labels[m.label()]++
		key, value, err := EncodeMessage(m)
		if err != nil || !bytes.Equal(key, block[1]) || !bytes.Equal(value, block[2]) {
			t.Errorf("got  %s %s %v\nwant %s %s", key, value, err, block[1], block[2])
		}
	}
	if labels["ack"] != 1 || labels["uploaded"] != 2 || labels["moved"] != 1 {
		t.Errorf("FORMAT.md shows only %v", labels)
	}
}
