package processor_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/fixture"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
)

// processed runs the application until its positions in the input come to so many records, and gives a savepoint of then.
func (g *ground) processed(app string, records int) (savepoint string) {
	g.Helper()
	end := g.run(app)
	defer end()
	dir := g.TempDir()
	for {
		g.taken++
		if path, c := g.savepoint(app, dir, fmt.Sprintf("p%d", g.taken), ""); through(c, records) {
			return path
		}
	}
}

func (g *ground) reset(o processor.ResetOptions) (processor.ResetReport, error) {
	g.Helper()
	return processor.Reset(g.ctx, g.plan(fixture.App), o, g.options()...)
}

func (g *ground) controlEnd() int64 {
	g.Helper()
	ends, err := g.adm.ListEndOffsets(g.ctx, offsets.Names{Application: fixture.App}.Control())
	g.must(err)
	end, _ := ends.Lookup(offsets.Names{Application: fixture.App}.Control(), 0)
	return end.Offset
}

// Begun again with empty state at the beginning, an application comes to what it had come to, and not to more; at a later
// position it knows of what came behind that alone. Looking first changes nothing.
func TestReset(t *testing.T) {
	t.Parallel()
	g := newGround(t, fixture.App)
	checkpoints := t.TempDir()
	g.more = []processor.Option{processor.CheckpointInto(processor.Checkpoints{Dir: checkpoints, Interval: 50 * time.Millisecond})}
	const n = 300
	g.must(fixture.Load(g.ctx, g.cl, 0, n))
	first := g.processed(fixture.App, n)
	accounts, buckets, _ := fixture.Want(n)

	before := g.controlEnd()
	dry, err := g.reset(processor.ResetOptions{To: processor.ResetToEarliest, DryRun: true})
	g.must(err)
	if !dry.DryRun || dry.Timeline != 2 || dry.Previous != 1 || !slices.Equal(dry.Stores, []string{"accounts", "buckets", "windows"}) || len(dry.Sources) != fixture.Partitions || len(dry.Old) == 0 {
		t.Errorf("%+v", dry)
	}
	read := int64(0)
	for _, s := range dry.Sources {
		read += s.From
		if s.From != s.End || s.To != 0 || s.Start != 0 {
			t.Errorf("%+v", s)
		}
	}
	if read != n || g.controlEnd() != before {
		t.Errorf("%d records were read; the control topic ended at %d, and ends at %d", read, before, g.controlEnd())
	}

	done, err := g.reset(processor.ResetOptions{ID: "again", To: processor.ResetToEarliest, StopWorkers: true})
	g.must(err)
	if done.Done || done.Timeline != 2 || len(done.Superseded) != 3*fixture.Partitions || !reflect.DeepEqual(done.Sources, dry.Sources) || !slices.Equal(done.Topics, dry.Topics) {
		t.Errorf("%+v", done)
	}
	same, err := g.reset(processor.ResetOptions{ID: "again", To: processor.ResetToLatest})
	g.must(err)
	if !same.Done || same.Timeline != 2 {
		t.Errorf("the second time: %+v", same)
	}
	gotAccounts, gotBuckets, _ := rows(t, g.processed(fixture.App, n))
	if !reflect.DeepEqual(gotAccounts, accounts) || !reflect.DeepEqual(gotBuckets, buckets) {
		t.Errorf("%v\n%v\nwant %v\n%v", gotAccounts, gotBuckets, accounts, buckets)
	}
	for _, s := range done.Superseded { // what was written before has come once more behind it
		ends, err := g.adm.ListEndOffsets(g.ctx, s.Topic)
		g.must(err)
		if end, _ := ends.Lookup(s.Topic, s.Partition); s.End > 0 && end.Offset <= s.End {
			t.Errorf("%s/%d was written up to %d, and is still", s.Topic, s.Partition, s.End)
		}
	}

	// At the end, but for one partition; older timelines are deleted. The savepoint of the first one may be gone back to.
	late, err := g.reset(processor.ResetOptions{To: processor.ResetToLatest, Positions: map[string]processor.ResetPosition{fixture.In(fixture.App) + "/1": processor.ResetToOffset(0)}, DeleteOld: true, StopWorkers: true})
	g.must(err)
	if late.ID != "reset-2" || late.Timeline != 3 || len(late.Deleted) == 0 {
		t.Errorf("%+v", late)
	}
	gotAccounts, _, _ = rows(t, g.processed(fixture.App, n))
	for key, want := range accounts {
		got, ok := gotAccounts[key]
		if offsets.Partition([]byte(key), fixture.Partitions) == 1 != ok || ok && got != want {
			t.Errorf("account %s is %q, want %q if it lies in partition 1", key, got, want)
		}
	}
	found, err := g.adm.ListTopics(g.ctx)
	g.must(err)
	for topic := range found {
		if strings.HasPrefix(topic, fixture.App+".1.") || strings.HasPrefix(topic, fixture.App+".2.") {
			t.Errorf("%s is still there", topic)
		}
	}
	// Checkpoints go on, with those of older timelines among them until they are dropped.
	end := g.run(fixture.App)
	for !slices.Contains(timelines(t, filepath.Join(checkpoints, fixture.App)), 3) {
		g.must(g.ctx.Err())
		time.Sleep(10 * time.Millisecond)
	}
	end()
	report, err := processor.Rewind(g.ctx, g.plan(fixture.App), processor.RewindOptions{From: first, StopWorkers: true}, g.options()...)
	g.must(err)
	if report.Timeline != 4 || report.Previous != 3 || report.Rows == 0 {
		t.Errorf("%+v", report)
	}
}

// timelines are those of the manifests that lie there.
func timelines(t *testing.T, place string) (all []uint32) {
	t.Helper()
	b, err := snapshot.Open(t.Context(), place, snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	found, err := b.Manifests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range found {
		m, err := b.Load(t.Context(), l.Name, fixture.App)
		if errors.Is(err, snapshot.ErrNotFound) {
			continue // dropped meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Timeline)
	}
	return all
}

// By time each partition begins at the first record that is not older.
func TestResetToATime(t *testing.T) {
	t.Parallel()
	g := newGround(t, fixture.App)
	g.must(fixture.Load(g.ctx, g.cl, 0, 100))
	end := g.run(fixture.App)
	g.born(fixture.App)
	end()
	at := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC) // of record 50
	for _, c := range []struct {
		at      time.Time
		records int64 // behind it
	}{{at, 50}, {at.Add(-time.Hour), 100}, {at.Add(time.Hour), 0}} {
		r, err := g.reset(processor.ResetOptions{To: processor.ResetToTime(c.at), DryRun: true})
		g.must(err)
		left := int64(0)
		for _, s := range r.Sources {
			left += s.End - s.To
		}
		if left != c.records {
			t.Errorf("%s: %d records come again, want %d: %+v", c.at, left, c.records, r.Sources)
		}
	}
}

// What cannot be meant is refused with all that is wrong, and nothing is changed.
func TestResetRefused(t *testing.T) {
	t.Parallel()
	g := newGround(t, fixture.App)
	in := fixture.In(fixture.App)
	_, err := g.reset(processor.ResetOptions{})
	says(t, err, processor.ErrReset, "never ran on these brokers")
	end := g.run(fixture.App)
	g.born(fixture.App)
	group := offsets.Names{Application: fixture.App, Timeline: 1}.Group()
	for { // until it is a member
		gs, err := g.adm.DescribeGroups(g.ctx, group)
		g.must(err)
		if len(gs[group].Members) > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	dry, err := g.reset(processor.ResetOptions{DryRun: true})
	g.must(err)
	if len(dry.Members) == 0 {
		t.Errorf("nobody stands against it: %+v", dry)
	}
	before := g.controlEnd()
	_, err = processor.Reset(g.ctx, g.plan(fixture.App), processor.ResetOptions{}, g.options(processor.SessionTimeout(time.Second), processor.HeartbeatInterval(100*time.Millisecond))...)
	says(t, err, processor.ErrReset, "is alive", "ResetOptions.StopWorkers", "--stop-workers")
	end()
	_, err = g.reset(processor.ResetOptions{Positions: map[string]processor.ResetPosition{"lines": processor.ResetToLatest, in + "/2": processor.ResetToEarliest, in + "/x": processor.ResetToEarliest}})
	says(t, err, processor.ErrReset, "lines has a position, and is no source", in+"/2 has a position", in+"/x has a position", "name one of "+in)
	_, err = g.reset(processor.ResetOptions{To: processor.ResetToOffset(7)})
	says(t, err, processor.ErrReset, "offset 7 of "+in+"/0 is outside the log [0, 0]", in+"/1")
	_, err = g.reset(processor.ResetOptions{ID: "No Name"})
	says(t, err, processor.ErrReset, "use a-z, 0-9 and -")
	if after := g.controlEnd(); after != before {
		t.Errorf("the control topic ended at %d, and ends at %d", before, after)
	}
	for _, s := range []string{"", "first", "-1", "2026-01-31"} {
		if p, err := processor.ParseResetPosition(s); err == nil {
			t.Errorf("%q is %s", s, p)
		}
	}
	for _, s := range []string{"earliest", "latest", "12", "2026-01-31T12:00:00Z"} {
		if p, err := processor.ParseResetPosition(s); err != nil || p.String() != s {
			t.Errorf("%q is %s, %v", s, p, err)
		}
	}
	if errors.Is(err, processor.ErrRewind) {
		t.Errorf("%v", err)
	}
}
