package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/embedded"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

var update = flag.Bool("update", false, "rewrite golden files")

var (
	lines  = topology.NewTopic("lines", codec.Bytes, codec.String)
	counts = topology.NewTopic("counts", codec.String, codec.Int64)
)

func count() (*topology.Plan, error) {
	b := topology.New("count")
	byLine := topology.KeyBy(topology.From(b, lines), "by-line", codec.String, func(_ []byte, line string) (string, error) { return line, nil })
	byLine.Count("counts").To(counts)
	return b.Build()
}

func broken() (*topology.Plan, error) {
	b := topology.New("Count!")
	topology.From(b, lines)
	return b.Build()
}

// out is a writer that a test reads while a command writes.
type out struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *out) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *out) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func execute(build func() (*topology.Plan, error), args []string, opts ...processor.Option) (code int, stdout, stderr string) {
	var o, e out
	root := cli.Root("app", build, opts...)
	root.SetArgs(args)
	root.SetOut(&o)
	root.SetErr(&e)
	code = cli.Execute(root)
	return code, o.String(), e.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; go test -update rewrites it. Now:\n%s", path, got)
	}
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"", "run", "rewind", "reset", "describe", "check"} {
		args := []string{"--help"}
		if name != "" {
			args = []string{name, "--help"}
		}
		code, stdout, _ := execute(count, args)
		if code != cli.ExitDone {
			t.Errorf("help of %q: exit code %d", name, code)
		}
		golden(t, "help"+strings.TrimSuffix("-"+name, "-")+".txt", stdout)
	}
}

func TestExitCodes(t *testing.T) {
	nobody := []string{"--brokers", "127.0.0.1:1"}
	for _, c := range []struct {
		name  string
		build func() (*topology.Plan, error)
		args  []string
		code  int
		says  []string
	}{
		{"describe", count, []string{"describe"}, cli.ExitDone, nil},
		{"plan does not build", broken, []string{"describe"}, cli.ExitFound, []string{"app: ", "  do: "}},
		{"no such command", count, []string{"walk"}, cli.ExitUsage, []string{`unknown command "walk"`, "app --help"}},
		{"no such flag", count, []string{"run", "--fast"}, cli.ExitUsage, []string{"unknown flag: --fast", "app run --help"}},
		{"no such value", count, []string{"run", "--lanes", "many"}, cli.ExitUsage, []string{"--lanes"}},
		{"flags exclude each other", count, []string{"describe", "--json", "--mermaid"}, cli.ExitUsage, []string{"mermaid"}},
		{"superfluous", count, []string{"check", "twice"}, cli.ExitUsage, []string{"twice"}},
		{"half a login", count, append([]string{"check", "--sasl", "plain"}, nobody...), cli.ExitUsage, []string{"WEIR_SASL_PASSWORD"}},
		{"certificate without TLS", count, append([]string{"check", "--tls-ca", "x"}, nobody...), cli.ExitUsage, []string{"--tls"}},
		{"bad setting", count, append([]string{"run", "--lanes", "-1", "--state-dir", t.TempDir()}, nobody...), cli.ExitCould, []string{"Lanes is -1", "do: use 1 or more"}},
		{"two bad settings", count, append([]string{"run", "--lanes", "-1", "--cache-bytes", "7", "--state-dir", t.TempDir()}, nobody...), cli.ExitCould, []string{"Lanes is -1", "CacheBytes is 7"}},
		{"no such restart strategy", count, append([]string{"run", "--restart", "often", "--state-dir", t.TempDir()}, nobody...), cli.ExitUsage, []string{"--restart", `"often": known are [exponential-delay`}},
		{"bad restart strategy", count, append([]string{"check", "--restart", "fixed-delay,attempts=0"}, nobody...), cli.ExitCould, []string{"fixed-delay: attempts is 0", "do: use 1 or more"}},
		{"checkpoints into nowhere", count, append([]string{"check", "--checkpoint-interval", "10s"}, nobody...), cli.ExitCould, []string{"checkpoints have settings", "no Dir", "do: name a directory"}},
		{"no such compression", count, append([]string{"check", "--checkpoint-dir", t.TempDir(), "--checkpoint-compression", "zip"}, nobody...), cli.ExitCould, []string{`compression of checkpoints is "zip"`, "do: use zstd or none"}},
		{"none is kept", count, append([]string{"check", "--checkpoint-dir", t.TempDir(), "--retained-checkpoints", "-1"}, nobody...), cli.ExitCould, []string{"retained"}},
		{"no such failover", count, append([]string{"check", "--failover", "half"}, nobody...), cli.ExitUsage, []string{`--failover "half": known are region, full`}},
		{"rewind flags without a place", count, append([]string{"run", "--rewind-id", "x", "--state-dir", t.TempDir()}, nobody...), cli.ExitUsage, []string{"do nothing without --from"}},
		{"bad position", count, append([]string{"run", "--from", "x", "--position", "lines=middle", "--state-dir", t.TempDir()}, nobody...), cli.ExitUsage, []string{"--position lines=middle: known are earliest, latest"}},
		{"rewind to nowhere", count, append([]string{"rewind"}, nobody...), cli.ExitUsage, []string{"--from where to rewind to, or --cancel"}},
		{"rewind and cancel", count, append([]string{"rewind", "--from", "x", "--cancel"}, nobody...), cli.ExitUsage, []string{"or --cancel"}},
		{"rewind with nobody there", count, append([]string{"rewind", "--from", "x"}, nobody...), cli.ExitCould, []string{"no broker answered"}},
		{"reset to somewhere", count, append([]string{"reset", "--to", "first"}, nobody...), cli.ExitUsage, []string{`--to "first" is no position`, "earliest, latest, an offset"}},
		{"reset of a source to somewhere", count, append([]string{"reset", "--position", "lines=first"}, nobody...), cli.ExitUsage, []string{`--position lines: "first" is no position`}},
		{"reset with nobody there", count, append([]string{"reset", "--to", "earliest"}, nobody...), cli.ExitCould, []string{"no broker answered"}},
		{"nobody there", count, append([]string{"check"}, nobody...), cli.ExitCould, []string{"no broker answered", "do: check the addresses"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := execute(c.build, c.args)
			if code != c.code {
				t.Errorf("exit code %d, want %d; %s%s", code, c.code, stdout, stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("standard error lacks %q:\n%s", s, stderr)
				}
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	plan, err := count()
	if err != nil {
		t.Fatal(err)
	}
	if _, got, _ := execute(count, []string{"describe"}); got != plan.String() {
		t.Errorf("text: %s", got)
	}
	if _, got, _ := execute(count, []string{"describe", "--mermaid"}); got != plan.Mermaid() {
		t.Errorf("drawing: %s", got)
	}
	var d topology.Description
	_, got, _ := execute(count, []string{"describe", "--json"})
	if err := json.Unmarshal([]byte(got), &d); err != nil || d.Fingerprint != plan.Fingerprint() {
		t.Errorf("JSON: %v\n%s", err, got)
	}
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	s, err := embedded.Start(embedded.Options{Topics: map[string]int32{"lines": 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	args := []string{"check", "--brokers", s.Addrs()[0]}
	code, stdout, stderr := execute(count, args)
	if code != cli.ExitFound || !strings.Contains(stdout, "FAIL") || !strings.Contains(stdout, "sink topic counts does not exist") || !strings.Contains(stdout, "do: create it") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, _ = execute(count, append(args, "--json"))
	var r struct {
		OK     bool
		Checks []struct {
			Name   string
			OK     bool
			Errors []string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != cli.ExitFound || r.OK || len(r.Checks) < 3 {
		t.Fatalf("exit code %d, %v\n%s", code, err, stdout)
	}
}

// run processes until SIGTERM, which commits: the results of all lines are there, and the
// exit code is 0.
func TestRunUntilSIGTERM(t *testing.T) {
	s, err := embedded.Start(embedded.Options{Topics: map[string]int32{"lines": 2, "counts": 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Addrs()...), kgo.ConsumeTopics("counts"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const n = 50
	for range n {
		cl.Produce(ctx, &kgo.Record{Topic: "lines", Value: []byte("to be")}, nil)
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	code := make(chan int, 1)
	go func() {
		c, _, stderr := execute(count, []string{"run", "--state-dir", t.TempDir(), "--lanes", "1", "--commit-interval", "20ms", "--log-format", "json"},
			processor.Brokers(s.Addrs()...))
		if c != 0 {
			t.Log(stderr)
		}
		code <- c
	}()
	for seen := 0; seen < n; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatal(err)
		}
		seen += fs.NumRecords()
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != cli.ExitDone {
		t.Errorf("exit code %d after SIGTERM", c)
	}
}

func TestReport(t *testing.T) {
	one := &processor.Error{What: "topic a is missing", Where: "application x", Fix: "put it back", Err: processor.ErrTopic}
	two := &processor.Error{What: "topic b is missing", Fix: "create it"}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"plain", errors.New("it broke"), "app: it broke\n"},
		{"with fix", one, "app: application x: topic a is missing\n  do: put it back\n"},
		{"wrapped", fmt.Errorf("first start: %w", two), "app: first start: topic b is missing\n  do: create it\n"},
		{"joined", errors.Join(one, two), "app: application x: topic a is missing\n  do: put it back\napp: topic b is missing\n  do: create it\n"},
		{"joined and wrapped", fmt.Errorf("first start: %w", errors.Join(one, two)),
			"app: first start: application x: topic a is missing\n  do: put it back\napp: first start: topic b is missing\n  do: create it\n"},
		{"hinted", cli.Hint(errors.New("no such topic"), "create it by %s", "send --create"), "app: no such topic\n  do: create it by send --create\n"},
		{"two causes in one sentence", fmt.Errorf("%w after %w", errors.New("a"), errors.New("b")), "app: a after b\n"},
	} {
		var b bytes.Buffer
		cli.Report(&b, "app", c.err)
		if b.String() != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, b.String(), c.want)
		}
	}
}

func TestExecuteOfOwnCommands(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{nil, 0, ""},
		{&cli.Finding{}, cli.ExitFound, ""},
		{&cli.Finding{Err: errors.New("wrong")}, cli.ExitFound, "app: wrong\n"},
		{cli.Usagef("no"), cli.ExitUsage, "app: no\n  see: app --help\n"},
		{errors.New("broke"), cli.ExitCould, "app: broke\n"},
	} {
		var e out
		root := &cobra.Command{Use: "app", RunE: cli.Action(func(*cobra.Command, []string) error { return c.err })}
		root.SetArgs([]string{})
		root.SetErr(&e)
		if code := cli.Execute(root); code != c.code || e.String() != c.says {
			t.Errorf("%v: exit code %d, says %q", c.err, code, e.String())
		}
	}
}

// A worker whose strategy gives a task up ends, and says what a person needs to know.
func TestRunGivesUp(t *testing.T) {
	s, err := embedded.Start(embedded.Options{Topics: map[string]int32{"lines": 2, "counts": 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "lines", Value: []byte("not to be")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	refuse := func() (*topology.Plan, error) {
		b := topology.New("refuse")
		byLine := topology.KeyBy(topology.From(b, lines), "by-line", codec.String, func(_ []byte, line string) (string, error) {
			return "", fmt.Errorf("no use for %q", line)
		})
		byLine.Count("counts").To(counts)
		return b.Build()
	}
	code, _, stderr := execute(refuse, []string{"run", "--state-dir", t.TempDir(), "--lanes", "1", "--restart", "none", "--log-level", "error", "--log-format", "json"},
		processor.Brokers(s.Addrs()...))
	for _, want := range []string{`given up at failure 1 by none: `, `no use for "not to be"`, "\n  do: mend the cause and start again: the task goes on where it stopped, and nothing is lost\n", `"message":"task given up, the worker ends"`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error lacks %q", want)
		}
	}
	if code != cli.ExitCould || t.Failed() {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}
