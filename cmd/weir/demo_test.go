package main

import (
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// demoOutput is the correct output of the demo, worked out order by order.
func demoOutput(t *testing.T, o orders) []*kgo.Record {
	t.Helper()
	totals, hours := map[string]total{}, map[string]int64{}
	var out []*kgo.Record
	next := o.generator("orders")
	for k := range o.records() {
		r := next(k)
		v, err := orderCodec{}.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if v.cents == 0 {
			continue
		}
		name := customerName(int64(v.customer))
		sum := total{totals[name].Orders + 1, totals[name].Cents + v.cents}
		totals[name] = sum
		value, _ := totalCodec{}.Append(nil, sum)
		out = append(out, &kgo.Record{Topic: "revenue", Key: []byte(name), Value: value})
		ms := r.Timestamp.UnixMilli()
		start := ms - ms%demoWindow.Milliseconds()
		hours[string(appendWindow(appendWindow(nil, []byte(name), start), nil, start+demoWindow.Milliseconds()))] += v.cents
	}
	for key, cents := range hours {
		out = append(out, &kgo.Record{Topic: "hourly", Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, uint64(cents))})
	}
	return out
}

func TestOrdersAreWhatTheClosedFormSays(t *testing.T) {
	for _, o := range []orders{{1000, 100, 1}, {1001, 7919, 2}, {999, 7, 3}, {1, 1, 4}, {50, 10, 1 << 63}} {
		c := newDemoChecker(o, "revenue")
		for _, r := range demoOutput(t, o) {
			c.add(r)
		}
		if v := c.verdict(); !c.complete() || !v.OK() || v.Counted != o.n || v.Customers != o.customers || v.Hourly != c.wantHourly || v.First != "" {
			t.Errorf("%+v: complete %t, %+v", o, c.complete(), v)
		}
	}
}

func TestDemoCheckerReportsWhatIsPlanted(t *testing.T) {
	o := orders{n: 5000, customers: 100, seed: 9}
	right := demoOutput(t, o)
	cut := func(i int, put ...*kgo.Record) []*kgo.Record {
		return append(append(append([]*kgo.Record{}, right[:i]...), put...), right[i+1:]...)
	}
	end := len(right) - 1
	totalOf := func(r *kgo.Record, orders, cents int64) *kgo.Record {
		was, err := totalCodec{}.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		value, _ := totalCodec{}.Append(nil, total{was.Orders + orders, was.Cents + cents})
		return &kgo.Record{Topic: r.Topic, Key: r.Key, Value: value}
	}
	hour := func(add int64) *kgo.Record {
		cents := int64(binary.BigEndian.Uint64(right[end].Value))
		return &kgo.Record{Topic: "hourly", Key: right[end].Key, Value: binary.BigEndian.AppendUint64(nil, uint64(cents+add))}
	}
	for name, test := range map[string]struct {
		output           []*kgo.Record
		lost, duplicated int64
	}{
		"update lost":                {cut(2000), 1, 0},
		"last update lost":           {cut(4999), 1, 0},
		"update duplicated":          {cut(2000, right[2000], right[2000]), 0, 1},
		"order counted twice at end": {cut(4999, right[4999], totalOf(right[4999], 1, 150)), 0, 1},
		"last sum too small":         {cut(4999, totalOf(right[4999], 0, -1)), 1, 0},
		"last sum too big":           {cut(4999, totalOf(right[4999], 0, 1)), 0, 1},
		"hour lost":                  {cut(end), 1, 0},
		"hour twice":                 {cut(end, right[end], right[end]), 0, 1},
		"hour too small":             {cut(end, hour(-1)), 1, 0},
		"hour too big":               {cut(end, hour(1)), 0, 1},
		"stranger":                   {append([]*kgo.Record{{Topic: "revenue", Key: []byte("c9999999"), Value: make([]byte, 16)}}, right...), 0, 1},
		"short key":                  {append([]*kgo.Record{{Topic: "hourly", Key: []byte("c"), Value: make([]byte, 8)}}, right...), 0, 1},
	} {
		c := newDemoChecker(o, "revenue")
		for _, r := range test.output {
			c.add(r)
		}
		if v := c.verdict(); v.Lost != test.lost || v.Duplicated != test.duplicated || v.OK() || v.First == "" {
			t.Errorf("%s: %+v, want %d lost, %d duplicated and the first of them", name, v, test.lost, test.duplicated)
		}
	}
}

func TestDemoPlanBuilds(t *testing.T) {
	if _, err := demoPlan("demo"); err != nil {
		t.Fatal(err)
	}
}
