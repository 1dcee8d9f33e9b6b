// Package eos shows exactly-once results on a real Kafka with real worker processes that
// are killed, stopped and restarted at every step of the cycle.
package eos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-stream/weir/integration/kafkatest"
	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/processor/admin"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

// binary builds the worker with failpoints, once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weir-eos")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "tallyworker")
	out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", bin, "github.com/weir-stream/weir/integration/tallyworker").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the worker: %w\n%s", err, out)
	}
	return bin, nil
})

// limit bounds a whole test; nothing in it waits for a duration.
const limit = 45 * time.Second

// run is one application on one cluster.
type run struct {
	t       *testing.T
	ctx     context.Context
	cluster *kafkatest.Cluster
	tally   tally.Tally
	dir     string     // of the workers' states
	cuts    string     // of checkpoints
	loading sync.Mutex // held while input is written, and while a broker is killed: see feed
	mu      sync.Mutex
	procs   []*proc
	client  *admin.Client // see admin
}

func newRun(t *testing.T, c *kafkatest.Cluster, replication int16) *run {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	r := &run{t: t, ctx: ctx, cluster: c, dir: t.TempDir(), cuts: t.TempDir(),
		tally: tally.Tally{App: kafkatest.Unique(t), Keys: 100, Groups: 10, Partitions: 4}}
	if err := r.tally.CreateTopics(ctx, c.Addrs(), replication); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range r.procs {
			p.signal(syscall.SIGKILL)
			<-p.gone
			if t.Failed() {
				t.Logf("--- %s\n%s", p.name, p.tail())
			}
		}
	})
	return r
}

func (r *run) load(from, to int, last bool) {
	r.t.Helper()
	if err := r.tally.Load(r.ctx, r.cluster.Addrs(), from, to, last); err != nil {
		r.t.Fatal(err)
	}
}

// feed loads records in the background, a few at a time, so that many epochs are needed.
// The returned function waits for its end. A broker that dies under a plain idempotent
// producer may leave a batch twice in the log, so whoever kills one holds r.loading.
func (r *run) feed(from, to int) (wait func()) {
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		few := max(100, (to-from)/500) // so that it ends within some seconds
		for ; from < to; from += few {
			r.loading.Lock()
			err := r.tally.Load(r.ctx, r.cluster.Addrs(), from, min(from+few, to), false)
			r.loading.Unlock()
			if err != nil {
				done <- err
				return
			}
			<-tick.C
		}
		done <- nil
	}()
	return func() {
		r.t.Helper()
		if err := <-done; err != nil {
			r.t.Fatal(err)
		}
	}
}

// feedUntil loads records, a few at a time, until a worker has come to its failpoint, and
// returns how many: however slowly it starts, there are epochs enough.
func (r *run) feedUntil(reached func() bool) (n int) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		r.load(n, n+100, false)
		n += 100
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			r.t.Fatalf("a failpoint was not reached in %d records", n)
		}
	}
	return n
}

// check waits for all results of n records and compares them.
func (r *run) check(n int) {
	r.t.Helper()
	if err := r.tally.CheckInput(r.ctx, r.cluster.Addrs(), n); err != nil {
		r.t.Fatal(err)
	}
	out, err := r.tally.Await(r.ctx, r.cluster.Addrs(), n)
	if err != nil {
		r.t.Errorf("%v", err)
		r.diagnose()
	}
	if err := r.tally.Check(out, n).Err(); err != nil {
		r.t.Errorf("%v", err)
	}
}

// proc is one worker process.
type proc struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended and its output is read
	err  error
	mu   sync.Mutex
	cond *sync.Cond
	out  []string
}

// start runs a worker. The state directory belongs to the instance. failpoint may be empty.
func (r *run) start(instance, failpoint string, args ...string) *proc {
	r.t.Helper()
	bin, err := binary()
	if err != nil {
		r.t.Fatal(err)
	}
	args = append([]string{
		"-brokers", strings.Join(r.cluster.Addrs(), ","), "-app", r.tally.App, "-state", filepath.Join(r.dir, instance),
		"-instance", instance, "-keys", fmt.Sprint(r.tally.Keys), "-groups", fmt.Sprint(r.tally.Groups),
		"-partitions", fmt.Sprint(r.tally.Partitions), "-checkpoints", r.cuts,
	}, args...)
	p := &proc{name: instance + " " + failpoint, gone: make(chan struct{}), cmd: exec.Command(bin, args...)}
	p.cond = sync.NewCond(&p.mu)
	if failpoint != "" {
		p.cmd.Env = append(os.Environ(), "WEIR_FAILPOINT="+failpoint)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.procs = append(r.procs, p)
	r.mu.Unlock()
	go func() {
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.out = append(p.out, lines.Text())
			p.mu.Unlock()
			p.cond.Broadcast()
		}
		p.err = p.cmd.Wait()
		close(p.gone)
		p.cond.Broadcast()
	}()
	return p
}

// over says whether the process has ended.
func (p *proc) over() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// said says whether the process has printed a line that contains text.
func (p *proc) said(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.out, func(line string) bool { return strings.Contains(line, text) })
}

// count is how many lines have said it.
func (p *proc) count(text string) (n int) {
	for _, line := range p.since(0) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (p *proc) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // gone is as good

func (p *proc) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.out[max(0, len(p.out)-60):], "\n")
}

// printed waits until the process has printed a line that contains one of the texts.
func (r *run) printed(p *proc, texts ...string) {
	r.t.Helper()
	r.printedAfter(p, 0, texts...)
}

// lines is how much the process has printed.
// since is what it has said from line n on.
func (p *proc) since(n int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.out[n:])
}

func (p *proc) lines() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.out)
}

// printedAfter is printed for what comes after the first lines.
func (r *run) printedAfter(p *proc, lines int, texts ...string) {
	r.t.Helper()
	stop := context.AfterFunc(r.ctx, p.cond.Broadcast)
	defer stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := lines; ; {
		for ; at < len(p.out); at++ {
			if slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(p.out[at], s) }) {
				return
			}
		}
		select {
		case <-p.gone:
			r.t.Fatalf("%s ended without printing %q", p.name, texts)
		default:
		}
		if r.ctx.Err() != nil {
			r.t.Fatalf("%s did not print %q", p.name, texts)
		}
		p.cond.Wait()
	}
}

// settled waits until each lane of the workers has got tasks: then none moves any more, of the group's own accord. A cut
// under way when the coordinator's task moves is declined.
func (r *run) settled(procs ...*proc) {
	r.t.Helper()
	for _, p := range procs {
		r.printed(p, `"message":"worker started"`)
		for !assigned(p.since(0)) {
			if p.over() || !r.pass(10*time.Millisecond) {
				r.t.Fatalf("a lane of %s has got no task", p.name)
			}
		}
	}
}

// assigned says whether each lane of a worker has ever got something to do.
func assigned(log []string) bool {
	lanes, has := -1, map[int]bool{}
	for _, text := range log {
		var line struct {
			Message    string
			Lanes      int
			Lane       int
			Partitions map[string][]int32
		}
		if json.Unmarshal([]byte(text), &line) != nil {
			continue
		}
		switch {
		case line.Message == "worker started":
			lanes = line.Lanes
		case line.Message == "assigned" && len(line.Partitions) > 0:
			has[line.Lane] = true
		}
	}
	return len(has) == lanes
}

// killed waits until the process has died of its failpoint.
func (r *run) killed(p *proc) {
	r.t.Helper()
	select {
	case <-p.gone:
	case <-r.ctx.Done():
		r.t.Fatalf("%s was not killed: its failpoint was not reached", p.name)
	}
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
		r.t.Fatalf("%s ended with %v, want a kill by its failpoint", p.name, p.err)
	}
}

// stop asks for a clean end and wants one.
func (r *run) stop(p *proc) {
	r.t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-r.ctx.Done():
		r.t.Fatalf("%s did not stop", p.name)
	}
	if p.err != nil {
		r.t.Errorf("%s stopped with %v", p.name, p.err)
	}
}
