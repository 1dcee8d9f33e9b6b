package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/integration/bench/report"
	"github.com/weir-stream/weir/integration/kafkatest"
)

// bench is one run of the benchmark.
type bench struct {
	settings
	cluster *kafkatest.Cluster
	client  *kgo.Client
	systems []system
	work    string // directory for state
	brokers string
	jobs    int // started so far: names are not used twice
}

const partitions = 4

// load fills an input topic.
func (b *bench) load(ctx context.Context, topic string, records, keys int64) error {
	return command(ctx, "bench", "load", "--brokers", b.brokers, "--topic", topic, "--partitions", strconv.Itoa(partitions),
		"--records", strconv.FormatInt(records, 10), "--keys", strconv.FormatInt(keys, 10))
}

// warm runs something through the broker that is not counted.
func (b *bench) warm(ctx context.Context) error {
	const topic = "warm-in"
	records := min(b.records, 500_000)
	if err := b.load(ctx, topic, records, 10_000); err != nil {
		return err
	}
	if _, err := b.once(ctx, systems[0], row{"count", 10_000}, topic, records); err != nil {
		return err
	}
	return b.drop(ctx, topic)
}

// measure runs all systems on one row, in turn.
func (b *bench) measure(ctx context.Context, r row) ([]report.Row, error) {
	in := fmt.Sprintf("in-%s-%d", r.workload, r.keys)
	if err := b.load(ctx, in, b.records, r.keys); err != nil {
		return nil, err
	}
	out := make([]report.Row, len(b.systems))
	for i, s := range b.systems {
		out[i] = report.Row{Workload: r.workload, Keys: r.keys, System: s.name, Interval: s.interval.Milliseconds()}
	}
	for round := range b.rounds {
		for i, s := range b.systems {
			run, err := b.once(ctx, s, r, in, b.records)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", s.name, round+1, err)
			}
			log.Printf("%s, %d keys, round %d: %s: %.0f K/s, %.0f K per CPU-second, %d MiB", r.workload, r.keys, round+1, s.name,
				float64(run.Records)/run.Seconds/1e3, float64(run.Records)/run.CPUSeconds/1e3, run.MaxRSSBytes>>20)
			out[i].Runs = append(out[i].Runs, run)
		}
	}
	return out, b.drop(ctx, in)
}

// job gives the next job; its application, output and state are new.
func (b *bench) job(workload, in string, interval, idle time.Duration) job {
	b.jobs++
	app := fmt.Sprintf("bench-%d", b.jobs)
	return job{workload: workload, in: in, out: app + "-out", app: app, brokers: b.brokers, state: filepath.Join(b.work, app),
		interval: interval, lanes: b.lanes, idle: idle}
}

// once runs one system over a whole input, verifies what it wrote and removes it.
func (b *bench) once(ctx context.Context, s system, r row, in string, records int64) (report.Run, error) {
	j := b.job(r.workload, in, cmp.Or(s.interval, b.interval), 3*time.Second)
	j.records = records
	if err := b.create(ctx, j.out); err != nil {
		return report.Run{}, err
	}
	before, err := b.brokerCPU()
	if err != nil {
		return report.Run{}, err
	}
	w, err := s.start(ctx, j)
	if err != nil {
		return report.Run{}, err
	}
	run, err := w.wait()
	if err != nil {
		return run, err
	}
	after, err := b.brokerCPU()
	if err != nil {
		return run, err
	}
	run.BrokerCPU = (after - before).Seconds()
	if run.Records != records {
		return run, fmt.Errorf("%d records committed, want %d", run.Records, records)
	}
	if err := command(ctx, "bench", "verify", "--brokers", b.brokers, "--workload", r.workload, "--in", in, "--out", j.out); err != nil {
		return run, err
	}
	if err := b.clean(ctx, j); err != nil {
		return run, err
	}
	return run, nil
}

// create makes a topic that keeps everything: the times of the records are not those of today.
func (b *bench) create(ctx context.Context, topic string) error {
	forever := "-1"
	if _, err := b.cluster.Admin().CreateTopic(ctx, partitions, 1, map[string]*string{"retention.ms": &forever}, topic); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	// A broker that has not heard of it would make a worker give up. The request is sent as it is, because the admin client
	// answers from memory.
	req := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	for {
		md, err := req.RequestWith(ctx, b.client)
		if err == nil && len(md.Topics) == 1 && md.Topics[0].ErrorCode == 0 && len(md.Topics[0].Partitions) == partitions {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create topic %s: %w", topic, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (b *bench) brokerCPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range b.cluster.Processes() {
		used, err := cpuOf(pid)
		if err != nil {
			return 0, fmt.Errorf("CPU of the broker: %w", err)
		}
		sum += used
	}
	return sum, nil
}

// clean removes what a job left: its topics, all named after its application, and its state.
func (b *bench) clean(ctx context.Context, j job) error {
	topics, err := b.cluster.Admin().ListTopics(ctx)
	if err != nil {
		return err
	}
	var mine []string
	for name := range topics {
		if rest, ok := strings.CutPrefix(name, j.app); ok && (rest[0] == '-' || rest[0] == '.') {
			mine = append(mine, name)
		}
	}
	if err := b.drop(ctx, mine...); err != nil {
		return err
	}
	return os.RemoveAll(j.state)
}

func (b *bench) drop(ctx context.Context, topics ...string) error {
	resp, err := b.cluster.Admin().DeleteTopics(ctx, topics...)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return fmt.Errorf("delete topics %v: %w", topics, err)
	}
	return nil
}
