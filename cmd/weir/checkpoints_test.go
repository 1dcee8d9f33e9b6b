package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

// The newest checkpoint is shown, and why one was given up: here the place is no directory. The
// application goes on, and takes the next one when it can.
func TestStatusOfCheckpoints(t *testing.T) {
	ctx := testContext(t)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := c.ListenAddrs()[0]
	plan, err := workloadPlan("count", "bench", "in", "out", minRowBytes)
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(t.TempDir(), "place")
	if err := os.WriteFile(place, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	dir := t.TempDir()
	go func() {
		done <- processor.Run(running, plan, processor.Brokers(b), processor.StateDir(dir), processor.InstanceID("w"), processor.Lanes(1), processor.CommitInterval(20*time.Millisecond),
			processor.CheckpointInto(processor.Checkpoints{Dir: filepath.Join(place, "checkpoints"), Interval: 100 * time.Millisecond}))
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	until := func(ok func(admin.Checkpoints) bool) admin.Checkpoints {
		t.Helper()
		for {
			_, stdout, _ := weir(ctx, "", "status", "bench", "-b", b, "--json")
			var s admin.Status
			if err := json.Unmarshal([]byte(stdout), &s); err == nil && ok(s.Checkpoints) {
				return s.Checkpoints
			}
			if ctx.Err() != nil {
				t.Fatalf("not reached:\n%s", stdout)
			}
		}
	}
	given := until(func(c admin.Checkpoints) bool { return c.Declined != nil && len(c.Kept) == 0 })
	if d := given.Declined; !strings.Contains(d.Why, place) || d.ID == 0 || d.Kind != "checkpoint" || time.Since(*d.Ended) > time.Minute || given.Failures == 0 {
		t.Errorf("given up: %+v", d)
	}
	_, stdout, _ := weir(ctx, "", "status", "bench", "-b", b)
	if !regexp.MustCompile(`(?m)^\d+ checkpoints in a row have failed$`).MatchString(stdout) {
		t.Errorf("status lacks how many failed:\n%s", stdout)
	}
	if !regexp.MustCompile(`(?m)^checkpoint \d+ was given up .* ago: .*not a directory`).MatchString(stdout) {
		t.Errorf("status lacks why:\n%s", stdout)
	}
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	kept := until(func(c admin.Checkpoints) bool { return len(c.Kept) == 3 && c.Failures == 0 })
	for i, k := range kept.Kept {
		if k.ID <= given.Declined.ID || k.Ended == nil || k.Took() < 0 || k.Bytes < k.Added || k.State != admin.CheckpointRetained || k.Manifest == "" || i > 0 && k.ID <= kept.Kept[i-1].ID {
			t.Errorf("kept: %+v", kept.Kept)
		}
	}
	_, stdout, _ = weir(ctx, "", "status", "bench", "-b", b)
	if !regexp.MustCompile(`(?m)^checkpoint \d+ was completed .* ago, in .*, (full|increment), .* bytes; \d kept$`).MatchString(stdout) {
		t.Errorf("status lacks the newest one:\n%s", stdout)
	}
}

// A checkpoint by the command: asked for once, whoever asks again; among those that are kept;
// declined with the reason; and no id is of a savepoint, too.
func TestCheckpoints(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"in": 2, "out": 2})
	const n = 300
	l := testLoad(n)
	conn := cli.Connection{Brokers: []string{b}}
	if err := l.run(ctx, &conn, "in"); err != nil {
		t.Fatal(err)
	}
	run := func(want int, says string, args ...string) string {
		t.Helper()
		code, stdout, stderr := weir(ctx, "", append(args, "-b", b)...)
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Fatalf("weir %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, says, stdout, stderr)
		}
		return stdout
	}
	run(cli.ExitCould, "never started", "checkpoint", "trigger", "bench")
	run(cli.ExitCould, "never started", "checkpoint", "list", "bench")
	dir := t.TempDir()
	done := startRekey(t, ctx, b, processor.CheckpointInto(processor.Checkpoints{Dir: dir, Interval: -1}))
	await(t, ctx, b, "out", n)

	run(cli.ExitDone, "no checkpoint was taken", "checkpoint", "list", "bench")
	run(cli.ExitCould, "use a-z, 0-9 and -", "checkpoint", "trigger", "bench", "--id", "A B")
	var first, second admin.Checkpoint
	out := run(cli.ExitDone, "", "checkpoint", "trigger", "bench", "--id", "c1", "--json")
	if err := json.Unmarshal([]byte(out), &first); err != nil || first.State != admin.CheckpointRetained || !first.Full || first.Bytes == 0 || first.Added != first.Bytes || first.Request != "c1" {
		t.Fatalf("%v, %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "bench", filepath.FromSlash(first.Manifest))); err != nil {
		t.Error(err)
	}
	run(cli.ExitDone, first.Manifest, "checkpoint", "trigger", "bench", "--id", "c1") // no second one
	run(cli.ExitCould, "choose another id", "checkpoint", "trigger", "bench", "--id", "c1", "--full")
	out = run(cli.ExitDone, "", "checkpoint", "trigger", "bench", "--id", "c2", "--json")
	if err := json.Unmarshal([]byte(out), &second); err != nil || second.Full || second.Added >= second.Bytes || second.ID != first.ID+1 {
		t.Fatalf("%v, %s", err, out)
	}
	run(cli.ExitDone, "full, ", "checkpoint", "trigger", "bench", "--full")
	run(cli.ExitDone, "checkpoint later is ", "checkpoint", "trigger", "bench", "--id", "later", "--detached")
	run(cli.ExitDone, "checkpoint 4, for later, ", "checkpoint", "trigger", "bench", "--id", "later")

	run(cli.ExitCould, "id c1 was used before, for a checkpoint", "savepoint", "trigger", "bench", "--id", "c1", "--path", filepath.Join(dir, "s"))
	run(cli.ExitDone, "savepoint s1, cut 5", "savepoint", "trigger", "bench", "--id", "s1", "--path", filepath.Join(dir, "s1"))
	run(cli.ExitCould, "id s1 was used before, for a savepoint", "checkpoint", "trigger", "bench", "--id", "s1")

	if err := os.RemoveAll(filepath.Join(dir, "bench")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bench"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	run(cli.ExitCould, "upload-failed", "checkpoint", "trigger", "bench", "--id", "lost", "--full")
	if code, stdout, _ := weir(ctx, "", "checkpoint", "trigger", "bench", "--id", "lost", "--json", "-b", b); code != cli.ExitCould || !strings.Contains(stdout, `"state": "declined"`) {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	list := run(cli.ExitDone, "lost by ", "checkpoint", "list", "bench")
	for _, want := range []string{`(?m)^ *1 +checkpoint +(retained|dropped) .* full, [\d,]+ bytes +c1 by `, `(?m)^ *2 .* increment, [\d,]+ of [\d,]+ bytes +c2 by `, `(?m)^ *5 +savepoint +completed .*/s1$`, `(?m)^ *6 +checkpoint +declined .* upload-failed: `} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("the list lacks %s:\n%s", want, list)
		}
	}
	var all []admin.Checkpoint
	if out = run(cli.ExitDone, "", "checkpoint", "list", "bench", "--json"); json.Unmarshal([]byte(out), &all) != nil || len(all) != 6 {
		t.Errorf("%s", out)
	}
	run(cli.ExitDone, "bench has stopped", "stop", "bench")
	if err := <-done; err != nil {
		t.Error(err)
	}
	run(cli.ExitCould, "start it first", "checkpoint", "trigger", "bench")
}
