package codec

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"
)

func golden[T comparable](t *testing.T, c Codec[T], v T, want string) {
	t.Helper()
	got, err := c.Append([]byte("x"), v)
	if err != nil || string(got) != "x"+want {
		t.Errorf("%s: Append(%v) = %q, %v; want %q after what was there", c.Name(), v, got, err, "x"+want)
	}
	back, err := c.Decode([]byte(want))
	if err != nil || back != v {
		t.Errorf("%s: Decode(%q) = %v, %v; want %v", c.Name(), want, back, err, v)
	}
}

func TestBytesAreFixed(t *testing.T) {
	golden(t, String, "übung", "\xc3\xbcbung")
	golden(t, Int64, 258, "\x00\x00\x00\x00\x00\x00\x01\x02")
	golden(t, Int64, -1, "\xff\xff\xff\xff\xff\xff\xff\xff")
	golden(t, Float64, 1.5, "\x3f\xf8\x00\x00\x00\x00\x00\x00")
	golden(t, Bool, true, "\x01")
	golden(t, Time, time.UnixMilli(1).UTC(), "\x00\x00\x00\x00\x00\x00\x00\x01")
	golden(t, UUID, [16]byte{15: 7}, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07")
	golden(t, JSON[int](), 42, "42")
}

func TestWrongSizesAreRefused(t *testing.T) {
	for _, src := range [][]byte{nil, {1}, make([]byte, 7), make([]byte, 9)} {
		if _, err := Int64.Decode(src); !errors.Is(err, ErrSize) {
			t.Errorf("int64 of %d bytes: %v, want ErrSize", len(src), err)
		}
		if _, err := Float64.Decode(src); !errors.Is(err, ErrSize) {
			t.Errorf("float64 of %d bytes: %v, want ErrSize", len(src), err)
		}
		if _, err := Time.Decode(src); !errors.Is(err, ErrSize) {
			t.Errorf("time of %d bytes: %v, want ErrSize", len(src), err)
		}
		if _, err := UUID.Decode(src); !errors.Is(err, ErrSize) {
			t.Errorf("uuid of %d bytes: %v, want ErrSize", len(src), err)
		}
	}
	if _, err := Bool.Decode([]byte{2}); err == nil {
		t.Error("bool 2 was accepted")
	}
	if _, err := None.Decode([]byte{0}); err == nil {
		t.Error("none of one byte was accepted")
	}
	if _, err := JSON[int]().Decode([]byte("{")); err == nil {
		t.Error("broken json was accepted")
	}
}

// A decoder must not keep the record's bytes: the engine reuses them.
func TestBytesAreCopied(t *testing.T) {
	src := []byte("abc")
	got, err := Bytes.Decode(src)
	src[0] = 'z'
	if err != nil || string(got) != "abc" {
		t.Errorf("Bytes.Decode kept its source: %q, %v", got, err)
	}
}

func TestNulls(t *testing.T) {
	n, ok := Nullable(Int64).(NullCodec[*int64])
	if !ok || n.Null() != nil || !n.IsNull(nil) {
		t.Fatal("Nullable has no null")
	}
	seven := int64(7)
	b, err := n.Append(nil, &seven)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := n.Decode(b); err != nil || *v != 7 || n.IsNull(v) {
		t.Errorf("Nullable: %v, %v", v, err)
	}
	if b, ok := Bytes.(NullCodec[[]byte]); !ok || !b.IsNull(nil) || b.IsNull([]byte{}) {
		t.Error("Bytes must tell null from empty")
	}
	if _, ok := any(String).(NullCodec[string]); ok {
		t.Error("String must not take null for empty")
	}
}

func TestAllocations(t *testing.T) {
	buf := make([]byte, 0, 64)
	src := []byte{0, 0, 0, 0, 0, 0, 1, 2}
	for name, f := range map[string]func(){
		"int64 append":  func() { buf, _ = Int64.Append(buf[:0], 7) },
		"int64 decode":  func() { _, _ = Int64.Decode(src) },
		"string append": func() { buf, _ = String.Append(buf[:0], "seven") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("12345678"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, src []byte) {
		if v, err := Int64.Decode(src); err == nil {
			if b, _ := Int64.Append(nil, v); !bytes.Equal(b, src) {
				t.Errorf("int64 %x became %x", src, b)
			}
		}
		if v, err := Float64.Decode(src); err == nil && !math.IsNaN(v) {
			if b, _ := Float64.Append(nil, v); !bytes.Equal(b, src) {
				t.Errorf("float64 %x became %x", src, b)
			}
		}
		if v, err := String.Decode(src); err != nil || v != string(src) {
			t.Errorf("string %x became %q, %v", src, v, err)
		}
	})
}
