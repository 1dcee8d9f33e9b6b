package topology_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// Order is what the examples are about.
type Order struct {
	Region string
	Cents  int64
	At     time.Time
}

var orders = topology.NewTopic("orders", codec.String, codec.JSON[Order]()).
	EventTime(func(_ string, o Order) (time.Time, error) { return o.At, nil })

func show(b *topology.Builder) {
	plan, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(plan)
}

// Counting words: one change of key, one store.
func Example() {
	lines := topology.NewTopic("lines", codec.Bytes, codec.String)
	counts := topology.NewTopic("word-counts", codec.String, codec.Int64)

	b := topology.New("word-count")
	words := topology.FlatMapValues(topology.From(b, lines), func(_ []byte, line string) ([]string, error) {
		return strings.Fields(strings.ToLower(line)), nil
	})
	byWord := topology.KeyBy(words, "by-word", codec.String, func(_ []byte, word string) (string, error) { return word, nil })
	byWord.Count("counts").To(counts)

	show(b)
	// Output:
	// application word-count
	//
	// sub-topology 0
	//   0 source lines (bytes, string)
	//   1 flat-map-values <- 0
	//   2 key-by by-word <- 1 (string, string)
	//
	// sub-topology 1
	//   3 from-key-by by-word <- 2 (string, string)
	//   4 count counts <- 3, store keyed (string, int64)
	//   5 sink word-counts <- 4 (string, int64)
}

// Revenue per region and hour, once per hour, when it is final.
func ExampleWindow() {
	revenue := topology.NewTopic("revenue", topology.WindowedKey(codec.String), codec.Int64)

	b := topology.New("revenue")
	byRegion := topology.KeyBy(topology.From(b, orders, topology.MaxDisorder(5*time.Second)), "by-region", codec.String,
		func(_ string, o Order) (string, error) { return o.Region, nil })
	hours := topology.Window(byRegion, window.Tumbling(time.Hour).Grace(5*time.Minute).EmitFinal())
	topology.Aggregate(hours, "sums", codec.Int64, func(_ string, o Order, sum int64) (int64, error) { return sum + o.Cents, nil }).
		To(revenue)
	hours.Late().To(topology.NewTopic("late-orders", codec.String, codec.JSON[Order]()))

	show(b)
	// Output:
	// application revenue
	//
	// sub-topology 0
	//   0 source orders (string, json) disorder 5s
	//   1 key-by by-region <- 0 (string, json)
	//
	// sub-topology 1
	//   2 from-key-by by-region <- 1 (string, json)
	//   3 window tumbling 1h0m0s, grace 5m0s, final <- 2
	//   4 aggregate sums <- 3, store window (string, int64) window 1h0m0s retention 1h5m0s
	//   5 sink revenue <- 4 (windowed string, int64)
	//   6 late <- 3
	//   7 sink late-orders <- 6 (string, json)
}

func ExampleStream_Branch() {
	large, rest := topology.NewTopic("large", codec.String, codec.JSON[Order]()), topology.NewTopic("rest", codec.String, codec.JSON[Order]())

	b := topology.New("sorted")
	sorted := topology.From(b, orders).Branch(topology.Named("by size"))
	sorted.Case("large", func(_ string, o Order) (bool, error) { return o.Cents > 100_000, nil }).To(large)
	sorted.Default("rest").To(rest)

	show(b)
	// Output:
	// application sorted
	//
	// sub-topology 0
	//   0 source orders (string, json)
	//   1 branch by size <- 0
	//   2 case large <- 1
	//   3 sink large <- 2 (string, json)
	//   4 default rest <- 1
	//   5 sink rest <- 4 (string, json)
}

func ExampleStream_Merge() {
	web, shop := topology.NewTopic("web", codec.String, codec.Int64), topology.NewTopic("shop", codec.String, codec.Int64)

	b := topology.New("merged")
	all := topology.From(b, web).Merge(topology.From(b, shop))
	all.Reduce("total", func(_ string, a, b int64) (int64, error) { return a + b, nil }).
		To(topology.NewTopic("totals", codec.String, codec.Int64))

	show(b)
	// Output:
	// application merged
	//
	// sub-topology 0
	//   0 source web (string, int64)
	//   1 source shop (string, int64)
	//   2 merge <- 0, 1
	//   3 reduce total <- 2, store keyed (string, int64)
	//   4 sink totals <- 3 (string, int64)
}

// Calls that fail are tried again, three times at most. The loop is read in front of what
// feeds it.
func ExampleNewLoop() {
	type Call struct{ Attempt int }
	calls := topology.NewTopic("calls", codec.String, codec.JSON[Call]())

	b := topology.New("calling")
	retries := topology.NewLoop(b, "retries", codec.String, codec.JSON[Call]())
	tried := topology.MapValues(topology.From(b, calls).Merge(retries.Stream()), func(_ string, c Call) (Call, error) {
		c.Attempt++ // and try
		return c, nil
	}).Branch()
	tried.Case("succeeded", func(_ string, c Call) (bool, error) { return c.Attempt%2 == 0, nil }).
		To(topology.NewTopic("succeeded", codec.String, codec.JSON[Call]()))
	tried.Case("given up", func(_ string, c Call) (bool, error) { return c.Attempt == 3, nil }).
		To(topology.NewTopic("failed", codec.String, codec.JSON[Call]()))
	tried.Default("again").ToLoop(retries)

	show(b)
	// Output:
	// application calling
	//
	// sub-topology 0
	//   0 loop retries <- 10 (string, json)
	//   1 source calls (string, json)
	//   2 merge <- 1, 0
	//   3 map-values <- 2
	//   4 branch <- 3
	//   5 case succeeded <- 4
	//   6 sink succeeded <- 5 (string, json)
	//   7 case given up <- 4
	//   8 sink failed <- 7 (string, json)
	//   9 default again <- 4
	//   10 to-loop retries <- 9 (string, json)
}

// Mistakes come all at once, each with the line that made it.
func ExampleBuilder_Build() {
	b := topology.New("wrong")
	s := topology.From(b, orders)
	m := topology.Map(s, func(_ string, o Order) (string, int64, error) { return o.Region, o.Cents, nil }, topology.Named("to region"))
	m.Count("orders")
	m.Reduce("orders", func(_ string, a, b int64) (int64, error) { return a + b, nil })

	_, err := b.Build()
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Println(lineNumber.ReplaceAllString(line, "go:N"))
	}
	// Output:
	// count orders (example_test.go:N): its key may be changed by map to region and the stream was not repartitioned since: records of one key would be counted in several tasks; put .Repartition("<uid>") before it, or use KeyBy in place of the change of key (MapValues if the key stays)
	// reduce orders (example_test.go:N): it needs the bytes of the value, and the int64 of map to region has no codec; put .WithValueCodec(...) behind map to region
	// reduce orders (example_test.go:N): its uid is taken by count orders (example_test.go:N); give each store and each internal topic a uid of its own
	// reduce orders (example_test.go:N): its key may be changed by map to region and the stream was not repartitioned since: records of one key would be counted in several tasks; put .Repartition("<uid>") before it, or use KeyBy in place of the change of key (MapValues if the key stays)
}

func ExampleStream_Route() {
	eu, us := topology.NewTopic("orders-eu", codec.String, codec.JSON[Order]()), topology.NewTopic("orders-us", codec.String, codec.JSON[Order]())

	b := topology.New("routed")
	topology.From(b, orders).Route(func(_ string, o Order) (topology.Topic[string, Order], error) {
		if o.Region == "eu" {
			return eu, nil
		}
		return us, nil
	}, eu, us)

	show(b)
	// Output:
	// application routed
	//
	// sub-topology 0
	//   0 source orders (string, json)
	//   1 route <- 0 -> orders-eu, orders-us
}

func ExampleMapRecord() {
	b := topology.New("stamped")
	stamped := topology.MapRecord(topology.From(b, orders), func(r topology.Record[string, Order]) (topology.Record[string, Order], error) {
		r.Headers = append(r.Headers, topology.Header{Key: "from", Value: []byte(r.Origin.Topic)})
		return r, nil
	})
	stamped.To(topology.NewTopic("stamped", codec.String, codec.JSON[Order]()))

	show(b)
	// Output:
	// application stamped
	//
	// sub-topology 0
	//   0 source orders (string, json)
	//   1 map-record <- 0
	//   2 sink stamped <- 1 (string, json)
}
