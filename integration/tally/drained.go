package tally

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kgo"
)

// CheckDrained compares the outputs with what comes of the records of the input below the
// positions, as if time had ended behind them: every window has fired, once, with its exact
// number. It gives the number of these records, too.
func (t Tally) CheckDrained(ctx context.Context, brokers []string, read map[Partition]int64) (*Report, int, error) {
	want, n := newForm(), 0
	var left int64
	from := map[string]map[int32]kgo.Offset{}
	for p, end := range read {
		if p.Topic == t.In() && end > 0 {
			left += end
			if from[t.In()] == nil {
				from[t.In()] = map[int32]kgo.Offset{}
			}
			from[t.In()][p.Number] = kgo.NewOffset().AtStart()
		}
	}
	err := t.consume(ctx, brokers, from, kgo.ReadUncommitted(), func(r *kgo.Record) bool {
		if r.Offset < read[Partition{r.Topic, r.Partition}] {
			left--
			n++
			want.add(string(r.Key), t.group(string(r.Key)), int64(binary.BigEndian.Uint64(r.Value)), r.Timestamp)
		}
		return left > 0
	})
	if err != nil {
		return nil, n, err
	}
	out, err := t.await(ctx, brokers, func(Outputs) error { return nil })
	if err != nil {
		return nil, n, err
	}
	return t.compare(out, want), n, nil
}
