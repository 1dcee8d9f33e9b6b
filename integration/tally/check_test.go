package tally

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// perfect is what a run without any failure leaves: the outputs of a sequential run.
func (t Tally) perfect(n int) (out Outputs) {
	seen, groups, windows := map[string]Pair{}, map[string]Pair{}, map[string]int64{}
	one := func(k string, v int64, at time.Time, window bool) {
		enc := func(p Pair) []byte { b, _ := pairCodec{}.Append(nil, p); return b }
		seen[k] = Pair{seen[k].N + 1, v}
		out.Seen = append(out.Seen, &kgo.Record{Topic: t.Seen(), Key: []byte(k), Value: enc(seen[k]), Offset: int64(len(out.Seen))})
		g := t.group(k)
		groups[g] = Pair{groups[g].N + 1, groups[g].Value + v}
		out.Groups = append(out.Groups, &kgo.Record{Topic: t.GroupsT(), Key: []byte(g), Value: enc(groups[g])})
		if window {
			start := at.Truncate(WindowSize)
			key := binary.BigEndian.AppendUint64([]byte(g), uint64(start.UnixMilli()))
			key = binary.BigEndian.AppendUint64(key, uint64(start.Add(WindowSize).UnixMilli()))
			windows[string(key)]++
		}
	}
	for i := range n {
		one(t.key(i), int64(i/t.Keys+1), Base.Add(time.Duration(i)*time.Millisecond), true)
	}
	for p := range t.Partitions {
		one(fmt.Sprintf("last-%d", p), 0, Base, false)
	}
	for k, v := range windows {
		out.Windows = append(out.Windows, &kgo.Record{Topic: t.Windows(), Key: []byte(k), Value: binary.BigEndian.AppendUint64(nil, uint64(v))})
	}
	return out
}

// The checker is checked: each planted mistake must be reported under its invariant.
func TestCheckerFindsPlantedMistakes(t *testing.T) {
	ta := Tally{App: "t", Keys: 10, Groups: 3, Partitions: 2}
	const n = 3000
	if err := ta.Check(ta.perfect(n), n).Err(); err != nil {
		t.Fatalf("a perfect run is reported: %v", err)
	}
	seen, groups, windows := ta.Expected(n)
	if p := ta.perfect(n); len(p.Seen) != seen || len(p.Groups) != groups || len(p.Windows) != windows {
		t.Fatalf("a perfect run has %d, %d, %d outputs, Expected says %d, %d, %d", len(p.Seen), len(p.Groups), len(p.Windows), seen, groups, windows)
	}
	for name, c := range map[string]struct {
		want  string
		plant func(*Outputs)
	}{
		"an update lost":         {"I1", func(o *Outputs) { o.Seen = slices.Delete(o.Seen, 500, 501) }},
		"an update doubled":      {"I1", func(o *Outputs) { o.Seen = slices.Insert(o.Seen, 501, o.Seen[500]) }},
		"two updates swapped":    {"I1", func(o *Outputs) { o.Seen[500], o.Seen[510] = o.Seen[510], o.Seen[500] }},
		"a record counted twice": {"I3", func(o *Outputs) { o.Seen[500].Value[7]++ }},
		"the last update lost":   {"I2 seen", func(o *Outputs) { o.Seen = o.Seen[:len(o.Seen)-1] }},
		"a whole key lost": {"I2 seen", func(o *Outputs) {
			o.Seen = slices.DeleteFunc(o.Seen, func(r *kgo.Record) bool { return string(r.Key) == "key-000003" })
		}},
		"a group update lost":     {"I1", func(o *Outputs) { o.Groups = slices.Delete(o.Groups, 700, 701) }},
		"a wrong sum":             {"I2 groups", func(o *Outputs) { o.Groups[n-1].Value[15]++ }},
		"a window lost":           {"I9", func(o *Outputs) { o.Windows = o.Windows[1:] }},
		"a window fired twice":    {"fired twice", func(o *Outputs) { o.Windows = append(o.Windows, o.Windows[0]) }},
		"a window closed early":   {"I9", func(o *Outputs) { o.Windows[0].Value[7]-- }},
		"an update of a dead run": {"I1", func(o *Outputs) { o.Seen = append(o.Seen, o.Seen[0]) }},
	} {
		out := ta.perfect(n)
		c.plant(&out)
		err := ta.Check(out, n).Err()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: reported as %v, want %s", name, err, c.want)
		}
	}
}
