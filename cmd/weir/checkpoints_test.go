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
	if d := given.Declined; !strings.Contains(d.Why, place) || d.ID == 0 || d.Kind != "checkpoint" || time.Since(d.At) > time.Minute {
		t.Errorf("given up: %+v", d)
	}
	_, stdout, _ := weir(ctx, "", "status", "bench", "-b", b)
	if !regexp.MustCompile(`(?m)^checkpoint \d+ was given up .* ago: .*not a directory`).MatchString(stdout) {
		t.Errorf("status lacks why:\n%s", stdout)
	}
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	kept := until(func(c admin.Checkpoints) bool { return len(c.Kept) == 3 && c.Declined == nil })
	for i, k := range kept.Kept {
		if k.ID <= given.Declined.ID || k.Completed == nil || k.Completed.Before(k.Triggered) || k.Manifest == "" || i > 0 && k.ID <= kept.Kept[i-1].ID {
			t.Errorf("kept: %+v", kept.Kept)
		}
	}
	_, stdout, _ = weir(ctx, "", "status", "bench", "-b", b)
	if !regexp.MustCompile(`(?m)^checkpoint \d+ was completed .* ago, in .*; \d kept$`).MatchString(stdout) {
		t.Errorf("status lacks the newest one:\n%s", stdout)
	}
}
