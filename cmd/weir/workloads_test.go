package main

import (
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
)

func TestWorkloadsBuild(t *testing.T) {
	for _, w := range workloads {
		if _, err := workloadPlan(w, "bench-"+w, "in", "out", 100); err != nil {
			t.Errorf("%s: %v", w, err)
		}
	}
	if _, err := workloadPlan("other", "bench", "in", "out", 100); err == nil || err.Error() != `there is no workload "other": use one of pass, count, window, rekey, state` {
		t.Errorf("unknown workload: %v", err)
	}
}

func TestGroupIsFNV1a(t *testing.T) {
	for _, key := range []string{"", "a", "k000000001", "\x00\xff"} {
		h := fnv.New32a()
		h.Write([]byte(key))
		if want, got := fmt.Sprintf("g%04d", h.Sum32()%10_000), string(appendGroup(nil, []byte(key))); got != want {
			t.Errorf("group of %q is %s, want %s", key, got, want)
		}
	}
}

func TestRowsOfWorkloadState(t *testing.T) {
	var row []byte
	for i, value := range []string{"abc", "", "defg"} {
		row = countRow(row, []byte(value), 14)
		if want := []string{"\x01abcabc", "\x02abcabc", "\x03defgde"}[i]; string(row) != "\x00\x00\x00\x00\x00\x00\x00"+want {
			t.Errorf("row %d is %q, want 7 zeros and %q", i, row, want)
		}
	}
}

func TestUpperFirst(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "A", "zz": "Zz", "Q": "Q", "1a": "1a", "\xe4": "\xe4"} {
		v := []byte(in)
		if upperFirst(v); string(v) != want {
			t.Errorf("%q becomes %q, want %q", in, v, want)
		}
	}
}

func TestWindowKey(t *testing.T) {
	w := topology.Windowed[[]byte]{Key: []byte("k1"), Start: time.UnixMilli(1_767_225_600_000)}
	b, err := windowStart{}.Append(nil, w)
	if want := "k1\x00\x00\x01\x9b\x76\xda\xa8\x00"; err != nil || string(b) != want {
		t.Errorf("encoded as %q, %v; want %q", b, err, want)
	}
	if got, err := (windowStart{}).Decode(b); err != nil || string(got.Key) != "k1" || !got.Start.Equal(w.Start) || got.End.Sub(got.Start) != benchWindow {
		t.Errorf("decoded as %+v, %v", got, err)
	}
	if p := (windowStart{}).PartitionKey(b); string(p) != "k1" {
		t.Errorf("placed by %q", p)
	}
	if _, err := (windowStart{}).Decode([]byte("short")); err == nil {
		t.Error("a short key was decoded")
	}
}
