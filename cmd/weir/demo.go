package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/embedded"
)

// demoResult is what --json prints.
type demoResult struct {
	Records          int64   `json:"records"`
	Lost             int64   `json:"lost"`
	Duplicated       int64   `json:"duplicated"`
	Kills            int     `json:"kills"`
	Restores         int     `json:"restores"` // tasks that were brought back after the kill
	Seconds          float64 `json:"seconds"`  // from the start of the workers to the last result
	RecordsPerSecond float64 `json:"records_per_second"`
}

func newDemo() *cobra.Command {
	var (
		d      demo
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Two workers, one killed, every result exactly once",
		Long: `Write orders to a topic and let two worker processes count and sum them, per customer, and per customer and
hour. In the middle of the work one worker is killed by SIGKILL and started again. At the end the committed
output is compared with what the orders add up to.

Without --brokers the demo brings its own broker, in its own process. With it, the topics of the run are
made there and deleted at the end. The exit code is 1 if a single result is lost, duplicated or wrong.`,
		Args: cobra.NoArgs,
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			if d.o.n < 1 || d.o.customers < 1 || d.o.customers > 1_000_000 {
				return cli.Usagef("--records %d, --customers %d: use 1 or more, and at most 1,000,000 customers", d.o.n, d.o.customers)
			}
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			d.embedded = !cmd.Flags().Changed("brokers")
			to := cmd.OutOrStdout()
			if asJSON {
				to = io.Discard
			}
			d.story = newStory(to)
			r, v, err := d.run(ctx)
			if err != nil && ctx.Err() != nil {
				return errors.New("ended by a signal before anything could be compared")
			}
			if err != nil {
				return err
			}
			if asJSON {
				if err := printLine(cmd.OutOrStdout(), r); err != nil {
					return err
				}
			}
			if !v.OK() {
				return &cli.Finding{Err: fmt.Errorf("not exactly once: %d lost, %d duplicated; first: %s", v.Lost, v.Duplicated, v.First)}
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.Int64Var(&d.o.n, "records", 2_000_000, "number of orders")
	f.Int64Var(&d.o.customers, "customers", 10_000, "number of customers")
	f.Uint64Var(&d.o.seed, "seed", 1, "of the orders")
	d.conn.Flags(f)
	f.Lookup("brokers").Usage, f.Lookup("brokers").DefValue = "`addresses` of a Kafka to run on, comma-separated; default: an embedded broker", ""
	jsonFlag(cmd, &asJSON)
	return cmd
}

// demo is one run.
type demo struct {
	o        orders
	conn     cli.Connection
	embedded bool
	story    *story

	app     string
	topics  demoTopics
	dir     string // state directories
	cl      *kgo.Client
	reader  *demoReader
	events  chan demoNews
	written chan error // the end of writing
	workers map[string]*demoProcess

	began    time.Time // of the work
	killed   time.Time // zero: not yet
	torn     tornEpoch
	aborted  bool // the torn epoch
	restores int
}

// demoNews is an event of a worker, and which of its lives it is of.
type demoNews struct {
	worker string
	life   int
	event  demoEvent
}

// The workers. The second one is killed.
const (
	steady = "one"
	victim = "two"
)

func (d *demo) run(ctx context.Context) (r demoResult, v demoVerdict, err error) {
	d.story.title("weir demo: %s orders of %s customers, two workers, one of them killed", grouped(d.o.n), grouped(d.o.customers))
	d.app = "demo"
	if d.embedded {
		s, err := embedded.Start(embedded.Options{})
		if err != nil {
			return r, v, err
		}
		defer s.Close()
		d.conn.Brokers = s.Addrs()
		d.story.say(dim, "%s", s.Notice())
	} else {
		d.app = fmt.Sprintf("weir-demo-%06x", rand.Uint32N(1<<24))
		d.story.say(dim, "application %s on %s", d.app, strings.Join(d.conn.Brokers, ","))
	}
	d.topics = demoTopics{d.app}
	if d.dir, err = os.MkdirTemp("", "weir-demo-"); err != nil {
		return r, v, fmt.Errorf("directory for state: %w", err)
	}
	defer os.RemoveAll(d.dir)
	// What the demo writes and asks goes through one client. Its records are small and many.
	if d.cl, err = connect(ctx, &d.conn, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(100_000)); err != nil {
		return r, v, err
	}
	defer d.cl.Close()
	if !d.embedded {
		defer func() { err = errors.Join(err, d.cleanUp()) }()
	}
	for _, t := range []string{d.topics.orders(), d.topics.revenue(), d.topics.hourly()} {
		if err := createTopic(ctx, d.cl, t, demoPartitions, forever); err != nil {
			return r, v, err
		}
	}
	checker := newDemoChecker(d.o, d.topics.revenue())
	if err := d.work(ctx, checker); err != nil {
		return r, v, err
	}
	v = d.reader.verdict()
	r = demoResult{
		Records: d.o.n, Lost: v.Lost, Duplicated: v.Duplicated, Kills: 1, Restores: d.restores, Seconds: time.Since(d.began).Seconds(),
	}
	r.RecordsPerSecond = float64(r.Records) / r.Seconds
	d.story.result(d.o, v, r, checker.wantHourly)
	return r, v, nil
}

// work writes the orders, runs the workers and reads the output to its end.
func (d *demo) work(ctx context.Context, checker *demoChecker) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	if err := d.write(ctx); err != nil {
		cancel()
		return err
	}
	reading, err := connect(ctx, &d.conn, kgo.ConsumeTopics(d.topics.revenue(), d.topics.hourly()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		cancel()
		return err
	}
	d.reader = startDemoReader(ctx, reading, checker)
	defer d.reader.close()
	d.events, d.workers, d.began = make(chan demoNews, 1024), map[string]*demoProcess{}, time.Now()
	defer func() {
		cancel() // what waits to be heard need not wait
		for _, p := range d.workers {
			p.kill()
		}
	}()
	// The first gives birth to the application. Both may try at once, but that is another story.
	if err := d.start(ctx, steady, 1); err != nil {
		return err
	}
	if err := d.awaitStart(ctx, steady); err != nil {
		return err
	}
	if err := d.start(ctx, victim, 1); err != nil {
		return err
	}
	if err := d.watch(ctx); err != nil {
		return err
	}
	for _, name := range []string{steady, victim} {
		if err := d.workers[name].stop(30 * time.Second); err != nil {
			return err
		}
	}
	d.story.say(dim, "both workers have ended; reading the output to its very end")
	to, err := ends(ctx, d.cl, d.topics.revenue(), d.topics.hourly())
	if err != nil {
		return err
	}
	return until(ctx, "the reader is at the end of the output", func() (bool, error) {
		_, _, err := d.reader.progress()
		return d.reader.reached(to), err
	})
}

// until waits for a condition.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// fewOrders are done before anybody could kill a worker in the middle. So few are written
// while the workers run.
const fewOrders = 500_000

// write writes the orders, all or the first part.
func (d *demo) write(ctx context.Context) error {
	records, next, done := d.o.records(), d.o.generator(d.topics.orders()), int64(0)
	part := func(to int64) error {
		from := done
		done = to
		return produceAll(ctx, d.cl, to-from, func(i int64) *kgo.Record { return next(from + i) })
	}
	d.written = make(chan error, 1)
	if d.o.n > fewOrders {
		began := time.Now()
		if err := part(records); err != nil {
			return fmt.Errorf("write orders: %w", err)
		}
		d.story.say("", "%s orders written in %.1f s, and %s test orders that the topology has to drop", grouped(d.o.n), time.Since(began).Seconds(), grouped(d.o.tests()))
		d.written <- nil
		return nil
	}
	if err := part(records * 2 / 5); err != nil {
		return fmt.Errorf("write orders: %w", err)
	}
	d.story.say("", "two fifths of the orders are written, the others follow while the workers run")
	go func() {
		const parts = 30
		from := done
		for i := range int64(parts) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			if err := part(from + (records-from)*(i+1)/parts); err != nil {
				d.written <- fmt.Errorf("write orders: %w", err)
				return
			}
		}
		d.written <- nil
	}()
	return nil
}

func (d *demo) start(ctx context.Context, name string, life int) error {
	p, err := startDemoProcess(name, d.app, filepath.Join(d.dir, name), d.conn.Args(), func(_ string, e demoEvent) {
		select {
		case d.events <- demoNews{name, life, e}:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return err
	}
	d.workers[name] = p
	d.story.say("", "worker %s runs, process %d", name, p.cmd.Process.Pid)
	return nil
}

// cleanUp deletes what the run has made on somebody's brokers.
func (d *demo) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	adm := kadm.NewClient(d.cl)
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("delete topics of %s: %w", d.app, err)
	}
	var mine []string
	for _, t := range all.Names() {
		if strings.HasPrefix(t, d.app+".") || strings.HasPrefix(t, d.app+"-") {
			mine = append(mine, t)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	rs, err := adm.DeleteTopics(ctx, mine...)
	if err == nil {
		err = rs.Error()
	}
	if err != nil {
		return fmt.Errorf("delete topics of %s: %w", d.app, err)
	}
	return nil
}
