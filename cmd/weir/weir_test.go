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
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/embedded"
)

var update = flag.Bool("update", false, "rewrite golden files")

// weir runs a command line with standard input.
func weir(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetContext(ctx)
	code = cli.Execute(root)
	return code, out.String(), errs.String()
}

// weirProcess runs a command line in a process of its own.
func weirProcess(t *testing.T, ctx context.Context, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, weirBinary(t), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func startBroker(t *testing.T, topics map[string]int32) string {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Topics: topics})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Addrs()[0]
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// executable builds the command once for all tests that need processes.
var executable = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weir-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "weir")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var built atomic.Bool

func weirBinary(t *testing.T) string {
	t.Helper()
	built.Store(true)
	path, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.Load() {
		if path, err := executable(); err == nil {
			os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

func TestHelp(t *testing.T) {
	var all strings.Builder
	walk := func(args []string) {
		code, stdout, _ := weir(context.Background(), "", append(args, "--help")...)
		if code != cli.ExitDone {
			t.Errorf("weir %v --help: exit code %d", args, code)
		}
		fmt.Fprintf(&all, "$ weir %s\n%s\n", strings.Join(append(args, "--help"), " "), stdout)
	}
	walk(nil)
	for _, c := range newRoot().Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		walk([]string{c.Name()})
		for _, sub := range c.Commands() {
			walk([]string{c.Name(), sub.Name()})
		}
	}
	const path = "testdata/help.txt"
	if *update {
		if err := os.WriteFile(path, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("%s differs; go test -update rewrites it. Now:\n%s", path, all.String())
	}
}

func TestSendAndTail(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, nil)

	code, _, stderr := weir(ctx, "x\n", "send", "lines", "-b", b)
	if code != cli.ExitCould || !strings.Contains(stderr, "topic lines does not exist") || !strings.Contains(stderr, "do: create it: weir send lines --create 4") {
		t.Fatalf("send to an absent topic: exit code %d\n%s", code, stderr)
	}
	code, stdout, stderr := weir(ctx, "a\t1\nb\t-2\nno key\n", "send", "lines", "-b", b, "--create", "1", "--key-separator", `\t`, "--json")
	var sent struct{ Records int }
	if err := json.Unmarshal([]byte(stdout), &sent); err != nil || code != 0 || sent.Records != 3 {
		t.Fatalf("send: exit code %d, %s%s", code, stdout, stderr)
	}
	if _, got, _ := weir(ctx, "", "tail", "lines", "-b", b); got != "a\t1\nb\t-2\nnull\tno key\n" {
		t.Errorf("tail: %q", got)
	}
	if _, got, _ := weir(ctx, "", "tail", "lines", "-b", b, "--value", "hex", "-n", "1"); got != "a\t31\n" {
		t.Errorf("tail of one in hex: %q", got)
	}

	if code, _, stderr := weir(ctx, "a=5\nb=x\n", "send", "numbers", "-b", b, "--create", "3", "--key-separator", "=", "--value", "int64"); code != cli.ExitCould || !strings.Contains(stderr, `line 2: value "x"`) {
		t.Errorf("send of no number: exit code %d\n%s", code, stderr)
	}
	weir(ctx, "a=7\n", "send", "numbers", "-b", b, "--key-separator", "=", "--value", "int64")
	_, got, _ := weir(ctx, "", "tail", "numbers", "-b", b, "--value", "int64", "--json", "-f", "-n", "1")
	var rec struct {
		Topic     string
		Key       string
		Value     int64
		Offset    int64
		Partition int32
		Time      time.Time
	}
	if err := json.Unmarshal([]byte(got), &rec); err != nil || rec.Topic != "numbers" || rec.Key != "a" || rec.Value != 5 && rec.Value != 7 || rec.Time.IsZero() {
		t.Errorf("tail --json: %v, %s", err, got)
	}
	if code, _, stderr := weir(ctx, "", "tail", "absent", "-b", b); code != cli.ExitCould || !strings.Contains(stderr, "  do: ") {
		t.Errorf("tail of an absent topic: exit code %d\n%s", code, stderr)
	}
}

// tail reads committed records only.
func TestTailIsReadCommitted(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"t": 1})
	cl, err := kgo.NewClient(kgo.SeedBrokers(b), kgo.TransactionalID("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, step := range []struct {
		value string
		end   kgo.TransactionEndTry
	}{{"committed", kgo.TryCommit}, {"aborted", kgo.TryAbort}, {"open", kgo.TryAbort}} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte(step.value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if step.value == "open" {
			break
		}
		if err := cl.EndTransaction(ctx, step.end); err != nil {
			t.Fatal(err)
		}
	}
	if code, got, stderr := weir(ctx, "", "tail", "t", "-b", b); code != 0 || got != "null\tcommitted\n" {
		t.Errorf("exit code %d, %q, %s", code, got, stderr)
	}
}

func TestExitCodes(t *testing.T) {
	ctx := testContext(t)
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"version", cli.ExitDone, ""},
		{"fly", cli.ExitUsage, `unknown command "fly"`},
		{"send", cli.ExitUsage, "accepts 1 arg(s)"},
		{"tail t --value roman", cli.ExitUsage, "known are string, hex, int64, json or windowed"},
		{"send t --key windowed", cli.ExitUsage, "can be read only"},
		{"broker --topic lines:many", cli.ExitUsage, "name:partitions"},
		{"tail t -b 127.0.0.1:1", cli.ExitCould, "no broker answered"},
		{"send t -b 127.0.0.1:1", cli.ExitCould, "  do: "},
	} {
		code, _, stderr := weir(ctx, "", strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("weir %s: exit code %d, want %d; %s", c.args, code, c.code, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	if code, got, _ := weir(context.Background(), "", "version"); code != 0 || !strings.HasPrefix(got, "weir ") {
		t.Errorf("exit code %d, %q", code, got)
	}
	var v version
	if _, got, _ := weir(context.Background(), "", "version", "--json"); json.Unmarshal([]byte(got), &v) != nil || v.Version == "" || v.Go == "" {
		t.Errorf("JSON: %s", got)
	}
}

// The broker as a process: its address is the one line on standard output, what is in its
// directory is there again after SIGTERM, and a second one on the directory is refused.
func TestBrokerProcess(t *testing.T) {
	ctx := testContext(t)
	bin := weirBinary(t)
	dir := filepath.Join(t.TempDir(), "data")
	run := func(args ...string) (*exec.Cmd, string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, bin, append([]string{"broker", "--dir", dir, "--port", "0"}, args...)...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("address of the broker: %v", err)
		}
		go io.Copy(io.Discard, out)
		return cmd, strings.TrimSpace(line)
	}
	first, addr := run("--topic", "t:1")
	if code, _, stderr := weir(ctx, "kept\n", "send", "t", "-b", addr); code != 0 {
		t.Fatal(stderr)
	}
	if code, _, stderr := weir(ctx, "", "broker", "--dir", dir, "--port", "0"); code != cli.ExitCould || !strings.Contains(stderr, "another broker runs on this directory") {
		t.Errorf("second broker: exit code %d\n%s", code, stderr)
	}
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	second, again := run()
	defer second.Wait()
	defer second.Process.Signal(syscall.SIGTERM)
	if again != addr {
		t.Errorf("restarted at %s, was at %s", again, addr)
	}
	if _, got, stderr := weir(ctx, "", "tail", "t", "-b", again); got != "null\tkept\n" {
		t.Errorf("after restart: %q, %s", got, stderr)
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 2_000_000: "2,000,000", -12345: "-12,345", -123: "-123"} {
		if got := number(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
