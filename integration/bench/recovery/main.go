// Recovery measures how long a worker that was killed needs to its first new commit:
//
//	go run ./integration/kafkatest/kafka -heap 1024 -cmd 'go run ./integration/bench/recovery'
//
// It fills a topic, lets a worker with default settings count per key, and kills it twice with SIGKILL while it works at
// full speed: the next one has the state directory, the one after that has not. The table says when, in ms since the
// process was started, each of them had checked everything (ready), had its partitions, had restored its last task and
// had committed its first new epoch; and how many changelog records the restores read.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// settings of a measurement; the worker's process gets them as flags, too.
type settings struct {
	worker                 bool
	brokers, app, dir      string
	records, keys          int64
	valueBytes, partitions int
	kill                   int64 // records that a worker commits before it is killed
}

func main() {
	var s settings
	flag.BoolVar(&s.worker, "worker", false, "be the worker (the command starts itself)")
	flag.StringVar(&s.brokers, "brokers", os.Getenv("KAFKA_BROKERS"), "addresses of Kafka")
	flag.StringVar(&s.app, "app", fmt.Sprintf("recovery-%d", time.Now().Unix()), "name of the application; its input is <app>-in")
	flag.StringVar(&s.dir, "dir", "", "state directory (default: a temporary one)")
	flag.Int64Var(&s.records, "records", 5_000_000, "records of the input")
	flag.Int64Var(&s.keys, "keys", 1_000_000, "keys, one after the other, so that every one is there")
	flag.IntVar(&s.valueBytes, "value-bytes", 100, "bytes of each input value")
	flag.IntVar(&s.partitions, "partitions", 4, "partitions of the input")
	flag.Int64Var(&s.kill, "kill", 2_000_000, "records that a worker commits before it is killed; twice that, and some, are needed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := s.measure
	if s.worker {
		run = s.work
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "recovery:", err)
		os.Exit(1)
	}
}

// event is a line that a worker prints.
type event struct {
	What    string `json:"what"` // ready, assigned, restored, committed
	At      int64  `json:"at"`   // unix ms
	Records int64  `json:"records,omitempty"`
	Took    int64  `json:"took,omitempty"` // ms, of a restore
	Base    string `json:"base,omitempty"`
}

// work counts per key and says what happens. Nothing but the instance id is set: it would
// be lost with the directory.
func (s settings) work(ctx context.Context) error {
	b := topology.New(s.app)
	topology.From(b, topology.NewTopic(s.app+"-in", codec.Bytes, codec.Bytes)).Count("counts").
		To(topology.NewTopic(s.app+"-out", codec.Bytes, codec.Int64))
	plan, err := b.Build()
	if err != nil {
		return err
	}
	say := func(e event) {
		e.At = time.Now().UnixMilli()
		line, _ := json.Marshal(e)
		_, _ = os.Stdout.Write(append(line, '\n')) // one write: lanes do not mix their lines
	}
	return processor.Run(ctx, plan,
		processor.Brokers(strings.Split(s.brokers, ",")...), processor.StateDir(s.dir), processor.InstanceID("w"),
		processor.Events(&processor.Listener{
			WorkerStarted: func(processor.WorkerInfo) { say(event{What: "ready"}) },
			TasksAssigned: func(i processor.AssignedInfo) {
				if len(i.Partitions) > 0 {
					say(event{What: "assigned"})
				}
			},
			TaskRestored: func(i processor.RestoredInfo) {
				say(event{What: "restored", Records: i.Records, Took: i.Took.Milliseconds(), Base: i.Base})
			},
			EpochCommitted: func(i processor.CommittedInfo) {
				if i.Records > 0 {
					say(event{What: "committed", Records: i.Records})
				}
			},
		}))
}

// measured is a start of a worker, in ms since the process was started.
type measured struct {
	name                                  string
	ready, assigned, restored, committed  int64
	restoreMs, restoreRecords, tasksCount int64
	bases                                 string
}

func (s settings) measure(ctx context.Context) (err error) {
	if s.brokers == "" {
		return errors.New("set -brokers or KAFKA_BROKERS")
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "recovery-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	}
	s.dir = filepath.Join(s.dir, "state")
	if err := s.fill(ctx); err != nil {
		return fmt.Errorf("fill %s-in: %w", s.app, err)
	}
	var rows []measured
	for _, step := range []struct {
		name    string
		forget  bool // the state directory
		records int64
	}{{"first start", false, s.kill}, {"with state directory", false, s.kill}, {"without", true, 1}} {
		if step.forget {
			if err := os.RemoveAll(s.dir); err != nil {
				return err
			}
		}
		m, err := s.start(ctx, step.records)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		m.name = step.name
		rows = append(rows, m)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "start\tready\tassigned\trestored\tfirst commit\tchangelog records\trecords/s\tbases\t")
	for _, m := range rows {
		rate := "-"
		if took := m.restored - m.assigned; took > 0 {
			rate = fmt.Sprint(m.restoreRecords * 1000 / took)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t\n", m.name, m.ready, m.assigned, m.restored, m.committed, m.restoreRecords, rate, m.bases)
	}
	return t.Flush()
}

// start runs a worker until it has committed that many records, and kills it.
func (s settings) start(ctx context.Context, records int64) (m measured, err error) {
	exe, err := os.Executable()
	if err != nil {
		return m, err
	}
	began := time.Now().UnixMilli()
	cmd := exec.CommandContext(ctx, exe, "-worker", "-brokers", s.brokers, "-app", s.app, "-dir", s.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return m, err
	}
	if err := cmd.Start(); err != nil {
		return m, err
	}
	err = m.follow(out, began, records, s.partitions)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return m, err
}

// follow reads what the worker says, up to the commit of that many records.
func (m *measured) follow(out io.Reader, began, records int64, tasks int) error {
	lines := bufio.NewScanner(out)
	for done := int64(0); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("the worker says %q: %w", lines.Text(), err)
		}
		at := e.At - began
		switch e.What {
		case "ready":
			m.ready = at
		case "assigned":
			m.assigned = at
		case "restored":
			m.restored = at
			m.tasksCount++
			m.restoreRecords += e.Records
			m.restoreMs = max(m.restoreMs, e.Took)
			if !strings.Contains(m.bases, e.Base) {
				m.bases = strings.TrimPrefix(m.bases+"+"+e.Base, "+")
			}
		case "committed":
			if m.committed == 0 {
				m.committed = at
			}
			if done += e.Records; done >= records && m.tasksCount >= int64(tasks) {
				return nil
			}
		}
	}
	return errors.Join(lines.Err(), errors.New("the worker ended by itself"))
}

// fill makes the topics and the input.
func (s settings) fill(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...), kgo.DefaultProduceTopic(s.app+"-in"),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	made, err := kadm.NewClient(cl).CreateTopics(ctx, int32(s.partitions), 1, nil, s.app+"-in", s.app+"-out")
	if err != nil {
		return err
	}
	if err := made.Error(); err != nil {
		return err
	}
	var failed atomic.Pointer[error]
	value := make([]byte, s.valueBytes)
	for i := range s.records {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		cl.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "k%09d", i%s.keys), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}
