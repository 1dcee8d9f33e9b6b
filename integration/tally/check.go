package tally

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Report lists what is wrong, by invariant. Empty means right.
type Report struct {
	Violations []string
	Seen       int // committed records of each output
	Groups     int
	Windows    int
}

func (r *Report) add(format string, args ...any) {
	if len(r.Violations) < 50 {
		r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
	}
}

func (r *Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	return fmt.Errorf("%d violations:\n  %s", len(r.Violations), strings.Join(r.Violations, "\n  "))
}

// Outputs are the committed records of the three outputs, by topic and partition order.
type Outputs struct{ Seen, Groups, Windows []*kgo.Record }

// CheckInput looks for records that the loader wrote twice: a broker that dies under it
// may make it do so, and what follows from that is not the worker's fault.
func (t Tally) CheckInput(ctx context.Context, brokers []string, n int) error {
	cl, err := t.client(brokers, kgo.ConsumeTopics(t.In()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	last := map[string]int64{}
	for got := 0; got < n; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("read the input of %s: %d of %d: %w", t.App, got, n, ctx.Err())
		}
		for _, r := range fs.Records() {
			if strings.HasPrefix(string(r.Key), "last-") {
				continue
			}
			got++
			v := int64(binary.BigEndian.Uint64(r.Value))
			if v != last[string(r.Key)]+1 {
				return fmt.Errorf("%w: %s/%d@%d: key %s: value %d follows %d", ErrInput, r.Topic, r.Partition, r.Offset, r.Key, v, last[string(r.Key)])
			}
			last[string(r.Key)] = v
		}
	}
	return nil
}

// ErrInput: the input is not what the closed form is of.
var ErrInput = errors.New("the loader wrote a wrong input")

// Expected is the number of committed records of each output after n input records with
// the last ones.
func (t Tally) Expected(n int) (seen, groups, windows int) {
	all := n + int(t.Partitions)
	w := map[string]bool{}
	for i := range n {
		w[fmt.Sprintf("%s/%d", t.group(t.key(i)), i/int(WindowSize/time.Millisecond))] = true
	}
	return all, all, len(w)
}

// Await reads committed outputs until there are as many as there should be after n input
// records, then to the end of the topics. What came until ctx ended is returned with the
// error.
func (t Tally) Await(ctx context.Context, brokers []string, n int) (Outputs, error) {
	seen, groups, windows := t.Expected(n)
	return t.await(ctx, brokers, func(out Outputs) error {
		if len(out.Seen) < seen || len(out.Groups) < groups || len(out.Windows) < windows {
			return fmt.Errorf("seen %d of %d, groups %d of %d, windows %d of %d", len(out.Seen), seen, len(out.Groups), groups, len(out.Windows), windows)
		}
		return nil
	})
}

// await reads until nothing is missing, and then to the end.
func (t Tally) await(ctx context.Context, brokers []string, missing func(Outputs) error) (Outputs, error) {
	var out Outputs
	cl, err := t.client(brokers, kgo.ConsumeTopics(t.Seen(), t.GroupsT(), t.Windows()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return out, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	at := map[string]map[int32]int64{}
	for {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return out, fmt.Errorf("waiting for the outputs of %s: %w: %w", t.App, missing(out), ctx.Err())
		}
		fs.EachRecord(func(r *kgo.Record) {
			if at[r.Topic] == nil {
				at[r.Topic] = map[int32]int64{}
			}
			at[r.Topic][r.Partition] = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			switch r.Topic {
			case t.Seen():
				out.Seen = append(out.Seen, r)
			case t.GroupsT():
				out.Groups = append(out.Groups, r)
			case t.Windows():
				out.Windows = append(out.Windows, r)
			}
		})
		if missing(out) != nil {
			continue
		}
		// Enough: what else is there is too much, so read to the very end.
		ends, err := adm.ListEndOffsets(ctx, t.Seen(), t.GroupsT(), t.Windows())
		if err != nil {
			continue // a broker may be down on purpose
		}
		whole := true
		ends.Each(func(o kadm.ListedOffset) { whole = whole && o.Err == nil && at[o.Topic][o.Partition] >= o.Offset })
		if whole {
			return out, nil
		}
	}
}

// Check compares the outputs with the closed form for n input records.
//
//	I1, I3, I5  per key: (1,1) (2,2) ... in order, without gap or repeat
//	I2          the last update of each key and group counts all its records
//	I9          each window once, with its exact number
func (t Tally) Check(out Outputs, n int) *Report { return t.compare(out, t.closedForm(n)) }

// form is the last update of each key and group, and the number of each window.
type form struct {
	keys, groups map[string]Pair
	windows      map[string]int64
}

func newForm() form { return form{map[string]Pair{}, map[string]Pair{}, map[string]int64{}} }

// add is one more record of the input.
func (f form) add(key, group string, value int64, at time.Time) {
	f.keys[key] = Pair{f.keys[key].N + 1, value}
	f.groups[group] = Pair{f.groups[group].N + 1, f.groups[group].Value + value}
	f.windows[windowName(group, at.Truncate(WindowSize))]++
}

func (t Tally) compare(out Outputs, want form) *Report {
	r := &Report{Seen: len(out.Seen), Groups: len(out.Groups), Windows: len(out.Windows)}
	perKey := map[string]int64{}
	for _, rec := range out.Seen {
		k := string(rec.Key)
		p, err := pairCodec{}.Decode(rec.Value)
		if err != nil {
			r.add("%s/%d@%d: %v", rec.Topic, rec.Partition, rec.Offset, err)
			continue
		}
		if p.N != perKey[k]+1 {
			r.add("I1/I5 %s/%d@%d: key %s: update %d follows %d", rec.Topic, rec.Partition, rec.Offset, k, p.N, perKey[k])
		}
		if p.N != p.Value && !strings.HasPrefix(k, "last-") {
			r.add("I3 %s/%d@%d: key %s: update %d saw value %d", rec.Topic, rec.Partition, rec.Offset, k, p.N, p.Value)
		}
		perKey[k] = p.N
	}
	for k, w := range want.keys {
		if perKey[k] != w.N {
			r.add("I2 seen: key %s ends at %d, want %d", k, perKey[k], w.N)
		}
	}
	groups := map[string]Pair{}
	for _, rec := range out.Groups {
		k := string(rec.Key)
		p, err := pairCodec{}.Decode(rec.Value)
		if err != nil {
			r.add("%s/%d@%d: %v", rec.Topic, rec.Partition, rec.Offset, err)
			continue
		}
		if p.N != groups[k].N+1 {
			r.add("I1/I5 %s/%d@%d: group %s: update %d follows %d", rec.Topic, rec.Partition, rec.Offset, k, p.N, groups[k].N)
		}
		groups[k] = p
	}
	for k, w := range want.groups {
		if groups[k] != w {
			r.add("I2 groups: %s ends at %+v, want %+v", k, groups[k], w)
		}
	}
	windows := map[string]int64{}
	for _, rec := range out.Windows {
		if len(rec.Key) < 16 || len(rec.Value) != 8 {
			r.add("%s/%d@%d: key of %d, value of %d bytes", rec.Topic, rec.Partition, rec.Offset, len(rec.Key), len(rec.Value))
			continue
		}
		group, bounds := string(rec.Key[:len(rec.Key)-16]), rec.Key[len(rec.Key)-16:]
		name := windowName(group, time.UnixMilli(int64(binary.BigEndian.Uint64(bounds))))
		if _, twice := windows[name]; twice {
			r.add("I9 %s/%d@%d: window %s fired twice", rec.Topic, rec.Partition, rec.Offset, name)
		}
		windows[name] = int64(binary.BigEndian.Uint64(rec.Value))
	}
	for name, w := range want.windows {
		if windows[name] != w {
			r.add("I9 window %s counts %d, want %d", name, windows[name], w)
		}
	}
	for name := range windows {
		if want.windows[name] == 0 {
			r.add("I9 window %s should not have fired", name)
		}
	}
	return r
}

// closedForm is what comes of n input records and the last ones.
func (t Tally) closedForm(n int) form {
	f := newForm()
	for i := range n {
		k := t.key(i)
		f.add(k, t.group(k), int64(i/t.Keys+1), Base.Add(time.Duration(i)*time.Millisecond))
	}
	for p := range t.Partitions {
		f.keys[fmt.Sprintf("last-%d", p)] = Pair{1, 0}
		f.groups["other"] = Pair{int64(t.Partitions), 0}
	}
	return f
}

func windowName(group string, start time.Time) string {
	return fmt.Sprintf("%s@%d", group, start.UnixMilli())
}
