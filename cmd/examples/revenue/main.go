// Revenue sums the money of each region per hour: a filter, a change of key, and a window
// that emits once, when it is final.
package main

import (
	"time"

	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

type Order struct {
	Region string
	Cents  int64
	At     time.Time
}

var (
	Orders = topology.NewTopic("orders", codec.String, codec.JSON[Order]()).
		EventTime(func(_ string, o Order) (time.Time, error) { return o.At, nil })
	Revenue = topology.NewTopic("revenue-per-hour", topology.WindowedKey(codec.String), codec.Int64)
	Late    = topology.NewTopic("orders-late", codec.String, codec.JSON[Order]())
)

func RevenuePerHour() (*topology.Plan, error) {
	b := topology.New("revenue")

	orders := topology.From(b, Orders, topology.MaxDisorder(5*time.Second))
	paid := orders.Filter(func(_ string, o Order) (bool, error) { return o.Cents > 0, nil })
	byRegion := topology.KeyBy(paid, "by-region", codec.String, func(_ string, o Order) (string, error) {
		return o.Region, nil
	})

	hours := topology.Window(byRegion, window.Tumbling(time.Hour).Grace(5*time.Minute).EmitFinal())
	revenue := topology.Aggregate(hours, "revenue", codec.Int64, func(_ string, o Order, sum int64) (int64, error) {
		return sum + o.Cents, nil
	})
	revenue.To(Revenue)
	hours.Late().To(Late)

	return b.Build()
}

func main() { cli.Main(RevenuePerHour) }
