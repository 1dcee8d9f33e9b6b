package eos

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
	"testing"
	"time"

	"github.com/weir-stream/weir/integration/kafkatest"
)

// The memory that a worker with the default settings may take for a million keys.
const (
	soakRecords = 10_000_000
	soakKeys    = 1_000_000
	soakMiB     = 1024
)

// TestSoakMemory counts ten million records of a million keys with two lanes and the default
// settings: the process stays below 1 GiB, and once it has seen the keys its memory no longer
// grows.
func TestSoakMemory(t *testing.T) {
	if os.Getenv("WEIR_SOAK") == "" {
		t.Skip("WEIR_SOAK is not set: make soak")
	}
	c := kafkatest.Start(t, kafkatest.Options{HeapMB: 1024, LongRun: true})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	dir, app := t.TempDir(), kafkatest.Unique(t)
	weir := filepath.Join(dir, "weir")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", weir, "github.com/weir-stream/weir/cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("build weir: %v\n%s", err, out)
	}
	bench := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, weir, append([]string{"bench"}, args...)...)
		cmd.Args = append(cmd.Args, "--brokers", c.Addrs()[0])
		return cmd
	}
	in, out := app+"-in", app+"-out"
	load := bench("load", "--topic", in, "--partitions", "4", "--records", strconv.Itoa(soakRecords), "--keys", strconv.Itoa(soakKeys))
	if text, err := load.CombinedOutput(); err != nil {
		t.Fatalf("load: %v\n%s", err, text)
	}
	worker := bench("worker", "--workload", "count", "--app", app, "--in", in, "--out", out, "--lanes", "2",
		"--state-dir", filepath.Join(dir, "state"), "--until-idle", "5s")
	var printed, complained bytes.Buffer
	worker.Stdout, worker.Stderr = &printed, &complained
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- worker.Wait() }()
	held, err := sampleMemory(worker.Process.Pid, over)
	if err != nil {
		t.Fatalf("worker: %v\n%s", err, complained.String())
	}
	var r struct {
		Records int64 `json:"records"`
		RSS     int64 `json:"max_rss_bytes"`
	}
	line := bytes.TrimSpace(printed.Bytes())
	if err := json.Unmarshal(line[bytes.LastIndexByte(line, '\n')+1:], &r); err != nil {
		t.Fatalf("worker printed %.300q: %v", printed.String(), err)
	}
	if r.Records != soakRecords {
		t.Fatalf("%d records committed, want %d", r.Records, soakRecords)
	}
	if text, err := bench("verify", "--workload", "count", "--in", in, "--out", out).CombinedOutput(); err != nil {
		t.Fatalf("verify: %v\n%s", err, text)
	}
	if r.RSS > soakMiB<<20 {
		t.Errorf("the worker took %d MiB, want at most %d", r.RSS>>20, soakMiB)
	}
	second, last := grown(held)
	if second == 0 {
		t.Fatalf("only %d samples of its memory", len(held))
	}
	t.Logf("%d MiB at most, of them anonymous: %d MiB in the second third of its life, %d MiB in the last", r.RSS>>20, second, last)
	if last*100 > second*115 {
		t.Errorf("memory grew from %d MiB in the second third to %d MiB in the last: it is not bounded", second, last)
	}
}

// sampleMemory reads the anonymous memory of a process, in MiB, ten times a second until it ends.
func sampleMemory(pid int, over <-chan error) (held []int, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-over:
			return held, err
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended, and the next round says how
		}
		if _, rest, ok := bytes.Cut(status, []byte("RssAnon:")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				kib, _ := strconv.Atoi(string(f[0]))
				held = append(held, kib>>10)
			}
		}
	}
}

// grown gives what was held in the second and in the last third of the samples: medians, as a
// collector that comes late on a busy machine makes peaks.
func grown(held []int) (second, last int) {
	n := len(held) / 3
	if n == 0 {
		return 0, 0
	}
	middle := func(some []int) int { return slices.Sorted(slices.Values(some))[len(some)/2] }
	return middle(held[n : 2*n]), middle(held[2*n:])
}

func TestGrown(t *testing.T) {
	if second, last := grown([]int{1, 9, 9, 5, 99, 6, 7, 2, 8}); second != 6 || last != 7 {
		t.Errorf("got %d and %d, want 6 and 7", second, last)
	}
	if second, last := grown([]int{4, 4}); second != 0 || last != 0 {
		t.Errorf("too few samples: got %d and %d", second, last)
	}
}
