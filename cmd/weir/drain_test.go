package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

// A drain by the command: it asks first, and what comes of it is final.
func TestDrainByCommand(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"in": 2, "out": 2})
	const n = 500
	l := testLoad(n)
	conn := cli.Connection{Brokers: []string{b}}
	if err := l.run(ctx, &conn, "in"); err != nil {
		t.Fatal(err)
	}
	done := startRekey(t, ctx, b)
	await(t, ctx, b, "out", n)
	dir := filepath.Join(t.TempDir(), "last")
	args := []string{"stop", "bench", "-b", b, "--drain", "--path", dir, "--id", "last", "--json"}
	for _, refused := range [][]string{args, {"stop", "bench", "-b", b, "--yes"}} {
		if code, stdout, stderr := weir(ctx, "bench\n", refused...); code != cli.ExitUsage || !strings.Contains(stderr, "--yes") {
			t.Fatalf("%v: exit code %d\n%s%s", refused, code, stdout, stderr)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("it has stopped, and nobody has said yes: %v", err)
	default:
	}
	code, stdout, stderr := weir(ctx, "", append(args, "--yes")...)
	var s admin.Stopped
	if err := json.Unmarshal([]byte(stdout), &s); code != cli.ExitDone || err != nil || s.Savepoint == nil || !s.Savepoint.Drain || s.Savepoint.Path != dir || s.Lanes != 1 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	if err := <-done; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	for _, args := range [][]string{{"savepoint", "inspect", dir}, {"status", "bench", "-b", b}} { // where time is at its end
		if _, stdout, stderr := weir(ctx, "", args...); !strings.Contains(stdout, "the end") {
			t.Errorf("%v:\n%s%s", args, stdout, stderr)
		}
		if _, stdout, stderr := weir(ctx, "", append(args, "--json")...); !strings.Contains(stdout, `"watermark": "end"`) {
			t.Errorf("%v:\n%s%s", args, stdout, stderr)
		}
	}
	if _, stdout, stderr := weir(ctx, "", "status", "bench", "-b", b); !strings.Contains(stdout, "savepoint last lies in "+dir+"\n") {
		t.Errorf("the status does not say that it is drained:\n%s%s", stdout, stderr)
	}
	if err := <-startRekey(t, ctx, b); !errors.Is(err, processor.ErrDrained) || !strings.Contains(err.Error(), "--allow-drained") {
		t.Errorf("a start behind the drain: %v", err)
	}
}
