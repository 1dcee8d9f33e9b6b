package offsets

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// A record written by weir and one of the same key written by the Java client go to the same
// partition.
func TestPartitionEqualsJavaClient(t *testing.T) {
	f, err := os.Open("testdata/murmur2.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		var text string
		var hash uint32
		var of7, of64 int32
		if _, err := fmt.Sscanf(s.Text(), "%s %x %d %d", &text, &hash, &of7, &of64); err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		key, _ := hex.DecodeString(strings.TrimPrefix(text, "-"))
		if got := murmur2(key); got != hash {
			t.Errorf("murmur2(%s) = %08x, the Java client says %08x", text, got, hash)
		}
		if got := Partition(key, 7); got != of7 {
			t.Errorf("Partition(%s, 7) = %d, the Java client says %d", text, got, of7)
		}
		if got := Partition(key, 64); got != of64 {
			t.Errorf("Partition(%s, 64) = %d, the Java client says %d", text, got, of64)
		}
		lines++
	}
	if lines < 150 {
		t.Fatalf("only %d vectors were read", lines)
	}
}

func BenchmarkPartition(b *testing.B) {
	key := []byte("customer-0001234")
	b.ReportAllocs()
	for b.Loop() {
		Partition(key, 64)
	}
}
