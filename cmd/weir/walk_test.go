package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-stream/weir/processor/cli"
)

// What the README tells somebody without a Kafka: a broker, the example program as a
// process, lines in, counts out, and a stop that commits.
func TestTryAProgramWithoutKafka(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, nil)
	dir := t.TempDir()
	program := filepath.Join(dir, "wordcount")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "../examples/wordcount").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}

	// Before there are topics: check and run say what to do.
	for _, command := range []string{"check", "run"} {
		out, err := exec.CommandContext(ctx, program, command, "-b", b, "--state-dir", filepath.Join(dir, "state")).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "source topic lines does not exist") || !strings.Contains(string(out), "sink topic word-counts does not exist") || !strings.Contains(string(out), "do: create it") {
			t.Fatalf("%s without topics: %v\n%s", command, err, out)
		}
	}
	if code, _, stderr := weir(ctx, "to be or not to be\n", "send", "lines", "-b", b, "--create", "2"); code != cli.ExitDone {
		t.Fatal(stderr)
	}
	if code, _, stderr := weir(ctx, "", "send", "word-counts", "-b", b, "--create", "3"); code != cli.ExitDone {
		t.Fatal(stderr)
	}

	var out strings.Builder
	run := exec.CommandContext(ctx, program, "run", "-b", b, "--state-dir", filepath.Join(dir, "state"))
	run.Stderr = &out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	code, counts, stderr := weir(ctx, "", "tail", "word-counts", "-b", b, "--value", "int64", "-f", "-n", "6")
	if code != cli.ExitDone {
		t.Error(stderr)
	}
	lines := strings.Split(strings.TrimSpace(counts), "\n")
	slices.Sort(lines)
	if want := []string{"be\t1", "be\t2", "not\t1", "or\t1", "to\t1", "to\t2"}; !slices.Equal(lines, want) {
		t.Errorf("counts %q, want %q", lines, want)
	}
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(); err != nil || !strings.Contains(out.String(), "worker started") {
		t.Errorf("SIGTERM: %v\n%s", err, out.String())
	}
}
