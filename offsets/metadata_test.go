package offsets

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"strings"
	"testing"
)

var example = Metadata{
	Timeline:  1,
	Epoch:     EpochID{Counter: 7, ProducerID: 1001, ProducerEpoch: 3},
	Prev:      EpochID{Counter: 6, ProducerID: 1001, ProducerEpoch: 2},
	Cut:       2,
	Time:      1700000000000,
	InputTime: 1700000000500,
	Wall:      1700000001000,
	Ends:      []int64{4200, 17},
}

func TestMetadataGolden(t *testing.T) {
	tests := []struct {
		name string
		m    Metadata
		want string // hex without the checksum
	}{
		{"example", example, "01" + "01" + "07d20f06" + "06d20f04" + "02" + "80a0abfef962" + "e8a7abfef962" + "d0afabfef962" + "02" + "d041" + "22"},
		{"birth", Metadata{Timeline: 300, Time: NoTime, InputTime: NoTime}, "01" + "ac02" + "000000" + "000000" + "00" + "ffffffffffffffffff01" + "ffffffffffffffffff01" + "00" + "00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := tt.m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := hex.DecodeString(tt.want)
			want = binary.BigEndian.AppendUint32(want, crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli)))
			if hex.EncodeToString(raw) != hex.EncodeToString(want) {
				t.Errorf("got  %x\nwant %x", raw, want)
			}
			back, err := DecodeMetadata(s)
			if err != nil || !reflect.DeepEqual(back, tt.m) {
				t.Errorf("decoded %+v, %v, want %+v", back, err, tt.m)
			}
		})
	}
}

// Metadata of MaxStores stores fits beside an offset whatever its values are.
func TestMetadataFitsAtMaxStores(t *testing.T) {
	widest := EpochID{math.MaxUint64, math.MinInt64, math.MinInt16}
	m := Metadata{math.MaxUint32, widest, widest, math.MaxUint64, math.MinInt64, math.MinInt64, math.MinInt64, nil}
	for range MaxStores {
		m.Ends = append(m.Ends, math.MinInt64)
	}
	s, err := m.Encode()
	if err != nil || len(s) > MetadataLimit {
		t.Fatalf("%d bytes, %v", len(s), err)
	}
	if back, err := DecodeMetadata(s); err != nil || !reflect.DeepEqual(back, m) {
		t.Fatalf("decoded %+v, %v", back, err)
	}
	for range MaxStores {
		m.Ends = append(m.Ends, math.MinInt64)
	}
	var large *TooLargeError
	if _, err := m.Encode(); !errors.As(err, &large) || large.Stores != 2*MaxStores {
		t.Fatalf("got %v, want a TooLargeError", err)
	}
}

func TestDecodeMetadataRefuses(t *testing.T) {
	good, _ := example.Encode()
	raw, _ := base64.StdEncoding.DecodeString(good)
	seal := func(body ...byte) string {
		body = binary.BigEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
		return base64.StdEncoding.EncodeToString(body)
	}
	body := raw[:len(raw)-4]
	with := func(i int, b byte) string {
		c := append([]byte(nil), body...)
		c[i] = b
		return seal(c...)
	}
	tests := []struct {
		name, in string
		want     error
	}{
		{"empty", "", ErrCorrupt},
		{"foreign text", "consumer-3@host", ErrCorrupt},
		{"line end", good[:8] + "\n" + good[8:], ErrCorrupt},
		{"flipped bit", "B" + good[1:], ErrCorrupt},
		{"cut short", good[:len(good)-4], ErrCorrupt},
		{"version 0", with(0, 0), ErrCorrupt},
		{"version 2", with(0, 2), ErrVersion},
		{"byte behind", seal(append(append([]byte(nil), body...), 0)...), ErrCorrupt},
		{"field missing", seal(body[:len(body)-1]...), ErrCorrupt},
		{"long way to write 1", seal(append([]byte{1, 0x81, 0x00}, body[2:]...)...), ErrCorrupt},
		{"too long", strings.Repeat("A", MetadataLimit+4), ErrCorrupt},
		{"only a checksum", seal(1), ErrCorrupt},
	}
	for _, tt := range tests {
		if _, err := DecodeMetadata(tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// Whatever decodes encodes to the same text again.
func FuzzDecodeMetadata(f *testing.F) {
	for _, m := range []Metadata{{}, example, {Timeline: math.MaxUint32, Time: NoTime, Ends: []int64{-1, math.MaxInt64}}} {
		s, _ := m.Encode()
		f.Add(s, true)
		raw, _ := base64.StdEncoding.DecodeString(s)
		f.Add(string(raw[:len(raw)-4]), false)
	}
	f.Fuzz(func(t *testing.T, s string, sealed bool) {
		if !sealed { // s is the body: the checksum would hide everything behind it
			b := []byte(s)
			b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
			s = base64.StdEncoding.EncodeToString(b)
		}
		m, err := DecodeMetadata(s)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again, err := m.Encode(); err != nil || again != s {
			t.Fatalf("%q decodes to %+v, which encodes to %q, %v", s, m, again, err)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add(uint32(1), uint64(7), int64(1001), int16(3), uint64(2), int64(5), int64(6), int64(7), 3)
	f.Fuzz(func(t *testing.T, timeline uint32, counter uint64, id int64, epoch int16, cut uint64, a, b, c int64, stores int) {
		m := Metadata{timeline, EpochID{counter, id, epoch}, EpochID{counter - 1, id, epoch - 1}, cut, a, b, c, nil}
		for i := range max(0, stores%MaxStores) {
			m.Ends = append(m.Ends, a+int64(i)*b)
		}
		s, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeMetadata(s); err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("decoded %+v, %v, want %+v", back, err, m)
		}
	})
}

func BenchmarkMetadataEncode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := example.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}
