package changelog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// After a restart the store comes back into memory by itself, and then answers for absent
// keys too without asking the disk.
func TestStoreWarmsUp(t *testing.T) {
	dir, n := t.TempDir(), 3*warmRows+5
	clock := time.Unix(1e9, 0)
	opt := DBOptions{Dir: dir, Application: "app", MinFree: 1, Now: func() time.Time { return clock }}
	db, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, db, storeID(0))
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	fill(t, s, 1, keys...)
	if err := errors.Join(s.Close(context.Background(), true), db.Close()); err != nil {
		t.Fatal(err)
	}

	opt.ApplyInterval = time.Hour
	db = openTest(t, opt)
	s = openStore(t, db, storeID(0))
	if err := s.Finish(epochID(1), int64(n)); err != nil {
		t.Fatal(err)
	}
	for slice := range 4 {
		// Changes during the walk: before it, behind it, and a new key.
		for i := slice; i < n; i += 1000 {
			if err := errors.Join(s.Put([]byte(keys[i]), []byte("new")), s.Put(fmt.Appendf(nil, "more-%d-%d", slice, i), nil)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete([]byte(keys[500+slice])); err != nil {
			t.Fatal(err)
		}
		s.Commit(epochID(uint64(slice+2)), s.end+100)
		if s.complete {
			t.Fatalf("complete after %d slices", slice)
		}
		clock = clock.Add(warmPause)
		if err := s.Apply(); err != nil {
			t.Fatal(err)
		}
	}
	if !s.complete {
		t.Fatal("not complete after the last slice")
	}
	for i, k := range keys {
		v, ok, err := s.Get([]byte(k))
		want, has := "value of "+k, true
		switch {
		case i >= 500 && i < 504:
			want, has = "", false
		case i%1000 < 4:
			want = "new"
		}
		if err != nil || ok != has || string(v) != want {
			t.Fatalf("%s: %q %v %v, want %q", k, v, ok, err, want)
		}
	}
	if _, ok, err := s.Get([]byte("absent")); ok || err != nil {
		t.Errorf("absent: %v %v", ok, err)
	}
	if r := s.Stats().Reads; r != 0 {
		t.Errorf("%d reads from disk", r)
	}
	if err := s.Close(context.Background(), false); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkWarmUp(b *testing.B) {
	const n = 500_000
	clock := time.Unix(1e9, 0)
	db := openTest(b, DBOptions{Now: func() time.Time { return clock }, ApplyInterval: time.Hour})
	s := openStore(b, db, storeID(0))
	for i := range n {
		if err := s.Put(fmt.Appendf(nil, "\x01key-%09d", i*7919%n), make([]byte, 8)); err != nil {
			b.Fatal(err)
		}
	}
	s.Commit(epochID(1), n)
	if err := s.Close(context.Background(), true); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s = openStore(b, db, storeID(0))
		if err := s.Finish(epochID(1), n); err != nil {
			b.Fatal(err)
		}
		for !s.complete {
			clock = clock.Add(warmPause)
			if err := s.Apply(); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Close(context.Background(), false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*b.N), "ns/row")
}
