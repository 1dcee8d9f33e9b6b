package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

// await reads a topic until it has n committed records.
func await(t *testing.T, ctx context.Context, broker, topic string, n int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for seen := 0; seen < n; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d records in %s: %v", seen, n, topic, err)
		}
		seen += fs.NumRecords()
	}
}

// An application that runs, seen from outside; then the same one without a worker.
func TestStatusDescribeDoctor(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"in": 2, "out": 2})
	if code, stdout, _ := weir(ctx, "", "doctor", "-b", b); code != cli.ExitDone || !strings.Contains(stdout, "transaction.version") || strings.Contains(stdout, "FAIL") {
		t.Fatalf("doctor: exit code %d\n%s", code, stdout)
	}
	for _, command := range []string{"status", "describe"} {
		if code, _, stderr := weir(ctx, "", command, "bench", "-b", b); code != cli.ExitCould || !strings.Contains(stderr, "never started") || !strings.Contains(stderr, "  do: ") {
			t.Errorf("%s of nothing: exit code %d\n%s", command, code, stderr)
		}
	}
	if code, stdout, _ := weir(ctx, "", "doctor", "-b", b, "--application", "bench"); code != cli.ExitFound || !strings.Contains(stdout, "never started") {
		t.Errorf("doctor of nothing: exit code %d\n%s", code, stdout)
	}

	const n = 1000
	l := testLoad(n)
	conn := cli.Connection{Brokers: []string{b}}
	if err := l.run(ctx, &conn, "in"); err != nil {
		t.Fatal(err)
	}
	plan, err := workloadPlan("rekey", "bench", "in", "out", minRowBytes)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(running, plan, processor.Brokers(b), processor.StateDir(t.TempDir()), processor.InstanceID("w1"), processor.Lanes(2),
			processor.CommitInterval(20*time.Millisecond), processor.LeaveOnStop())
	}()
	await(t, ctx, b, "out", n)

	var code int
	var stdout string
	for code = -1; code != cli.ExitDone; { // the second lane may join late
		if code, stdout, _ = weir(ctx, "", "status", "bench", "-b", b); ctx.Err() != nil {
			t.Fatalf("status: exit code %d\n%s", code, stdout)
		}
	}
	for _, s := range []string{"bench, timeline 1", "group bench.1 stable", "w1/0", "w1/1", "0-0", "1-1", "in/0", "in/1"} {
		if !strings.Contains(stdout, s) {
			t.Errorf("status lacks %q:\n%s", s, stdout)
		}
	}
	var s admin.Status
	_, stdout, _ = weir(ctx, "", "status", "bench", "-b", b, "--json")
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	if len(s.Tasks) != 4 || len(s.Lanes) != 2 || len(s.Problems) != 0 || s.Watermark == nil || !strings.HasPrefix(s.HeldBy, "in/") {
		t.Errorf("status: %s", stdout)
	}
	for _, task := range s.Tasks {
		stateful := strings.HasPrefix(task.Task, "1-")
		if task.Owner == "" || task.Committed == nil || task.Watermark == nil || len(task.Inputs) != 1 || (len(task.Stores) == 1) != stateful {
			t.Errorf("task %+v", task)
		}
		if stateful && (task.Stores[0].Rebuild == 0 || task.Stores[0].Topic != "bench.1.groups.changelog") {
			t.Errorf("store of task %s: %+v", task.Task, task.Stores)
		}
	}

	code, stdout, _ = weir(ctx, "", "describe", "bench", "-b", b)
	for _, s := range []string{"application bench", "timeline 1", plan.Fingerprint(), "sub-topology 1: 2 tasks", "reads   by-group (repartition topic)", "keeps   groups: keyed (bytes, int64)"} {
		if code != 0 || !strings.Contains(stdout, s) {
			t.Errorf("describe: exit code %d, lacks %q:\n%s", code, s, stdout)
		}
	}
	var birth admin.Birth
	if _, stdout, _ = weir(ctx, "", "describe", "bench", "-b", b, "--json"); json.Unmarshal([]byte(stdout), &birth) != nil || birth.Plan.Fingerprint != plan.Fingerprint() || birth.Partitions["in"] != 2 {
		t.Errorf("describe --json: %s", stdout)
	}
	if code, stdout, stderr := weir(ctx, "", "doctor", "-b", b, "--application", "bench"); code != cli.ExitDone {
		t.Errorf("doctor: exit code %d\n%s%s", code, stdout, stderr)
	}

	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := weir(ctx, "", "status", "bench", "-b", b); code != cli.ExitFound || !strings.Contains(stdout, "PROBLEM  no worker runs") || !strings.Contains(stdout, "nobody") {
		t.Errorf("status without a worker: exit code %d\n%s", code, stdout)
	}
}

// Timeouts are compared with what the brokers allow.
func TestDoctorComparesTimeouts(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, nil)
	code, stdout, _ := weir(ctx, "", "doctor", "-b", b, "--transaction-timeout", "24h", "--json")
	var r struct {
		OK     bool
		Checks []struct {
			Name   string
			OK     bool
			Errors []string
			Fixes  []string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	if code != cli.ExitFound || r.OK {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	last := r.Checks[len(r.Checks)-1]
	if last.Name != "timeouts" || last.OK || !strings.Contains(last.Errors[0], "transaction.max.timeout.ms") || last.Fixes[0] == "" {
		t.Errorf("%+v", last)
	}
	if code, _, _ := weir(ctx, "", "doctor", "-b", "127.0.0.1:1"); code != cli.ExitCould {
		t.Errorf("doctor of nobody: exit code %d", code)
	}
	if code, _, stderr := weir(ctx, "", "doctor", "-b", b, "--session-timeout", "1s"); code != cli.ExitCould || !strings.Contains(stderr, "three HeartbeatIntervals") {
		t.Errorf("timeouts that contradict each other: exit code %d\n%s", code, stderr)
	}
}
