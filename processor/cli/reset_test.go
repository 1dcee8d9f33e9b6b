package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/embedded"
)

// reset shows first what it would do, does it when told to, and says when it is done already.
func TestResetShowsFirst(t *testing.T) {
	s, err := embedded.Start(embedded.Options{Topics: map[string]int32{"lines": 2, "counts": 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := execute(count, append([]string{"reset", "--brokers", s.Addrs()[0]}, args...))
		if code != want {
			t.Fatalf("reset %v: exit code %d, want %d\n%s%s", args, code, want, stdout, stderr)
		}
		return stdout, stderr
	}
	if _, stderr := run(cli.ExitFound); !strings.Contains(stderr, "never ran on these brokers") {
		t.Errorf("%s", stderr)
	}

	plan, err := count()
	if err != nil {
		t.Fatal(err)
	}
	cl, err := admin.New(plan.Application(), kgo.SeedBrokers(s.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	worker, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(worker, plan, processor.Brokers(s.Addrs()...), processor.StateDir(t.TempDir()), processor.Lanes(1), processor.Logger(zerolog.Nop()))
	}()
	for {
		if _, err := cl.Birth(ctx); err == nil {
			break
		} else if !errors.Is(err, admin.ErrNotBorn) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	stdout, _ := run(cli.ExitDone, "--to", "earliest")
	for _, want := range []string{"would begin anew on timeline 2, with empty state; nothing was changed", "lines/1  0     0   [0, 0]", "state that is given up: ", "do it with --execute"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%s\nwant %q", stdout, want)
		}
	}
	if b, err := cl.Birth(ctx); err != nil || b.Timeline != 1 {
		t.Errorf("after a look: %+v, %v", b, err)
	}
	if stdout, _ = run(cli.ExitDone, "--to", "earliest", "--execute", "--stop-workers", "--reset-id", "once"); !strings.Contains(stdout, "begins anew on timeline 2") {
		t.Errorf("%s", stdout)
	}
	stdout, _ = run(cli.ExitDone, "--execute", "--reset-id", "once", "--json")
	var r processor.ResetReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || !r.Done || r.Timeline != 2 || r.ID != "once" {
		t.Errorf("%v, %s", err, stdout)
	}
	if b, err := cl.Birth(ctx); err != nil || b.Timeline != 2 {
		t.Errorf("after the reset: %+v, %v", b, err)
	}
}
