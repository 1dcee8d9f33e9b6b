package offsets

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"
)

func TestStampGolden(t *testing.T) {
	s := Stamp{Kind: Heartbeat, Timeline: 3, Task: Task{2, 5}, Cut: 9, Watermark: 1700000000000}
	const want = "0101" + "00000003" + "00000002" + "00000005" + "0000000000000009" + "0000018bcfe56800"
	got := s.Append([]byte("before"))
	if !bytes.HasPrefix(got, []byte("before")) || hex.EncodeToString(got[6:]) != want {
		t.Errorf("got  %x\nwant %s", got[6:], want)
	}
	if back, err := DecodeStamp(got[6:]); err != nil || back != s {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

func TestDecodeStampRefuses(t *testing.T) {
	good := Stamp{Task: Task{1, 1}}.Append(nil)
	with := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] = b
		return c
	}
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nil", nil, ErrCorrupt},
		{"short", good[:29], ErrCorrupt},
		{"long", append(bytes.Clone(good), 0), ErrCorrupt},
		{"version 0", with(0, 0), ErrCorrupt},
		{"version 2", with(0, 2), ErrVersion},
		{"version 2 of another size", []byte{2, 0}, ErrVersion},
		{"unknown kind", with(1, 3), ErrCorrupt},
		{"negative task", with(6, 0x80), ErrCorrupt},
	}
	for _, tt := range tests {
		if _, err := DecodeStamp(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func FuzzDecodeStamp(f *testing.F) {
	f.Add(Stamp{}.Append(nil))
	f.Add(Stamp{Idle, math.MaxUint32, Task{3, 4}, math.MaxUint64, NoTime}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeStamp(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again := s.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, s, again)
		}
	})
}

// Stamps are written and read once per record.
func TestStampDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, stampSize)
	s := Stamp{Timeline: 1, Task: Task{1, 2}, Watermark: 5}
	if n := testing.AllocsPerRun(100, func() {
		buf = s.Append(buf[:0])
		if _, err := DecodeStamp(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
