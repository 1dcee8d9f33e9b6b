package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// workloads are what `weir bench worker` can run, in the order in which they are listed.
var workloads = []string{"pass", "count", "window", "rekey", "state"}

const (
	benchWindow = 10 * time.Second // size of the windows of workload window
	benchGroups = 10_000           // keys that workload rekey brings the input's down to
)

// workloadPlan builds one of the workloads; rowBytes is the size of a row of workload state.
//
//	pass    the value with its first byte in upper case, if that is an ASCII letter
//	count   per key, every update, 8 bytes big-endian
//	window  per key and 10 s of the record's time, every update; key and 8 bytes of window start
//	rekey   through a repartition topic under a key of one of 10,000 groups, then as count
//	state   as count, with a count at the begin of a row of rowBytes
func workloadPlan(workload, app, in, out string, rowBytes int) (*topology.Plan, error) {
	b := topology.New(app)
	source := topology.NewTopic(in, codec.Bytes, codec.Bytes)
	switch workload {
	case "pass":
		upper := topology.MapValues(topology.From(b, source), func(_, value []byte) ([]byte, error) {
			upperFirst(value) // the codec made it, nobody else has it
			return value, nil
		})
		upper.To(topology.NewTopic(out, codec.Bytes, codec.Bytes))
	case "count":
		topology.From(b, source).Count("counts").To(topology.NewTopic(out, codec.Bytes, codec.Int64))
	case "window":
		windows := topology.Window(topology.From(b, source), window.Tumbling(benchWindow))
		windows.Count("windows").To(topology.NewTopic(out, codec.Codec[topology.Windowed[[]byte]](windowStart{}), codec.Int64))
	case "rekey":
		groups := topology.KeyBy(topology.From(b, source), "by-group", codec.Bytes, func(key, _ []byte) ([]byte, error) {
			return appendGroup(make([]byte, 0, groupBytes), key), nil
		})
		groups.Count("groups").To(topology.NewTopic(out, codec.Bytes, codec.Int64))
	case "state":
		rows := topology.Aggregate(topology.From(b, source), "rows", codec.Bytes, func(_, value, row []byte) ([]byte, error) {
			return countRow(row, value, rowBytes), nil
		})
		counts := topology.MapValues(rows.ToStream(), func(_, row []byte) (int64, error) {
			return int64(binary.BigEndian.Uint64(row)), nil
		})
		counts.To(topology.NewTopic(out, codec.Bytes, codec.Int64))
	default:
		return nil, unknownWorkload(workload)
	}
	return b.Build()
}

func checkWorkload(name string) error {
	if !slices.Contains(workloads, name) {
		return unknownWorkload(name)
	}
	return nil
}

func unknownWorkload(name string) error {
	return fmt.Errorf("there is no workload %q: use one of %s", name, strings.Join(workloads, ", "))
}

// upperFirst is what workload pass does, in place.
func upperFirst(value []byte) {
	if len(value) > 0 && value[0] >= 'a' && value[0] <= 'z' {
		value[0] -= 'a' - 'A'
	}
}

// minRowBytes hold the count of a row of workload state.
const minRowBytes = 8

// countRow adds one to the count in a row, and fills the rest of it with the value, again and again.
func countRow(row, value []byte, size int) []byte {
	if len(row) != size {
		row = make([]byte, size)
	}
	binary.BigEndian.PutUint64(row, binary.BigEndian.Uint64(row)+1)
	for rest := row[minRowBytes:]; len(value) > 0 && len(rest) > 0; {
		rest = rest[copy(rest, value):]
	}
	return row
}

const groupBytes = len("g0000")

// appendGroup appends the key of workload rekey: g and the four decimal digits of FNV-1a of
// the key, 32 bits, modulo 10,000. Written out because hash/fnv allocates.
func appendGroup(dst, key []byte) []byte {
	h := uint32(2166136261)
	for _, c := range key {
		h = (h ^ uint32(c)) * 16777619
	}
	h %= benchGroups
	return append(dst, 'g', byte('0'+h/1000), byte('0'+h/100%10), byte('0'+h/10%10), byte('0'+h%10))
}

// windowStart encodes the key of workload window: the key, then the start of the window in
// ms, 8 bytes big-endian.
type windowStart struct{}

func (windowStart) Name() string { return "bench-window" }

func (windowStart) Append(dst []byte, w topology.Windowed[[]byte]) ([]byte, error) {
	return appendWindow(dst, w.Key, w.Start.UnixMilli()), nil
}

func (windowStart) Decode(src []byte) (topology.Windowed[[]byte], error) {
	n := len(src) - 8
	if n < 0 {
		return topology.Windowed[[]byte]{}, fmt.Errorf("%d bytes are no key with the start of a window: %w", len(src), codec.ErrSize)
	}
	start := time.UnixMilli(int64(binary.BigEndian.Uint64(src[n:]))).UTC()
	return topology.Windowed[[]byte]{Key: append([]byte(nil), src[:n]...), Start: start, End: start.Add(benchWindow)}, nil
}

// PartitionKey places the windows of one key in one partition.
func (windowStart) PartitionKey(encoded []byte) []byte { return encoded[:max(len(encoded)-8, 0)] }

func appendWindow(dst, key []byte, start int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, key...), uint64(start))
}
