package main

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// verdict is what a checker found. wanted + duplicated + wrong == seen + lost.
type verdict struct {
	Workload   string `json:"workload"`
	Records    int64  `json:"records"` // in the input
	Seen       int64  `json:"seen"`    // committed records of the output
	Lost       int64  `json:"lost"`
	Duplicated int64  `json:"duplicated"`
	Wrong      int64  `json:"wrong"`           // nothing in the input leads to them
	First      string `json:"first,omitempty"` // the first that was duplicated, wrong, or came after a gap
}

// OK says that the output is exactly what the input leads to.
func (v verdict) OK() bool { return v.Lost == 0 && v.Duplicated == 0 && v.Wrong == 0 }

// checker is given all records of the input, then all of the committed output, each
// partition in its order.
type checker interface {
	input(*kgo.Record)
	output(*kgo.Record)
	verdict() verdict
}

func newChecker(workload string) checker {
	if workload == "pass" {
		return &passChecker{v: verdict{Workload: workload}, seed: maphash.MakeSeed()}
	}
	return &countChecker{v: verdict{Workload: workload}, counts: map[string]*counted{}}
}

// countChecker follows the counts of each key. Those of a correct output are 1, 2, 3 up to
// the number of records in the input, in this order.
type countChecker struct {
	v      verdict
	counts map[string]*counted
	key    []byte // scratch
}

// counted is one key: 0 <= last <= want in a correct output, last == want at its end.
type counted struct{ want, last int64 }

func (c *countChecker) input(r *kgo.Record) {
	c.v.Records++
	switch c.v.Workload {
	case "rekey":
		c.key = appendGroup(c.key[:0], r.Key)
	case "window":
		at := r.Timestamp.UnixMilli()
		c.key = appendWindow(c.key[:0], r.Key, at-at%benchWindow.Milliseconds())
	default:
		c.key = append(c.key[:0], r.Key...)
	}
	n := c.counts[string(c.key)]
	if n == nil {
		n = &counted{}
		c.counts[string(c.key)] = n
	}
	n.want++
}

func (c *countChecker) output(r *kgo.Record) {
	c.v.Seen++
	n := c.counts[string(r.Key)]
	if n == nil || len(r.Value) != 8 {
		c.v.Wrong++
		c.note(r, "key %q, value %x", r.Key, r.Value)
		return
	}
	count := int64(binary.BigEndian.Uint64(r.Value))
	switch {
	case count < 1 || count > n.want:
		c.v.Wrong++
		c.note(r, "key %q: count %d, and there are %d in the input", r.Key, count, n.want)
	case count <= n.last:
		c.v.Duplicated++
		c.note(r, "key %q: count %d follows %d", r.Key, count, n.last)
	default:
		if count > n.last+1 {
			c.note(r, "key %q: count %d follows %d", r.Key, count, n.last)
		}
		c.v.Lost += count - n.last - 1
		n.last = count
	}
}

func (c *countChecker) note(r *kgo.Record, format string, args ...any) {
	note(&c.v, r, format, args...)
}

func note(v *verdict, r *kgo.Record, format string, args ...any) {
	if v.First == "" {
		v.First = fmt.Sprintf("topic %s, partition %d, offset %d: ", r.Topic, r.Partition, r.Offset) + fmt.Sprintf(format, args...)
	}
}

func (c *countChecker) verdict() verdict {
	v := c.v
	for key, n := range c.counts {
		v.Lost += n.want - n.last
		if v.First == "" && n.last < n.want {
			v.First = fmt.Sprintf("key %q ends at %d, and there are %d in the input", key, n.last, n.want)
		}
	}
	return v
}

// passChecker compares two multisets of records by their hashes: 8 bytes for each record,
// which is the most that fits beside a big topic.
type passChecker struct {
	v       verdict
	seed    maphash.Seed
	in, out []uint64
	scratch []byte
}

func (c *passChecker) hash(key, value []byte) uint64 {
	c.scratch = binary.BigEndian.AppendUint32(c.scratch[:0], uint32(len(key)))
	c.scratch = append(c.scratch, key...)
	c.scratch = append(c.scratch, value...)
	return maphash.Bytes(c.seed, c.scratch)
}

func (c *passChecker) input(r *kgo.Record) {
	c.v.Records++
	h := c.hash(r.Key, nil)
	if v := len(c.scratch); len(r.Value) > 0 {
		c.scratch = append(c.scratch, r.Value...)
		upperFirst(c.scratch[v:])
		h = maphash.Bytes(c.seed, c.scratch)
	}
	c.in = append(c.in, h)
}

func (c *passChecker) output(r *kgo.Record) {
	c.v.Seen++
	c.out = append(c.out, c.hash(r.Key, r.Value))
}

func (c *passChecker) verdict() verdict {
	v := c.v
	slices.Sort(c.in)
	slices.Sort(c.out)
	// run is how often the first hash of s is there.
	run := func(s []uint64) (n int) {
		for n = 1; n < len(s) && s[n] == s[0]; n++ {
		}
		return n
	}
	in, out := c.in, c.out
	for len(in) > 0 || len(out) > 0 {
		switch {
		case len(out) == 0 || len(in) > 0 && in[0] < out[0]:
			n := run(in)
			v.Lost += int64(n)
			in = in[n:]
		case len(in) == 0 || out[0] < in[0]:
			n := run(out)
			v.Wrong += int64(n)
			out = out[n:]
		default:
			i, o := run(in), run(out)
			v.Lost += int64(max(i-o, 0))
			v.Duplicated += int64(max(o-i, 0))
			in, out = in[i:], out[o:]
		}
	}
	return v
}
