package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/cli"
)

func TestDemoRun(t *testing.T) {
	cmd := exec.CommandContext(testContext(t), weirBinary(t), "demo", "--records", "20000", "--customers", "500", "--seed", "3", "--json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), errs.String())
	}
	var got map[string]float64
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if len(got) != 7 || got["records"] != 20_000 || got["lost"] != 0 || got["duplicated"] != 0 || got["kills"] != 1 || got["restores"] < 1 || got["seconds"] <= 0 || got["records_per_second"] <= 0 {
		t.Errorf("%s", out.String())
	}
}

// The story is for people: it has to say what the issue of exactly-once is about, and be
// plain where nobody can see colours.
func TestDemoTellsItsStory(t *testing.T) {
	cmd := exec.CommandContext(testContext(t), weirBinary(t), "demo", "--records", "20000", "--customers", "500")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	story := string(out)
	for _, part := range []string{
		"not for production", "orders committed", "KILLED worker two (SIGKILL", "uncommitted records in an open transaction", "its transaction is fenced and aborted", "worker two is back at task",
		"goes on at orders/", "\nexactly once: 20,000 in, 20,000 counted, 0 lost, 0 duplicated\n",
	} {
		if !strings.Contains(story, part) {
			t.Errorf("no %q in\n%s", part, story)
		}
	}
	if strings.ContainsAny(story, "\033\r") {
		t.Errorf("no terminal, and control characters in\n%q", story)
	}
}

func TestDemoFlags(t *testing.T) {
	for args, want := range map[string]string{
		"demo --records 0":         "use 1 or more",
		"demo --customers 1000001": "at most 1,000,000 customers",
		"demo --seed x":            "invalid argument",
		"demo here":                "unknown command",
	} {
		code, out, errs := runWeir(t, strings.Fields(args)...)
		if code != cli.ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("weir %s: exit code %d, output %q, errors %q; want 2 and %q", args, code, out, errs, want)
		}
	}
	code, _, errs := runWeir(t, "demo", "--brokers", "127.0.0.1:1")
	if code != cli.ExitCould || !strings.Contains(errs, "no broker answered") {
		t.Errorf("no brokers: exit code %d, %q", code, errs)
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

// Each workload on a broker in the process: filled, worked, verified; and what verify says
// when the output is another's.
func TestBenchRun(t *testing.T) {
	const idle = "5s" // longer than a busy machine lets a worker wait
	broker := startBroker(t, nil)
	bench := func(wantCode int, args ...string) (got map[string]any) {
		t.Helper()
		code, out, errs := weir(testContext(t), "", append([]string{"bench"}, append(args, "--brokers", broker)...)...)
		if code != wantCode {
			t.Fatalf("%v: exit code %d, want %d\n%s\n%s", args, code, wantCode, out, errs)
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || strings.Count(out, "\n") != 1 {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return got
	}
	bench(cli.ExitDone, "load", "--topic", "in", "--records", "20000", "--keys", "300", "--partitions", "2")
	for _, w := range workloads {
		got := bench(cli.ExitDone, "worker", "--workload", w, "--app", "bench-"+w, "--in", "in", "--out", "out-"+w, "--state-dir", t.TempDir(), "--instance", "w", "--until-idle", idle)
		if got["records"] != 20_000.0 || got["aborts"] != 0.0 || got["commits"].(float64) < 1 || got["cpu_seconds"].(float64) <= 0 || got["max_rss_bytes"].(float64) < 1<<20 || len(got) != 13 ||
			got["ready_seconds"].(float64) <= 0 || got["restored_seconds"].(float64) <= 0 || got["first_commit_seconds"].(float64) <= got["ready_seconds"].(float64) {
			t.Errorf("%s: %v", w, got)
		}
		ends := got["epochs"].(map[string]any)["plain"].(map[string]any)
		if ends["n"] != got["commits"] || ends["max"].(float64) <= 0 || ends["p50"].(float64) > ends["max"].(float64) {
			t.Errorf("%s: ends of epochs %v", w, ends)
		}
		if got := bench(cli.ExitDone, "verify", "--workload", w, "--in", "in", "--out", "out-"+w); got["seen"] != 20_000.0 || got["records"] != 20_000.0 {
			t.Errorf("%s: %v", w, got)
		}
	}
	if got := bench(cli.ExitFound, "verify", "--workload", "window", "--in", "in", "--out", "out-count"); got["lost"] != 20_000.0 || got["wrong"] != 20_000.0 {
		t.Errorf("another's output: %v", got)
	}
	// The same member once more, without its state: what the run before left in the changelog is read.
	code, out, errs := weir(testContext(t), "", "bench", "worker", "--app", "bench-count", "--in", "in", "--out", "out-count", "--state-dir", t.TempDir(),
		"--instance", "w", "--tell-restores", "--until-idle", idle, "--brokers", broker)
	var restored, lines int64
	for line := range strings.Lines(out) {
		var r benchRestore
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Ended < r.Began {
			t.Errorf("%q: %v", line, err)
		}
		restored, lines = restored+r.Restored, lines+1
	}
	if code != cli.ExitDone || lines < 4 || restored < 300 {
		t.Errorf("restored: exit code %d, %d records in %d lines, want 300 or more in 4 or more: of two tasks, the control task, those that move when the second lane joins, and the end\n%s\n%s", code, restored, lines, out, errs)
	}
	code, _, errs = weir(testContext(t), "", "bench", "worker", "--in", "nowhere", "--brokers", broker, "--state-dir", t.TempDir())
	if code != cli.ExitCould || !strings.Contains(errs, "fill it with: weir bench load --topic nowhere") {
		t.Errorf("no input: exit code %d, %q", code, errs)
	}
}

// The demo is only worth its verdict if it can also say no: here somebody writes a result
// once more while the workers run.
func TestDemoFindsAPlantedDuplicate(t *testing.T) {
	ctx := testContext(t)
	broker := startBroker(t, nil)
	planted := make(chan error, 1)
	go func() { planted <- plantDuplicate(ctx, broker) }()
	code, out, errs := weirProcess(t, ctx, "demo", "--brokers", broker, "--records", "20000", "--customers", "500", "--json")
	if err := <-planted; err != nil {
		t.Fatal(err)
	}
	var got struct{ Lost, Duplicated int64 }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	if code != cli.ExitFound || got.Lost != 0 || got.Duplicated != 1 || !strings.Contains(errs, "not exactly once: 0 lost, 1 duplicated; first: topic weir-demo-") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// plantDuplicate waits for the first result of a demo and writes it again.
func plantDuplicate(ctx context.Context, broker string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeRegex(), kgo.ConsumeTopics("^weir-demo-.*-revenue$"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(50*time.Millisecond), kgo.MetadataMaxAge(100*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			return fmt.Errorf("wait for a result: %w", err)
		}
		for _, r := range fs.Records() {
			return cl.ProduceSync(ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}).FirstErr()
		}
	}
}
