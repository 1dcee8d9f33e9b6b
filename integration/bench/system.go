package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weir-stream/weir/integration/bench/report"
)

// job is what a worker is asked to do.
type job struct {
	workload, in, out, app string
	brokers, state         string
	interval               time.Duration
	lanes                  int
	records                int64         // of the input
	idle                   time.Duration // 0: until SIGTERM
}

// A system is a program that can do a job.
type system struct {
	flag    string // as it is chosen on the command line
	name    string // as it appears in the report
	command func(job) []string
	// interval between commits while throughput is measured; 0: that of the benchmark.
	interval time.Duration
}

var systems = []system{
	{"weir", report.Weir, weirCommand, 0},
	{"slow", report.WeirSlow, weirCommand, slowCommits},
	{"streams", report.Streams, func(j job) []string { return streamsCommand(j) }, 0},
	{"tuned", report.StreamsTuned, func(j job) []string { return streamsCommand(j, tuned...) }, 0},
	{"flink", report.Flink, func(j job) []string { return flinkCommand(j) }, flinkCheckpoints},
	{"flinktuned", report.FlinkTuned, func(j job) []string { return flinkCommand(j, tunedFlink...) }, flinkCheckpoints},
}

// tuned is what people set when Kafka Streams is too slow for them.
var tuned = []string{"producer.batch.size=131072", "producer.buffer.memory=67108864", "max.poll.records=5000", "buffered.records.per.partition=5000"}

// tunedFlink is the same for Flink, with larger fetches and without its copies of each record between operators.
var tunedFlink = []string{"producer.linger.ms=20", "producer.batch.size=131072", "producer.buffer.memory=67108864",
	"consumer.max.partition.fetch.bytes=4194304", "consumer.max.poll.records=5000", "pipeline.object-reuse=true"}

// slowCommits show what weir loses by the interval of the benchmark.
const slowCommits = time.Second

// flinkCheckpoints are further apart than the others' commits: each asks every operator for a snapshot and waits for all.
const flinkCheckpoints = time.Second

func chosen(flags []string) ([]system, error) {
	var found []system
	for _, s := range systems {
		if slices.Contains(flags, s.flag) {
			found = append(found, s)
		}
	}
	if len(found) < len(flags) {
		return nil, fmt.Errorf("-systems %s: use some of weir, slow, streams, tuned, flink, flinktuned", strings.Join(flags, ","))
	}
	return found, nil
}

// weirProgram is where `make bench` builds it.
const weirProgram = "bin/weir"

func weirCommand(j job) []string {
	return []string{weirProgram, "bench", "worker", "--workload", j.workload, "--brokers", j.brokers, "--app", j.app,
		"--in", j.in, "--out", j.out, "--state-dir", j.state, "--commit-interval", j.interval.String(),
		"--lanes", strconv.Itoa(j.lanes), "--until-idle", j.idle.String()}
}

func streamsCommand(j job, more ...string) []string { return javaCommand("bin/streams", nil, j, more) }

// flinkCommand opens what Flink's own start scripts open, as far as these jobs can use it.
func flinkCommand(j job, more ...string) []string {
	opens := []string{"--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.nio=ALL-UNNAMED"}
	return javaCommand("bin/flink", opens, j, more)
}

// javaCommand gives Java a heap of 1 GiB, as its own default, a quarter of the machine, says nothing about what is needed.
func javaCommand(built string, flags []string, j job, more []string) []string {
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	return slices.Concat([]string{java, "-Xmx1g"}, flags, []string{"-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-cp", built + "/classes:" + built + "/lib/*", "Peer",
		"workload=" + j.workload, "brokers=" + j.brokers, "app=" + j.app, "in=" + j.in, "out=" + j.out, "state=" + j.state,
		"interval=" + strconv.FormatInt(j.interval.Milliseconds(), 10), "lanes=" + strconv.Itoa(j.lanes),
		"records=" + strconv.FormatInt(j.records, 10), "idle=" + strconv.FormatInt(j.idle.Milliseconds(), 10)}, more)
}

// worker is a running job.
type worker struct {
	cmd         *exec.Cmd
	out, errors output
	done        chan struct{} // closed when the process has ended
	err         error         // how, from then on
}

// output is what a process prints; it may be read meanwhile.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// last is the last line that was printed.
func (w *worker) last() []byte {
	printed := bytes.TrimSpace([]byte(w.out.String()))
	return printed[bytes.LastIndexByte(printed, '\n')+1:]
}

func (s system) start(ctx context.Context, j job) (*worker, error) {
	args := s.command(j)
	w := &worker{cmd: exec.CommandContext(ctx, args[0], args[1:]...), done: make(chan struct{})}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.errors
	w.cmd.Cancel = func() error { return w.cmd.Process.Signal(syscall.SIGTERM) }
	w.cmd.WaitDelay = time.Minute
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	go func() {
		w.err = w.cmd.Wait()
		close(w.done)
	}()
	return w, nil
}

// wait gives what the worker printed last. The kernel tells its CPU time, which is the same measure for all and knows
// of what came before main and after the line was printed.
func (w *worker) wait() (report.Run, error) {
	var r report.Run
	<-w.done
	if w.err != nil {
		return r, fmt.Errorf("%s: %w\n%.4000s", w.cmd.Args[0], w.err, w.errors.String())
	}
	if err := json.Unmarshal(w.last(), &r); err != nil {
		return r, fmt.Errorf("%s printed %.200q: %w", w.cmd.Args[0], w.out.String(), err)
	}
	user, system := w.cmd.ProcessState.UserTime(), w.cmd.ProcessState.SystemTime()
	r.UserSeconds, r.SystemSeconds, r.CPUSeconds = user.Seconds(), system.Seconds(), (user + system).Seconds()
	return r, nil
}

func (w *worker) stop() (report.Run, error) {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return report.Run{}, err
	}
	return w.wait()
}

// command runs one of weir's own and shows what it complained about.
func command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, weirProgram, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("weir %s: %w\n%.2000s", strings.Join(args, " "), err, out)
	}
	return nil
}

// cpuOf is the user and system time of a process so far. The kernel counts in hundredths of a second.
func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name is in brackets and may hold anything; utime and stime are the 12th and 13th field after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %.80q", pid, stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	sys, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+sys) * 10 * time.Millisecond, errors.Join(err1, err2)
}
