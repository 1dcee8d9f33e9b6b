package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/topologytest"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func hour(region string, h int) topology.Windowed[string] {
	start := noon.Add(time.Duration(h) * time.Hour)
	return topology.Windowed[string]{Key: region, Start: start, End: start.Add(time.Hour)}
}

func TestRevenueIsFinalAfterGrace(t *testing.T) {
	d := topologytest.New(t, RevenuePerHour, topologytest.Partitions(3))
	orders, revenue := topologytest.Input(d, Orders), topologytest.Output(d, Revenue)

	orders.Send("o1", Order{Region: "eu", Cents: 300, At: noon.Add(10 * time.Minute)})
	orders.Send("o2", Order{Region: "eu", Cents: 200, At: noon.Add(59 * time.Minute)})
	orders.Send("o3", Order{Region: "us", Cents: 70, At: noon.Add(59 * time.Minute)})
	orders.Send("o4", Order{Region: "us", Cents: -70, At: noon.Add(59 * time.Minute)}) // not paid
	d.AdvanceEventTime(noon.Add(time.Hour + 5*time.Minute - time.Millisecond))
	revenue.Want() // nothing yet

	d.Restart()
	d.AdvanceEventTime(noon.Add(time.Hour + 5*time.Minute))
	revenue.WantLast(topologytest.KV(hour("eu", 0), int64(500)), topologytest.KV(hour("us", 0), int64(70)))

	d.Restart()
	d.AdvanceEventTime(noon.Add(2 * time.Hour))
	revenue.Want() // once is once
}

func TestLateOrdersAreKept(t *testing.T) {
	d := topologytest.New(t, RevenuePerHour)
	orders := topologytest.Input(d, Orders)

	d.AdvanceEventTime(noon.Add(time.Hour + 4*time.Minute))
	orders.Send("o1", Order{Region: "eu", Cents: 1, At: noon}) // within the grace
	d.AdvanceEventTime(noon.Add(time.Hour + 5*time.Minute))
	late := Order{Region: "eu", Cents: 2, At: noon}
	orders.Send("o2", late)

	topologytest.Output(d, Revenue).Want(topologytest.KV(hour("eu", 0), int64(1)))
	topologytest.Output(d, Late).Want(topologytest.KV("eu", late))
}

func TestPoisonIsRefused(t *testing.T) {
	d := topologytest.New(t, RevenuePerHour)
	orders := topologytest.Input(d, Orders)
	orders.Send("o1", Order{Region: "eu", Cents: 300, At: noon})

	var failed *topology.OperatorError
	for _, poison := range []string{`{"Cents": "many"}`, `{}`} { // no number; no time
		if err := orders.TrySendBytes([]byte("o2"), []byte(poison)); !errors.As(err, &failed) {
			t.Errorf("%s: %v, want an OperatorError", poison, err)
		}
	}
	d.AdvanceEventTime(noon.Add(2 * time.Hour))
	topologytest.Output(d, Revenue).Want(topologytest.KV(hour("eu", 0), int64(300)))
}

func TestRevenueInAnyOrder(t *testing.T) {
	topologytest.SameUnderAnyOrder(t, RevenuePerHour, func(d *topologytest.Driver) {
		orders := topologytest.Input(d, Orders)
		for i := range 40 {
			orders.Send(fmt.Sprint("o", i%8), Order{
				Region: []string{"eu", "us", "asia"}[i%3], Cents: int64(i), At: noon.Add(time.Duration(i) * 7 * time.Minute),
			})
		}
		d.AdvanceEventTime(noon.Add(24 * time.Hour))
	})
}
