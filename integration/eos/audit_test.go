package eos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-stream/weir/integration/tally"
	"github.com/weir-stream/weir/offsets"
)

// audit judges what the application has left behind, when all workers have stopped. clean says that those which had tasks
// stopped cleanly. copies are savepoints that were copied to somewhere else.
func (r *run) audit(clean bool, copies ...string) {
	r.t.Helper()
	var dirs []string
	list, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range list {
		dirs = append(dirs, filepath.Join(r.dir, d.Name()))
	}
	facts, err := r.tally.Collect(r.ctx, r.cluster.Addrs(), dirs...)
	if err == nil {
		err = r.tally.CollectCheckpoints(r.ctx, &facts, r.cuts)
	}
	for _, dir := range copies {
		err = errors.Join(err, r.tally.CollectSavepoint(r.ctx, &facts, dir))
	}
	if err != nil {
		r.t.Errorf("collect facts: %v", err)
		return
	}
	if clean {
		stopped := r.stopped()
		facts.Clean = func(who offsets.Task) bool { return stopped[who.String()] }
	}
	r.t.Logf("%d checkpoints are kept", len(facts.Checkpoints))
	if err := r.tally.Audit(facts).Err(); err != nil {
		r.t.Errorf("audit: %v", err)
	}
}

// stopped are the tasks of which the last thing that any worker has said is that it closed them because it stops.
func (r *run) stopped() map[string]bool {
	type line struct {
		Time                               time.Time
		Application, Message, Task, Reason string
	}
	var all []line
	for _, p := range r.procs {
		for _, text := range p.since(0) {
			var l line
			if json.Unmarshal([]byte(text), &l) == nil && l.Application == r.tally.App && (l.Message == "task restored" || l.Message == "task closed") {
				all = append(all, l)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b line) int { return a.Time.Compare(b.Time) })
	out := map[string]bool{}
	for _, l := range all {
		out[l.Task] = l.Reason == "stopped"
	}
	return out
}

func (r *run) names() offsets.Names {
	return offsets.Names{Application: r.tally.App, Timeline: max(r.tally.Timeline, 1)}
}

// stall is how long it takes from now until readers of committed outputs are past what is
// written now.
func (r *run) stall() time.Duration {
	r.t.Helper()
	began := time.Now()
	topics := []string{r.tally.Seen(), r.tally.GroupsT(), r.tally.Windows()}
	ends, err := r.cluster.Admin().ListEndOffsets(r.ctx, topics...)
	if err != nil {
		r.t.Fatal(err)
	}
	for {
		stable, err := r.cluster.Admin().ListCommittedOffsets(r.ctx, topics...)
		if err != nil {
			r.t.Fatal(err)
		}
		past := true
		ends.Each(func(o kadm.ListedOffset) {
			s, _ := stable.Lookup(o.Topic, o.Partition)
			past = past && s.Offset >= o.Offset
		})
		if past {
			return time.Since(began)
		}
		if !r.wait() {
			r.t.Fatal("readers are held up")
		}
	}
}

// wait lets the broker's sweep go by; false when the test's time is over.
func (r *run) wait() bool {
	select {
	case <-r.ctx.Done():
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

// members waits until the group has n members and is stable.
func (r *run) members(n int) {
	r.t.Helper()
	for {
		d, err := r.cluster.Admin().DescribeGroups(r.ctx, r.names().Group())
		if g := d[r.names().Group()]; err == nil && g.State == "Stable" && len(g.Members) == n {
			return
		}
		if !r.wait() {
			r.t.Fatalf("the group did not get %d members", n)
		}
	}
}

// generation waits until the process has said under which group generation it got its
// tasks, and returns the last one that it said.
func (r *run) generation(p *proc) int {
	r.t.Helper()
	r.printed(p, `"generation":`)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range slices.Backward(p.out) {
		var e struct{ Generation *int }
		if json.Unmarshal([]byte(line), &e) == nil && e.Generation != nil {
			return *e.Generation
		}
	}
	r.t.Fatalf("%s: no generation in its output", p.name)
	return 0
}

// committedEpochs is the highest number of commits that a task has made.
func (r *run) committedEpochs() int {
	r.t.Helper()
	got, err := r.cluster.Admin().FetchOffsets(r.ctx, r.names().Group())
	if err != nil {
		r.t.Fatal(err)
	}
	most := 0
	got.Each(func(o kadm.OffsetResponse) {
		if m, err := offsets.DecodeMetadata(o.Metadata); err == nil {
			most = max(most, int(m.Epoch.Counter))
		}
	})
	return most
}

// What was said last counts, whoever has said it: b took over from a, and lost a task again; the other application has the same.
func TestStoppedTasks(t *testing.T) {
	said := func(nanos int, app, message, task, reason string) string {
		return fmt.Sprintf(`{"application":%q,"message":%q,"task":%q,"reason":%q,"time":"2026-01-01T00:00:00.%09dZ"}`, app, message, task, reason, nanos)
	}
	a := &proc{out: []string{
		said(1, "app", "task restored", "0-0", ""), said(1, "app", "task restored", "0-1", ""), "not a line of the log",
		said(5, "app", "task closed", "0-0", "stopped"), said(5, "app", "task closed", "0-1", "stopped"), said(9, "app", "stopping", "", "signal"),
	}}
	b := &proc{out: []string{
		said(2, "app", "task restored", "0-2", ""), said(6, "app", "task restored", "0-1", ""), said(7, "app", "task closed", "0-1", "revoked"),
		said(8, "app", "task closed", "0-2", "stopped"), said(9, "fork", "task restored", "0-2", ""),
	}}
	for _, procs := range [][]*proc{{a, b}, {b, a}} {
		r := &run{tally: tally.Tally{App: "app"}, procs: procs}
		if got, want := r.stopped(), map[string]bool{"0-0": true, "0-1": false, "0-2": true}; !maps.Equal(got, want) {
			t.Errorf("stopped are %v, want %v", got, want)
		}
	}
}
