package eos

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-stream/weir/offsets"
)

// audit judges what the application has left behind, when all workers have stopped. clean says that those which had the
// tasks stopped cleanly. copies are savepoints that were copied to somewhere else.
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
	facts.Clean = clean
	r.t.Logf("%d checkpoints are kept", len(facts.Checkpoints))
	if err := r.tally.Audit(facts).Err(); err != nil {
		r.t.Errorf("audit: %v", err)
	}
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
