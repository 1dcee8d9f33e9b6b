package tally

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// AwaitRewound is Await after a rewind: records below ends were written before it. Of a fork, prior is what the other
// application has written, all of it below ends.
func (t Tally) AwaitRewound(ctx context.Context, brokers []string, n int, prior Outputs, ends map[Partition]int64) (Outputs, error) {
	with := func(out Outputs) Outputs {
		return Outputs{slices.Concat(prior.Seen, out.Seen), slices.Concat(prior.Groups, out.Groups), slices.Concat(prior.Windows, out.Windows)}
	}
	out, err := t.await(ctx, brokers, func(out Outputs) error {
		out = with(out)
		// Duplicates are no reason to wait, as they do not go away.
		if r := t.CheckRewound(out, n, ends); len(r.missing) > 0 {
			return fmt.Errorf("%d are missing, the first is %s", len(r.missing), r.missing[0])
		}
		return nil
	})
	return with(out), err
}

// Rewound is a Report that knows what may still come.
type Rewound struct {
	Report
	missing []string
	Again   int // updates that were there before, and came again
}

// CheckRewound compares the outputs after a rewind with the closed form for n input records. What lies below ends was
// written before. Behind it the updates of each key go on where they were at some point before and run, without gap or
// repeat, to the same last one as ever; a window fires there once, or it has fired before and is not to fire again.
func (t Tally) CheckRewound(out Outputs, n int, ends map[Partition]int64) *Rewound {
	r := &Rewound{Report: Report{Seen: len(out.Seen), Groups: len(out.Groups), Windows: len(out.Windows)}}
	want := t.closedForm(n)
	for name, part := range map[string]struct {
		records []*kgo.Record
		want    map[string]Pair
	}{"seen": {out.Seen, want.keys}, "groups": {out.Groups, want.groups}} {
		before, after := map[string]int64{}, map[string]Pair{}
		for _, rec := range part.records {
			k := string(rec.Key)
			p, err := pairCodec{}.Decode(rec.Value)
			if err != nil {
				r.add("%s/%d@%d: %v", rec.Topic, rec.Partition, rec.Offset, err)
				continue
			}
			if name == "seen" && p.N != p.Value && !strings.HasPrefix(k, "last-") {
				r.add("I3 %s/%d@%d: key %s: update %d saw value %d", rec.Topic, rec.Partition, rec.Offset, k, p.N, p.Value)
			}
			if rec.Offset < ends[Partition{rec.Topic, rec.Partition}] {
				before[k] = max(before[k], p.N)
				continue
			}
			switch last, going := after[k]; {
			case going && p.N != last.N+1:
				r.add("I1/I5 %s/%d@%d: key %s: update %d follows %d", rec.Topic, rec.Partition, rec.Offset, k, p.N, last.N)
			case !going && p.N > before[k]+1:
				r.add("I2 %s/%d@%d: key %s goes on with update %d, it was at %d", rec.Topic, rec.Partition, rec.Offset, k, p.N, before[k])
			}
			if p.N <= before[k] {
				r.Again++
			}
			after[k] = p
		}
		for _, k := range slices.Sorted(maps.Keys(part.want)) {
			w := part.want[k]
			last, going := after[k]
			if !going && before[k] == w.N {
				continue // nothing came after the cut
			}
			if last.N < w.N {
				r.missing = append(r.missing, fmt.Sprintf("%s: %s is at %d of %d", name, k, last.N, w.N))
			}
			if last != w {
				r.add("I2 %s: key %s ends at %+v, want %+v", name, k, last, w)
			}
		}
	}
	before, after := map[string]int64{}, map[string]int64{}
	for _, rec := range out.Windows {
		if len(rec.Key) < 16 || len(rec.Value) != 8 {
			r.add("%s/%d@%d: key of %d, value of %d bytes", rec.Topic, rec.Partition, rec.Offset, len(rec.Key), len(rec.Value))
			continue
		}
		group, bounds := string(rec.Key[:len(rec.Key)-16]), rec.Key[len(rec.Key)-16:]
		name, count := windowName(group, time.UnixMilli(int64(binary.BigEndian.Uint64(bounds)))), int64(binary.BigEndian.Uint64(rec.Value))
		if rec.Offset < ends[Partition{rec.Topic, rec.Partition}] {
			before[name] = count // there may have been other rewinds before, and more than one
		} else {
			if _, twice := after[name]; twice {
				r.add("I9 %s/%d@%d: window %s fired twice", rec.Topic, rec.Partition, rec.Offset, name)
			}
			after[name] = count
		}
		if count != want.windows[name] {
			r.add("I9 %s/%d@%d: window %s counts %d, want %d", rec.Topic, rec.Partition, rec.Offset, name, count, want.windows[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.windows)) {
		_, a := before[name]
		_, b := after[name]
		if !a && !b {
			r.missing = append(r.missing, "window "+name)
			r.add("I9 window %s has not fired", name)
		}
	}
	return r
}
