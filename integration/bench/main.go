// Bench measures weir beside Kafka Streams and Flink, which do the same work in streams/ and flink/: one real broker, the
// same input, the systems in turn, each output verified. `make bench` builds what it needs and runs it:
//
//	go run ./integration/bench -records 2000000 -rounds 3 -json results.json
//
// Each run is a fresh process, application, state directory and output topic. CPU is user and system time of the whole
// process, from its start to its end, Java's warm-up included; seconds are those from the first to the last committed
// record. The broker lives on and is warm. After throughput come latency and what kills cost (recover.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/bench/report"
	"github.com/weir-stream/weir/integration/kafkatest"
)

// A row of the table: a workload and how many keys its input has.
type row struct {
	workload string
	keys     int64
}

// rows are measured in this order.
var rows = []row{{"pass", 100_000}, {"count", 100_000}, {"count", 1_000_000}, {"window", 100_000}, {"rekey", 100_000}}

// settings of a run of the benchmark.
type settings struct {
	records, rate int64
	rounds, lanes int
	workloads     string
	systems       string
	interval      time.Duration
	latency       time.Duration
	recovery      int
	json          string
	scale         bool
	curves, page  string
	cuts          bool
	parts         string
	checkpoints   int
	stateRows     string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	var s settings
	flag.Int64Var(&s.records, "records", 2_000_000, "records of each input")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds, in each of which every system runs once")
	flag.IntVar(&s.lanes, "lanes", runtime.NumCPU(), "lanes of weir, threads of Kafka Streams, slots of Flink")
	flag.StringVar(&s.workloads, "workloads", "pass,count,window,rekey", "which ones, separated by commas")
	flag.StringVar(&s.systems, "systems", "weir,slow,streams,tuned,flink,flinktuned", "which ones, separated by commas")
	flag.DurationVar(&s.interval, "interval", 100*time.Millisecond, "between commits")
	flag.DurationVar(&s.latency, "latency", 20*time.Second, "how long latency is measured for each system, after half as long again; 0: not at all")
	flag.Int64Var(&s.rate, "rate", 20_000, "records per second while latency is measured, and while workers are killed")
	flag.IntVar(&s.recovery, "recovery", 3, "rounds, in each of which every system is killed and started again twice; 0: not at all")
	flag.StringVar(&s.json, "json", "", "write the results to this file")
	flag.BoolVar(&s.scale, "scale", false, "measure how weir's cost grows instead; -json is added to, curve by curve")
	flag.StringVar(&s.curves, "curves", allCurves(), "which ones, separated by commas")
	flag.BoolVar(&s.cuts, "cuts", false, "measure what checkpoints cost and save instead; -json is added to, part by part")
	flag.StringVar(&s.parts, "parts", allParts(), "what of that, separated by commas")
	flag.IntVar(&s.checkpoints, "checkpoints", 1000, "how many are taken to see how long lanes stand still for one")
	flag.StringVar(&s.stateRows, "rows", "100000,1000000,10000000", "sizes of states in rows of 100 bytes, separated by commas")
	draw := flag.Bool("draw", false, "measure nothing: draw the curves of -json and write their tables, see -page")
	flag.StringVar(&s.page, "page", "", "a page, .md, that gets the tables, and a drawing, .svg, beside it (default: as -json is called)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := run
	if *draw {
		work = redraw
	}
	if err := work(ctx, s); err != nil {
		log.Print(err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) (err error) {
	if s.records < 1 || s.rounds < 0 || s.recovery < 0 || s.rate < 1 {
		return errors.New("-records and -rate are 1 or more, -rounds and -recovery are 0 or more")
	}
	systems, err := chosen(strings.Split(s.systems, ","))
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// As by default, the group waits for all members before its first assignment, if not for as long: a second one, in the
	// middle of the first records, would be measured with them.
	c, err := kafkatest.Launch(ctx, kafkatest.Options{HeapMB: 1024, LongRun: true, Properties: map[string]string{"group.initial.rebalance.delay.ms": "1000"}})
	if err != nil {
		return err
	}
	defer func() { c.Close(err != nil) }()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...))
	if err != nil {
		return err
	}
	defer client.Close()
	b := bench{settings: s, cluster: c, client: client, systems: systems, work: work, brokers: strings.Join(c.Addrs(), ",")}
	if s.scale {
		return b.scaleUp(ctx)
	}
	if s.cuts {
		return b.checkpointing(ctx)
	}
	result := report.Report{
		Machine: fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		Kafka:   kafkatest.Version, Records: s.records, Interval: s.interval.Milliseconds(), Lanes: s.lanes,
	}
	workloads := strings.Split(s.workloads, ",")
	if err := b.warm(ctx); err != nil {
		return fmt.Errorf("warm the broker: %w", err)
	}
	if s.rounds > 0 {
		for _, r := range rows {
			if !slices.Contains(workloads, r.workload) {
				continue
			}
			measured, err := b.measure(ctx, r)
			if err != nil {
				return fmt.Errorf("workload %s: %w", r.workload, err)
			}
			result.Rows = append(result.Rows, measured...)
			if err := s.save(result); err != nil {
				return err
			}
		}
	}
	if s.latency > 0 {
		for _, workload := range []string{"pass", "count"} {
			if !slices.Contains(workloads, workload) {
				continue
			}
			measured, err := b.latencies(ctx, workload)
			if err != nil {
				return fmt.Errorf("latency of %s: %w", workload, err)
			}
			result.Latency = append(result.Latency, measured...)
			if err := s.save(result); err != nil {
				return err
			}
		}
	}
	if s.recovery > 0 && slices.Contains(workloads, "count") {
		if result.Recovery, err = b.recoveries(ctx); err != nil {
			return fmt.Errorf("recovery: %w", err)
		}
	}
	fmt.Print(result.Markdown())
	return s.save(result)
}

// save keeps what has been measured so far: a failure of the last part does not cost the hour before it.
func (s settings) save(result report.Report) error {
	if s.json == "" {
		return nil
	}
	return result.Write(s.json)
}
