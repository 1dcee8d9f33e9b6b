package codec

import (
	"bytes"
	"math"
	"sync"
	"testing"
	"time"
)

// roundTrip holds for a codec that has one encoding per value: what decodes encodes to the
// same bytes again, from a value that is the reader's own.
func roundTrip[T any](t *testing.T, c Codec[T], src []byte) {
	t.Helper()
	kept := bytes.Clone(src)
	v, err := c.Decode(src)
	if !bytes.Equal(src, kept) {
		t.Errorf("%s: Decode(%x) changed its source to %x", c.Name(), kept, src)
	}
	if err != nil {
		return
	}
	for i := range src {
		src[i] ^= 0xff // a value that kept its source is another one now
	}
	b, err := c.Append([]byte("x"), v)
	copy(src, kept)
	if err != nil || !bytes.Equal(b, append([]byte("x"), src...)) {
		t.Errorf("%s: %x became %x, %v", c.Name(), src, b, err)
	}
}

func FuzzOneEncoding(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add([]byte("12345678"))
	f.Add([]byte("0123456789abcdef"))
	f.Add([]byte{0x7f, 0xf0, 0, 0, 0, 0, 0, 1}) // a signalling NaN
	f.Add(bytes.Repeat([]byte{0xff}, 8))
	f.Fuzz(func(t *testing.T, src []byte) {
		src = bytes.Clone(src)
		roundTrip(t, Bytes, src)
		roundTrip(t, String, src)
		roundTrip(t, Int64, src)
		roundTrip(t, Float64, src)
		roundTrip(t, Bool, src)
		roundTrip(t, Time, src)
		roundTrip(t, UUID, src)
		roundTrip(t, None, src)
		roundTrip(t, Nullable(Bytes), src)
		roundTrip(t, Nullable(Time), src)
	})
}

// JSON is not canonical, but what it wrote it reads, and writes again byte by byte.
func FuzzJSON(f *testing.F) {
	type row struct {
		A int64             `json:"a"`
		B *string           `json:"b,omitempty"`
		C map[string]int    `json:"c,omitempty"`
		D []byte            `json:"d,omitempty"`
		E map[string]string `json:"e,omitempty"`
	}
	c := JSON[row]()
	f.Add([]byte(`{"a": 1, "b": "x", "c": {"k": 2}, "d": "AQI="}`))
	f.Add([]byte(`{"a": 1} {}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, src []byte) {
		v, err := c.Decode(src)
		if err != nil {
			return
		}
		once, err := c.Append(nil, v)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", src, err)
		}
		v, err = c.Decode(once)
		if err != nil {
			t.Fatalf("%q was written and cannot be read: %v", once, err)
		}
		if twice, err := c.Append(nil, v); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q became %q, %v", once, twice, err)
		}
	})
}

// A failed Append leaves what was there, and a failed Decode names the codec.
func TestFailuresOfJSON(t *testing.T) {
	dst := []byte("there")
	got, err := JSON[float64]().Append(dst, math.Inf(1))
	if err == nil || string(got) != "there" {
		t.Errorf("Append(+Inf) = %q, %v; want an error, and what was there", got, err)
	}
	for src, want := range map[string]string{
		``: "unexpected end", `{"a": "x"}`: "a", `{"a": 1}x`: "after top-level value",
	} {
		_, err := JSON[struct{ A int64 }]().Decode([]byte(src))
		if err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte("json: ")) || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("Decode(%q): %v, want json: and %q", src, err, want)
		}
	}
}

// Times lose what is below a millisecond, and their zone; moments before 1970 stay.
func TestTimesAreMilliseconds(t *testing.T) {
	at := time.Date(1969, 12, 31, 20, 0, 0, 999_999, time.FixedZone("west", -4*3600))
	b, err := Time.Append(nil, at)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Time.Decode(b)
	if want := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	b, err = Time.Append(nil, time.UnixMilli(-1))
	if err != nil || !bytes.Equal(b, bytes.Repeat([]byte{0xff}, 8)) {
		t.Errorf("1 ms before 1970 is %x, %v", b, err)
	}
}

// What each codec allocates is part of its documentation.
func TestAllocationsOfEach(t *testing.T) {
	dst, word := make([]byte, 0, 64), []byte("seventeen letters and more")
	eight, one, id := make([]byte, 8), []byte{1}, make([]byte, 16)
	at := time.UnixMilli(7)
	for name, c := range map[string]struct {
		want float64
		f    func()
	}{
		"bytes append":  {0, func() { dst, _ = Bytes.Append(dst[:0], word) }},
		"bytes decode":  {1, func() { sinkBytes, _ = Bytes.Decode(word) }},
		"string decode": {1, func() { sinkString, _ = String.Decode(word) }},
		"float append":  {0, func() { dst, _ = Float64.Append(dst[:0], 1.5) }},
		"float decode":  {0, func() { _, _ = Float64.Decode(eight) }},
		"bool append":   {0, func() { dst, _ = Bool.Append(dst[:0], true) }},
		"bool decode":   {0, func() { _, _ = Bool.Decode(one) }},
		"time append":   {0, func() { dst, _ = Time.Append(dst[:0], at) }},
		"time decode":   {0, func() { _, _ = Time.Decode(eight) }},
		"uuid append":   {0, func() { dst, _ = UUID.Append(dst[:0], [16]byte{}) }},
		"uuid decode":   {0, func() { _, _ = UUID.Decode(id) }},
		"nullable":      {1, func() { sinkInt, _ = nullableInt.Decode(eight) }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n != c.want {
			t.Errorf("%s allocates %v times, want %v", name, n, c.want)
		}
	}
}

var (
	sinkBytes   []byte
	sinkString  string
	sinkInt     *int64
	nullableInt = Nullable(Int64)
)

// Codecs are shared by all lanes of a worker.
func TestCodecsAreSafeForConcurrentUse(t *testing.T) {
	j, n := JSON[map[string]int64](), Nullable(String)
	var wg sync.WaitGroup
	for g := range int64(8) {
		wg.Go(func() {
			text := string(rune('a' + g))
			for range 200 {
				b, err := j.Append(nil, map[string]int64{text: g})
				if v, err2 := j.Decode(b); err != nil || err2 != nil || v[text] != g {
					t.Errorf("json: %v, %v, %v", v, err, err2)
				}
				b, err = n.Append(nil, &text)
				if v, err2 := n.Decode(b); err != nil || err2 != nil || *v != text {
					t.Errorf("nullable: %v, %v, %v", v, err, err2)
				}
			}
		})
	}
	wg.Wait()
}
