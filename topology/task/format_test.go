package task

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"testing"

	"github.com/weir-stream/weir/offsets"
)

// The watermark row in FORMAT.md is decoded and encoded again.
func TestFormatOfWatermarkRow(t *testing.T) {
	page, err := os.ReadFile("../../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```hex watermark-row\n(.*?)^```").FindSubmatch(page)
	if block == nil {
		t.Fatal("FORMAT.md has no example of the watermark row")
	}
	row, err := hex.DecodeString(regexp.MustCompile(`#.*|\s`).ReplaceAllString(string(block[1]), ""))
	if err != nil {
		t.Fatal(err)
	}
	c := newClock([]Input{{Topic: "orders"}, {Topic: "by-customer", Internal: true}}, false)
	c.setUpstream(1, []offsets.Task{{Sub: 0, Partition: 0}, {Sub: 0, Partition: 1}})
	if err := c.decodeRow(row); err != nil {
		t.Fatal(err)
	}
	if again := c.appendRow(nil); !bytes.Equal(again, row) {
		t.Errorf("encodes to %x, not %x", again, row)
	}
	if late := c.inputs[1].channels[1]; c.now != 1700000000000 || !late.idle || late.time != c.now+1000 {
		t.Errorf("the comments say something else: %+v", c)
	}
}
