package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// orders are the input of the demo. What the topology makes of them is known in closed
// form: in every round of as many orders as there are customers, each customer orders once.
//
//	customer(i) = (step*i + seed) mod customers    step and customers have no common divisor
//	cents(i)    = 100 + customer(i) mod 900 + i / customers
//	time(i)     = base + 4 h * i / n
//
// After every fiftieth comes a test order of no value, which the topology filters out.
type orders struct {
	n, customers int64
	seed         uint64
}

const (
	demoPartitions = 4
	demoWindow     = time.Hour
	demoWindows    = 4 // the orders cover so many
	demoTestEvery  = 50
)

func (o orders) step() uint64 {
	for _, s := range []uint64{7919, 104_729, 15_485_863} {
		if uint64(o.customers)%s != 0 {
			return s
		}
	}
	return 1
}

func (o orders) customer(i int64) int64 {
	c := uint64(o.customers)
	return int64((o.step()*(uint64(i)%c) + o.seed%c) % c)
}

func (o orders) cents(i int64) int64 { return o.first(o.customer(i)) + i/o.customers }

// first is the value of a customer's first order; each further one is worth a cent more.
func (o orders) first(customer int64) int64 { return 100 + customer%900 }

func (o orders) at(i int64) time.Time {
	return loadBase.Add(time.Duration(float64(demoWindows*demoWindow) * (float64(i) / float64(o.n))))
}

// total is what a customer's orders come to, by the sum of an arithmetic series. place is
// where the customer stands in a round.
func (o orders) total(place int64) (customer int64, t total) {
	customer = o.customer(place)
	t.Orders = o.n / o.customers
	if place < o.n%o.customers {
		t.Orders++
	}
	t.Cents = t.Orders*o.first(customer) + t.Orders*(t.Orders-1)/2
	return customer, t
}

// tests is the number of test orders.
func (o orders) tests() int64 { return o.n/demoTestEvery + demoPartitions }

// records is the number of records in the input.
func (o orders) records() int64 { return o.n + o.tests() }

// generator gives the records of the input in order: first orders and test orders, and at
// the end a test order for each partition, late enough to close all windows.
func (o orders) generator(topic string) func(k int64) *kgo.Record {
	in := o.topic(topic)
	last := o.records() - demoPartitions
	return func(k int64) *kgo.Record {
		// 50 orders, a test order, 50 orders, a test order ...
		i := k - k/(demoTestEvery+1)
		test := k%(demoTestEvery+1) == demoTestEvery
		r := &kgo.Record{Topic: topic, Partition: int32(k % demoPartitions)}
		var value order
		switch {
		case k >= last:
			r.Timestamp = loadBase.Add((demoWindows + 1) * demoWindow)
		case test:
			r.Timestamp = o.at(i - 1)
		default:
			value, r.Timestamp = order{customer: uint32(o.customer(i)), cents: o.cents(i)}, o.at(i)
		}
		var err error
		if r.Key, r.Value, err = in.Encode(k, value); err != nil {
			panic(fmt.Sprintf("order %d: %v", k, err)) // its codecs have no errors
		}
		r.Key, r.Value = append([]byte(nil), r.Key...), append([]byte(nil), r.Value...)
		return r
	}
}

func (o orders) topic(name string) topology.Topic[int64, order] {
	return topology.NewTopic(name, codec.Int64, codec.Codec[order](orderCodec{}))
}

// order is what a customer bought; the key of its record is its number.
type order struct {
	customer uint32
	cents    int64
}

type orderCodec struct{}

func (orderCodec) Name() string { return "demo-order" }

func (orderCodec) Append(dst []byte, o order) ([]byte, error) {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, o.customer), uint64(o.cents)), nil
}

func (orderCodec) Decode(src []byte) (order, error) {
	if len(src) != 12 {
		return order{}, fmt.Errorf("order: %w: %d, want 12", codec.ErrSize, len(src))
	}
	return order{binary.BigEndian.Uint32(src), int64(binary.BigEndian.Uint64(src[4:]))}, nil
}

// total is what one customer has ordered so far.
type total struct{ Orders, Cents int64 }

type totalCodec struct{}

func (totalCodec) Name() string { return "demo-total" }

func (totalCodec) Append(dst []byte, t total) ([]byte, error) {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, uint64(t.Orders)), uint64(t.Cents)), nil
}

func (totalCodec) Decode(src []byte) (total, error) {
	if len(src) != 16 {
		return total{}, fmt.Errorf("total: %w: %d, want 16", codec.ErrSize, len(src))
	}
	return total{int64(binary.BigEndian.Uint64(src)), int64(binary.BigEndian.Uint64(src[8:]))}, nil
}

// demoTopics are the topics of a run of the demo.
type demoTopics struct{ app string }

func (t demoTopics) orders() string  { return t.app + "-orders" }
func (t demoTopics) revenue() string { return t.app + "-revenue" }
func (t demoTopics) hourly() string  { return t.app + "-hourly" }

// demoPlan is the topology of the demo:
//
//	orders -> valid ones -> by customer, through a repartition topic
//	  -> number and sum of each customer's orders, every update -> revenue
//	  -> sum of each customer's orders in each hour, once       -> hourly
func demoPlan(app string) (*topology.Plan, error) {
	t := demoTopics{app}
	b := topology.New(app)
	valid := topology.From(b, orders{}.topic(t.orders()), topology.IdleAfter(0)).
		Filter(func(_ int64, o order) (bool, error) { return o.cents > 0, nil })
	customers := topology.KeyBy(valid, "by-customer", codec.String, func(_ int64, o order) (string, error) {
		return customerName(int64(o.customer)), nil
	})
	topology.Aggregate(customers, "revenue", codec.Codec[total](totalCodec{}), func(_ string, o order, t total) (total, error) {
		return total{t.Orders + 1, t.Cents + o.cents}, nil
	}).To(topology.NewTopic(t.revenue(), codec.String, codec.Codec[total](totalCodec{})))
	topology.Aggregate(topology.Window(customers, window.Tumbling(demoWindow).EmitFinal()), "hourly", codec.Int64, func(_ string, o order, cents int64) (int64, error) {
		return cents + o.cents, nil
	}).To(topology.NewTopic(t.hourly(), topology.WindowedKey(codec.String), codec.Int64))
	return b.Build()
}

const customerBytes = len("c0000000")

func customerName(c int64) string {
	var b [customerBytes]byte
	b[0] = 'c'
	for i := len(b) - 1; i > 0; i-- {
		b[i], c = byte('0'+c%10), c/10
	}
	return string(b[:])
}

// customerNumber is the reverse; -1 if it is no name.
func customerNumber(name []byte) int64 {
	if len(name) != customerBytes || name[0] != 'c' {
		return -1
	}
	n := int64(0)
	for _, d := range name[1:] {
		if d < '0' || d > '9' {
			return -1
		}
		n = n*10 + int64(d-'0')
	}
	return n
}
