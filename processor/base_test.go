package processor_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology/task"
)

// What lies on disk is believed as long as the changelog can bring it up to date: not when it
// is older than the tombstones that the changelog keeps, or a key that was deleted since would
// come back; and not when it has rows that Kafka does not have.
func TestBaseThatTheChangelogCannotMendIsNotUsed(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		more int64 // changelog records that nobody knows of
		want string
	}{
		"an hour old":      {time.Hour, 0, "local"},
		"four days old":    {4 * 24 * time.Hour, 0, "changelog"},
		"of another world": {0, 10, "changelog"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			plan := sums(t, same)
			r.send(0, "a", i64(1))
			r.ran(plan, func() bool { return r.committed() == 1 })
			found, err := r.adm.ListTopics(r.ctx, "bad.1.sums.changelog")
			if err != nil {
				t.Fatal(err)
			}
			// The base of a worker that was away while another one went on.
			away := t.TempDir()
			if err := os.CopyFS(away, os.DirFS(r.dir)); err != nil {
				t.Fatal(err)
			}
			id := changelog.StoreID{Timeline: 1, UID: "sums", Task: offsets.Task{}, TopicID: [16]byte(found["bad.1.sums.changelog"].ID)}
			db, err := changelog.Open(changelog.DBOptions{Dir: away, Application: "bad", MinFree: 1, Now: func() time.Time { return time.Now().Add(-c.age) }})
			if err != nil {
				t.Fatal(err)
			}
			s, m, ok, err := db.OpenStore(r.ctx, id)
			if err != nil || !ok {
				t.Fatalf("no base was left: %v, %v", ok, err)
			}
			if err := s.Finish(m.Epoch, m.End); err != nil {
				t.Fatal(err)
			}
			key, value := task.AppendKeyedRow(nil, []byte("a")), i64(1)
			if c.more > 0 {
				value = i64(1000)
			}
			if err := s.Put(key, value); err != nil {
				t.Fatal(err)
			}
			s.Commit(m.Epoch, m.End+c.more)
			if err := s.Close(context.Background(), true); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}

			r.send(0, "a", i64(1))
			r.ran(plan, func() bool { return r.committed() == 2 })
			r.dir = away
			r.send(0, "a", i64(1))
			base := ""
			r.ran(plan, func() bool { return r.committed() == 3 }, processor.Events(&processor.Listener{TaskRestored: func(i processor.RestoredInfo) {
				if i.Task == id.Task {
					base = i.Base
				}
			}}))
			if base != c.want {
				t.Errorf("restored from base %q, want %q", base, c.want)
			}
			if got := r.out(3); got[2] != "a=3" {
				t.Errorf("results %v, want a=3 at the end", got)
			}
		})
	}
}
