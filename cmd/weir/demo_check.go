package main

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// demoChecker follows the committed output of the demo while it grows. In a correct one
// the numbers of each customer's updates are 1, 2, 3 ..., the last one has the right sum,
// and each hour of each customer is there once, with the right sum.
type demoChecker struct {
	o       orders
	revenue string // topic
	totals  []total
	hours   []int64 // by customer and hour; -1: not seen
	want    []int64 // what they should be; 0: no result

	counted    int64 // orders: the sum of totals.Orders
	hourly     int64 // hours seen
	wantHourly int64
	duplicated int64 // records that say again what was said
	strange    int64 // records that no input leads to
	gaps       int64 // updates that were skipped
	first      string
}

func newDemoChecker(o orders, revenue string) *demoChecker {
	c := &demoChecker{
		o: o, revenue: revenue, totals: make([]total, o.customers),
		hours: make([]int64, o.customers*demoWindows), want: make([]int64, o.customers*demoWindows),
	}
	for i := range c.hours {
		c.hours[i] = -1
	}
	for i := range o.n {
		at := o.customer(i)*demoWindows + hourOf(o.at(i).UnixMilli())
		if c.want[at] == 0 {
			c.wantHourly++
		}
		c.want[at] += o.cents(i)
	}
	return c
}

// hourOf is the window of a time, from 0.
func hourOf(ms int64) int64 { return (ms - loadBase.UnixMilli()) / demoWindow.Milliseconds() }

func (c *demoChecker) add(r *kgo.Record) {
	if r.Topic == c.revenue {
		c.addTotal(r)
	} else {
		c.addHour(r)
	}
}

func (c *demoChecker) addTotal(r *kgo.Record) {
	n := customerNumber(r.Key)
	t, err := totalCodec{}.Decode(r.Value)
	if n < 0 || n >= c.o.customers || err != nil {
		c.strange++
		c.note(r, "key %q, value %x", r.Key, r.Value)
		return
	}
	last := &c.totals[n]
	switch {
	case t.Orders <= last.Orders:
		c.duplicated++
		c.note(r, "customer %s: update %d follows %d", r.Key, t.Orders, last.Orders)
		return
	case t.Orders > last.Orders+1:
		c.gaps += t.Orders - last.Orders - 1
		c.note(r, "customer %s: update %d follows %d", r.Key, t.Orders, last.Orders)
	}
	c.counted += t.Orders - last.Orders
	*last = t
}

func (c *demoChecker) addHour(r *kgo.Record) {
	if len(r.Key) != customerBytes+16 || len(r.Value) != 8 {
		c.strange++
		c.note(r, "key %q, value %x", r.Key, r.Value)
		return
	}
	n, h := customerNumber(r.Key[:customerBytes]), hourOf(int64(binary.BigEndian.Uint64(r.Key[customerBytes:])))
	if n < 0 || n >= c.o.customers || h < 0 || h >= demoWindows || c.want[n*demoWindows+h] == 0 {
		c.strange++
		c.note(r, "key %q: no such customer or hour", r.Key)
		return
	}
	at := n*demoWindows + h
	if c.hours[at] >= 0 {
		c.duplicated++
		c.note(r, "customer %s, hour %d: a second result", r.Key[:customerBytes], h)
		return
	}
	c.hourly++
	c.hours[at] = int64(binary.BigEndian.Uint64(r.Value))
}

func (c *demoChecker) note(r *kgo.Record, format string, args ...any) {
	if c.first == "" {
		c.first = fmt.Sprintf("topic %s, partition %d, offset %d: ", r.Topic, r.Partition, r.Offset) + fmt.Sprintf(format, args...)
	}
}

// complete says that there is as much as there should be; whether it is right is another
// question.
func (c *demoChecker) complete() bool { return c.counted >= c.o.n && c.hourly >= c.wantHourly }

// demoVerdict is the comparison of the whole output with the closed form.
type demoVerdict struct {
	Counted    int64 // orders in the customers' last totals
	Customers  int64 // customers with the right total
	Hourly     int64 // hours with the right sum
	Cents      int64 // all revenue
	Lost       int64 // updates and hours that are missing or wrong
	Duplicated int64 // updates and hours that are there again, or should not be
	First      string
}

func (v demoVerdict) OK() bool { return v.Lost == 0 && v.Duplicated == 0 }

func (c *demoChecker) verdict() demoVerdict {
	v := demoVerdict{Counted: c.counted, Lost: c.gaps, Duplicated: c.duplicated + c.strange, First: c.first}
	note := func(format string, args ...any) {
		if v.First == "" {
			v.First = fmt.Sprintf(format, args...)
		}
	}
	for place := range c.o.customers {
		n, want := c.o.total(place)
		got := c.totals[n]
		v.Cents += got.Cents
		if got == want {
			v.Customers++
			continue
		}
		note("customer %s ends with %d orders of %d cents, want %d of %d", customerName(n), got.Orders, got.Cents, want.Orders, want.Cents)
		switch {
		case got.Orders < want.Orders:
			v.Lost += want.Orders - got.Orders
		case got.Orders > want.Orders:
			v.Duplicated += got.Orders - want.Orders
		case got.Cents < want.Cents:
			v.Lost++
		default:
			v.Duplicated++
		}
	}
	for at, want := range c.want {
		got := c.hours[at]
		if want == 0 || got == want {
			if want != 0 {
				v.Hourly++
			}
			continue
		}
		note("customer %s, hour %d: %d cents, want %d", customerName(int64(at/demoWindows)), at%demoWindows, got, want)
		if got < want {
			v.Lost++
		} else {
			v.Duplicated++
		}
	}
	return v
}
