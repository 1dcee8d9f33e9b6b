package offsets

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestLedger(t *testing.T) {
	l := NewLedger(Task{1, 2}, EpochID{}, []int64{100, 0})
	poll := func(input int, offset int64) {
		t.Helper()
		if err := l.Poll(input, offset); err != nil {
			t.Fatal(err)
		}
	}
	poll(0, 100)
	poll(0, 105) // markers and compacted records leave gaps
	l.ProcessedTo(0, 101)
	if got, want := l.Span(0), (Span{100, 101, 106}); got != want || !l.Dirty() {
		t.Fatalf("%+v, want %+v", got, want)
	}
	l.Rollback()
	if got, want := l.Span(0), (Span{100, 100, 106}); got != want || l.Dirty() {
		t.Fatalf("%+v, want %+v", got, want)
	}
	l.ProcessedTo(0, 106)
	first := EpochID{Counter: 1, ProducerID: 9}
	l.Commit(first)
	if got, want := l.Span(0), (Span{106, 106, 106}); got != want || l.Epoch() != first || l.Dirty() {
		t.Fatalf("%+v %s, want %+v", got, l.Epoch(), want)
	}
	if got := l.Span(1); got != (Span{}) || l.Inputs() != 2 || l.Task() != (Task{1, 2}) {
		t.Fatalf("%+v", got)
	}
}

// A record below the position is never processed.
func TestLedgerRefusesRecordsBelowThePosition(t *testing.T) {
	l := NewLedger(Task{}, EpochID{}, []int64{100})
	var below *BelowError
	if err := l.Poll(0, 99); !errors.As(err, &below) || below.Want != 100 || below.Offset != 99 {
		t.Fatalf("got %v", err)
	}
	if err := l.Poll(0, 120); err != nil {
		t.Fatal(err)
	}
	if err := l.Poll(0, 120); !errors.As(err, &below) || below.Want != 121 {
		t.Fatalf("got %v", err)
	}
}

func TestLedgerPanics(t *testing.T) {
	tests := []struct {
		name, want string
		do         func(*Ledger)
	}{
		{"beyond what was polled", "processed 12 <= polled 11", func(l *Ledger) { l.ProcessedTo(0, 12) }},
		{"back", "from 10 to 9", func(l *Ledger) { l.ProcessedTo(0, 9) }},
		{"epoch twice", "c4.p1.e1 is committed after c4.p1.e0", func(l *Ledger) { l.Commit(EpochID{4, 1, 1}) }},
		{"negative position", "committed -1", func(*Ledger) { NewLedger(Task{}, EpochID{}, []int64{-1}) }},
	}
	for _, tt := range tests {
		l := NewLedger(Task{0, 1}, EpochID{4, 1, 0}, []int64{10})
		if err := l.Poll(0, 10); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, tt.want) {
					t.Errorf("%s: panic %q does not name %q", tt.name, text, tt.want)
				}
			}()
			tt.do(l)
			t.Errorf("%s: no panic", tt.name)
		}()
	}
}

// committed <= processed <= polled whatever the order of legal calls is.
func TestLedgerRandom(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := NewLedger(Task{}, EpochID{}, []int64{0, 50})
		counter := uint64(0)
		for range 200 {
			i := rng.IntN(2)
			switch s := l.Span(i); rng.IntN(5) {
			case 0, 1:
				if err := l.Poll(i, s.Polled+rng.Int64N(3)); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			case 2:
				l.ProcessedTo(i, s.Processed+rng.Int64N(s.Polled-s.Processed+1))
			case 3:
				counter++
				l.Commit(EpochID{Counter: counter})
			case 4:
				l.Rollback()
			}
			if s := l.Span(i); s.Committed > s.Processed || s.Processed > s.Polled {
				t.Fatalf("seed %d: %+v", seed, s)
			}
		}
	}
}
