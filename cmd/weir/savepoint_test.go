package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

// startRekey runs a worker of an application with state and a repartition topic; its end is in the channel.
func startRekey(t *testing.T, ctx context.Context, broker string, more ...processor.Option) <-chan error {
	t.Helper()
	plan, err := workloadPlan("rekey", "bench", "in", "out", minRowBytes)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(ctx, plan, append([]processor.Option{
			processor.Brokers(broker), processor.StateDir(t.TempDir()), processor.InstanceID("w1"), processor.Lanes(1),
			processor.CommitInterval(20 * time.Millisecond),
		}, more...)...)
	}()
	return done
}

// A savepoint from asking to disposal, and a stop, by the command.
func TestSavepoints(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"in": 2, "out": 2})
	const n = 500
	l := testLoad(n)
	conn := cli.Connection{Brokers: []string{b}}
	if err := l.run(ctx, &conn, "in"); err != nil {
		t.Fatal(err)
	}
	run := func(want int, says string, args ...string) string {
		t.Helper()
		code, stdout, stderr := weir(ctx, "", args...)
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Fatalf("weir %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, says, stdout, stderr)
		}
		return stdout
	}
	run(cli.ExitCould, "never started", "savepoint", "trigger", "bench", "-b", b)
	done := startRekey(t, ctx, b)
	await(t, ctx, b, "out", n)

	run(cli.ExitDone, "nobody has asked", "savepoint", "list", "bench", "-b", b)
	run(cli.ExitUsage, "native, portable", "savepoint", "trigger", "bench", "-b", b, "--format", "xml")
	run(cli.ExitCould, "relative", "savepoint", "trigger", "bench", "-b", b, "--path", "here")
	run(cli.ExitCould, "no place for savepoints", "savepoint", "trigger", "bench", "-b", b, "--id", "lost")
	dir := filepath.Join(t.TempDir(), "s1")
	var s admin.Savepoint
	out := run(cli.ExitDone, "", "savepoint", "trigger", "bench", "-b", b, "--path", dir, "--id", "s1", "--format", "portable", "--json")
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Path != dir || s.State != "completed" || s.Format != "portable" {
		t.Fatalf("%v, %s", err, out)
	}
	run(cli.ExitDone, dir, "savepoint", "trigger", "bench", "-b", b, "--id", "s1")
	run(cli.ExitCould, "choose another id", "savepoint", "trigger", "bench", "-b", b, "--id", "s1", "--path", dir+"2")
	run(cli.ExitCould, "another savepoint lies there", "savepoint", "trigger", "bench", "-b", b, "--path", dir)
	run(cli.ExitDone, "savepoint later is ", "savepoint", "trigger", "bench", "-b", b, "--path", dir+"3", "--id", "later", "--detached")
	run(cli.ExitDone, dir+"3", "savepoint", "trigger", "bench", "-b", b, "--id", "later")
	list := run(cli.ExitDone, "upload-failed", "savepoint", "list", "bench", "-b", b)
	if !strings.Contains(list, dir) || strings.Count(list, "completed") != 2 || strings.Count(list, "declined") != 2 {
		t.Errorf("%s", list)
	}

	for _, want := range []string{"savepoint of bench, timeline 1", "asked for as s1", "by-group/0", "in/1", "keyed"} {
		run(cli.ExitDone, want, "savepoint", "inspect", dir, "--verify")
	}
	var c admin.SavepointContent
	if out = run(cli.ExitDone, "", "savepoint", "inspect", dir, "--json"); json.Unmarshal([]byte(out), &c) != nil || c.Rows == 0 || len(c.Tasks) != 4 || c.Plan.Application != "bench" {
		t.Errorf("%s", out)
	}
	objects, err := filepath.Glob(filepath.Join(dir, "objects", "*"))
	if err != nil || len(objects) == 0 {
		t.Fatalf("%v, %v", objects, err)
	}
	if err := os.WriteFile(objects[0], []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(cli.ExitFound, "the manifest says", "savepoint", "inspect", dir)
	if err := os.Remove(objects[0]); err != nil {
		t.Fatal(err)
	}
	run(cli.ExitFound, "  do: ", "savepoint", "inspect", dir, "--verify")
	run(cli.ExitCould, "there is no manifest", "savepoint", "inspect", t.TempDir())
	run(cli.ExitCould, "there is no manifest", "savepoint", "dispose", filepath.Dir(dir))
	run(cli.ExitDone, "deleted savepoint s1 of bench", "savepoint", "dispose", dir) // also one that is not whole
	run(cli.ExitCould, "  do: ", "savepoint", "dispose", dir)

	run(cli.ExitUsage, "--savepoint", "stop", "bench", "-b", b, "--path", dir)
	run(cli.ExitCould, "another savepoint lies there", "stop", "bench", "-b", b, "--savepoint", "--path", dir+"3")
	select {
	case err := <-done:
		t.Fatalf("it has stopped without a savepoint: %v", err)
	default:
	}
	if out := run(cli.ExitDone, "bench has stopped: 1 lanes", "stop", "bench", "-b", b, "--savepoint", "--path", dir); !strings.Contains(out, dir) {
		t.Errorf("%s", out)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	run(cli.ExitDone, "no worker of bench runs", "stop", "bench", "-b", b)
	run(cli.ExitCould, "start it first", "savepoint", "trigger", "bench", "-b", b)

	done = startRekey(t, ctx, b) // nothing has to be taken back
	for code, stdout := -1, ""; code != cli.ExitDone; {
		if code, stdout, _ = weir(ctx, "", "status", "bench", "-b", b); ctx.Err() != nil {
			t.Fatalf("exit code %d\n%s", code, stdout)
		}
	}
	run(cli.ExitDone, "bench has stopped: 1 lanes", "stop", "bench", "-b", b)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A checkpoint is the application's: it may be looked at, and is not deleted.
func TestCheckpointsAreNotDisposedOf(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"in": 2, "out": 2})
	plan, err := workloadPlan("count", "bench", "in", "out", minRowBytes)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(running, plan, processor.Brokers(b), processor.StateDir(t.TempDir()), processor.Lanes(1),
			processor.CheckpointInto(processor.Checkpoints{Dir: dir, Interval: 50 * time.Millisecond}))
	}()
	var found []string
	for len(found) == 0 {
		if found, err = filepath.Glob(filepath.Join(dir, "bench", "manifests", "*.json")); err != nil || ctx.Err() != nil {
			t.Fatalf("no checkpoint: %v, %v", err, ctx.Err())
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	found, err = filepath.Glob(filepath.Join(dir, "bench", "manifests", "*.json"))
	if err != nil || len(found) == 0 {
		t.Fatalf("%v, %v", found, err)
	}
	if code, stdout, stderr := weir(ctx, "", "savepoint", "inspect", found[0]); code != cli.ExitDone || !strings.Contains(stdout, "checkpoint of bench") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, _, stderr := weir(ctx, "", "savepoint", "dispose", found[0])
	if code != cli.ExitCould || !strings.Contains(stderr, "nothing was deleted") || !strings.Contains(stderr, "  do: leave it") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if _, err := os.Stat(found[0]); err != nil {
		t.Error(err)
	}
}
