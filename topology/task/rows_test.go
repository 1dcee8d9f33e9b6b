package task

import (
	"bytes"
	"encoding/hex"
	"math"
	"testing"
)

func TestRowsAreAsDocumented(t *testing.T) {
	for want, row := range map[string][]byte{
		"01616e6e":                 AppendKeyedRow(nil, []byte("ann")),
		"01800000000000000a616e6e": AppendWindowRow(nil, 10, []byte("ann")),
		"017ffffffffffffff6":       AppendWindowRow(nil, -10, nil),
		"0077":                     clockRowKey,
	} {
		if got := hex.EncodeToString(row); got != want {
			t.Errorf("row %s, want %s", got, want)
		}
	}
	if _, ok := ParseKeyedRow(clockRowKey); ok {
		t.Error("a system row was read as a user's")
	}
	if _, _, ok := ParseWindowRow(append(clockRowKey, "01234567"...)); ok {
		t.Error("a system row was read as a window's")
	}
}

func FuzzWindowRow(f *testing.F) {
	f.Add(int64(0), []byte("a"), int64(-1), []byte(""))
	f.Add(int64(math.MinInt64), []byte{0xff}, int64(math.MaxInt64), []byte{0})
	f.Fuzz(func(t *testing.T, start int64, key []byte, start2 int64, key2 []byte) {
		row := AppendWindowRow([]byte("x"), start, key)[1:]
		s, k, ok := ParseWindowRow(row)
		if !ok || s != start || !bytes.Equal(k, key) {
			t.Fatalf("%x: %d %x %v, want %d %x", row, s, k, ok, start, key)
		}
		row2 := AppendWindowRow(nil, start2, key2)
		if start < start2 && bytes.Compare(row, row2) >= 0 {
			t.Fatalf("%d sorts behind %d", start, start2)
		}
		if start == start2 && bytes.Compare(row, row2) != bytes.Compare(key, key2) {
			t.Fatalf("%x and %x sort in another order than their keys", row, row2)
		}
		if bytes.Compare(row, UserRows) < 0 || bytes.Compare(row, UserRowsEnd) >= 0 {
			t.Fatalf("%x is outside of the user's rows", row)
		}
	})
}

func FuzzParseRows(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, row []byte) {
		if key, ok := ParseKeyedRow(row); ok && !bytes.Equal(AppendKeyedRow(nil, key), row) {
			t.Fatalf("keyed %x", row)
		}
		if start, key, ok := ParseWindowRow(row); ok && !bytes.Equal(AppendWindowRow(nil, start, key), row) {
			t.Fatalf("window %x", row)
		}
	})
}
