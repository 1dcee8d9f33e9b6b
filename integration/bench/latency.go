package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/integration/bench/report"
)

// latencies measures all systems at the interval of the benchmark, and weir at a quarter of it. Settings for
// throughput are left out.
func (b *bench) latencies(ctx context.Context, workload string) ([]report.Latency, error) {
	var out []report.Latency
	for _, s := range b.systems {
		intervals := []time.Duration{b.interval}
		switch s.name {
		case report.WeirSlow, report.StreamsTuned, report.FlinkTuned:
			continue
		case report.Weir:
			intervals = append(intervals, b.interval/4)
		}
		for _, interval := range intervals {
			l, err := b.latencyOf(ctx, s, workload, interval)
			if err != nil {
				return nil, fmt.Errorf("%s, commits every %s: %w", s.name, interval, err)
			}
			log.Printf("%s at %d/s: %s, commits every %s: p50 %.0f ms, p99 %.0f ms, p99.9 %.0f ms, %.2f cores", workload, b.rate, s.name,
				interval, l.P50, l.P99, l.P999, l.Cores)
			out = append(out, l)
		}
	}
	return out, nil
}

func (b *bench) latencyOf(ctx context.Context, s system, workload string, interval time.Duration) (report.Latency, error) {
	l := report.Latency{Workload: workload, System: s.name, Interval: interval.Milliseconds(), Rate: b.rate}
	j := b.job(workload, "", interval, 0)
	j.in = j.app + "-in"
	for _, topic := range []string{j.in, j.out} {
		if err := b.create(ctx, topic); err != nil {
			return l, err
		}
	}
	w, err := s.start(ctx, j)
	if err != nil {
		return l, err
	}
	waits, cores, err := b.observe(ctx, w, j)
	if _, ended := w.stop(); err != nil || ended != nil {
		return l, errors.Join(err, ended)
	}
	slices.SortFunc(waits, cmp.Compare[time.Duration])
	at := func(share float64) float64 {
		return float64(waits[min(int(share*float64(len(waits))), len(waits)-1)].Microseconds()) / 1e3
	}
	l.Samples, l.P50, l.P99, l.P999, l.Cores = int64(len(waits)), at(0.5), at(0.99), at(0.999), cores
	return l, b.clean(ctx, j)
}

// observe produces at a steady rate and reads the committed output. A record's time is the one at which it was due, so a
// producer that is held up counts, too; results carry the time of their input. What is due in the first third warms up.
func (b *bench) observe(ctx context.Context, w *worker, j job) (waits []time.Duration, cores float64, err error) {
	brokers := kgo.SeedBrokers(strings.Split(b.brokers, ",")...)
	producer, err := kgo.NewClient(brokers, kgo.DefaultProduceTopic(j.in), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		return nil, 0, err
	}
	defer producer.Close()
	reader, err := kgo.NewClient(brokers, kgo.ConsumeTopics(j.out), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(time.Second))
	if err != nil {
		return nil, 0, err
	}
	defer reader.Close()

	// The worker is up when the first record came through. There is nothing to wait for when it has ended.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+2*b.latency)
	defer cancel()
	go func() {
		select {
		case <-w.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	value := make([]byte, 100)
	if err := producer.ProduceSync(ctx, &kgo.Record{Key: []byte("first"), Value: value, Timestamp: time.Now()}).FirstErr(); err != nil {
		return nil, 0, fmt.Errorf("produce: %w", err)
	}
	if fs := reader.PollFetches(ctx); fs.Err() != nil || fs.NumRecords() == 0 {
		return nil, 0, errors.Join(fmt.Errorf("nothing came out of %s", j.app), fs.Err())
	}

	began := time.Now()
	from := began.Add(b.latency / 2)
	until := from.Add(b.latency)
	total := int64((b.latency + b.latency/2).Seconds() * float64(b.rate))
	failed := make(chan error, 1)
	go func() { failed <- pace(ctx, producer, began, total, b.rate, value) }()

	var cpuBefore, cpuAfter time.Duration
	for seen := int64(0); seen < total; {
		fs := reader.PollFetches(ctx)
		now := time.Now()
		if err := fs.Err(); err != nil {
			return nil, 0, fmt.Errorf("read %s after %d of %d records: %w", j.out, seen, total, err)
		}
		if cpuBefore == 0 && now.After(from) {
			if cpuBefore, err = cpuOf(w.cmd.Process.Pid); err != nil {
				return nil, 0, err
			}
			from = now
		}
		if cpuAfter == 0 && now.After(until) {
			if cpuAfter, err = cpuOf(w.cmd.Process.Pid); err != nil {
				return nil, 0, err
			}
			until = now
		}
		fs.EachRecord(func(r *kgo.Record) {
			seen++
			if cpuBefore != 0 && r.Timestamp.After(from) {
				waits = append(waits, now.Sub(r.Timestamp))
			}
		})
	}
	if err := <-failed; err != nil {
		return nil, 0, fmt.Errorf("produce: %w", err)
	}
	if cpuAfter == 0 {
		if cpuAfter, err = cpuOf(w.cmd.Process.Pid); err != nil {
			return nil, 0, err
		}
		until = time.Now()
	}
	if len(waits) == 0 {
		return nil, 0, errors.New("no record came while it was measured")
	}
	return waits, (cpuAfter - cpuBefore).Seconds() / until.Sub(from).Seconds(), nil
}

// pace produces each record when it is due, in small groups.
func pace(ctx context.Context, cl *kgo.Client, began time.Time, total, rate int64, value []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for sent := int64(0); sent < total; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		for due := int64(time.Since(began).Seconds() * float64(rate)); sent < min(due, total); sent++ {
			at := began.Add(time.Duration(float64(sent) / float64(rate) * float64(time.Second)))
			key := strconv.AppendInt([]byte("k"), sent*7919%100_000, 10)
			cl.Produce(ctx, &kgo.Record{Key: key, Value: value, Timestamp: at}, func(_ *kgo.Record, err error) {
				if err != nil {
					cancel(err)
				}
			})
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}
