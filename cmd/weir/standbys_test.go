package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// Who follows the state of a task is said.
func TestStatusOfStandbys(t *testing.T) {
	ctx := testContext(t)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in", "out"), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := c.ListenAddrs()[0]
	plan, err := workloadPlan("count", "bench", "in", "out", minRowBytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"w1", "w2"} {
		running, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		dir := t.TempDir()
		go func() {
			done <- processor.Run(running, plan, processor.Brokers(b), processor.StateDir(dir), processor.InstanceID(name), processor.Lanes(1),
				processor.CommitInterval(20*time.Millisecond), processor.Standbys(1))
		}()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
	}
	// Who came second gets a copy of what is to be its own first.
	other := map[string]string{"w1/0": "w2", "w2/0": "w1"}
	for {
		_, stdout, _ := weir(ctx, "", "status", "bench", "-b", b, "--json")
		var s admin.Status
		right := 0
		if err := json.Unmarshal([]byte(stdout), &s); err == nil {
			for _, task := range s.Tasks {
				if len(task.Stores) > 0 && task.Owner != "" && task.MovesTo == "" && slices.Equal(task.Standbys, []string{other[task.Owner]}) {
					right++
				}
			}
		}
		if right == 2 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("no standbys:\n%s", stdout)
		}
	}
	_, stdout, _ := weir(ctx, "", "status", "bench", "-b", b)
	for _, want := range []string{"\nw1 follows the state of 0-", "\nw2 follows the state of 0-"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("status lacks %q:\n%s", want, stdout)
		}
	}
}
