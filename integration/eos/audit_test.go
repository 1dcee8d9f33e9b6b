package eos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
)

// audit looks at what a stopped application leaves behind: no open transaction (I6),
// positions of a task that agree (I7), changelogs that fold to the positions' ends (I4).
func (r *run) audit() {
	r.t.Helper()
	r.noOpenTransaction()
	r.positionsAgree()
}

func (r *run) names() offsets.Names { return offsets.Names{Application: r.tally.App, Timeline: 1} }

func (r *run) noOpenTransaction() {
	r.t.Helper()
	adm := r.cluster.Admin()
	for {
		open, err := adm.ListTransactions(r.ctx, nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort"})
		if err != nil {
			r.t.Fatalf("list transactions: %v", err)
		}
		var ours []string
		for _, id := range open.TransactionalIDs() {
			if strings.HasPrefix(id, r.tally.App+".") {
				ours = append(ours, id)
			}
		}
		if len(ours) == 0 {
			break
		}
		if !r.wait() {
			r.t.Errorf("I6: open transactions stay behind: %v", ours)
			return
		}
	}
	for {
		topics := []string{r.tally.Seen(), r.tally.GroupsT(), r.tally.Windows()}
		stable, err := adm.ListCommittedOffsets(r.ctx, topics...)
		if err != nil {
			r.t.Fatal(err)
		}
		ends, err := adm.ListEndOffsets(r.ctx, topics...)
		if err != nil {
			r.t.Fatal(err)
		}
		pinned := ""
		ends.Each(func(o kadm.ListedOffset) {
			if s, _ := stable.Lookup(o.Topic, o.Partition); s.Offset != o.Offset {
				pinned = fmt.Sprintf("%s/%d: stable %d, end %d", o.Topic, o.Partition, s.Offset, o.Offset)
			}
		})
		if pinned == "" {
			return
		}
		if !r.wait() {
			r.t.Errorf("I6: %s", pinned)
			return
		}
	}
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

// positionsAgree: all inputs of a task carry the same epoch id, and the changelogs, read
// to the ends that the positions name, are whole.
func (r *run) positionsAgree() {
	r.t.Helper()
	got, err := r.cluster.Admin().FetchOffsets(r.ctx, r.names().Group())
	if err != nil {
		r.t.Fatal(err)
	}
	ends := map[int32]map[string]int64{} // changelog ends by partition and uid
	got.Each(func(o kadm.OffsetResponse) {
		if o.Err != nil {
			r.t.Errorf("I7: position of %s/%d: %v", o.Topic, o.Partition, o.Err)
			return
		}
		m, err := offsets.DecodeMetadata(o.Metadata)
		if err != nil {
			r.t.Errorf("I7: metadata of %s/%d: %v", o.Topic, o.Partition, err)
			return
		}
		uids := []string{"seen"}
		if o.Topic != r.tally.In() {
			uids = []string{"groups", "windows"}
		}
		if len(m.Ends) != len(uids) {
			r.t.Errorf("I7: %s/%d names %d changelog ends, want %v", o.Topic, o.Partition, len(m.Ends), uids)
			return
		}
		if ends[o.Partition] == nil {
			ends[o.Partition] = map[string]int64{}
		}
		for i, uid := range uids {
			ends[o.Partition][uid] = m.Ends[i]
		}
	})
	if len(ends) != int(r.tally.Partitions) {
		r.t.Errorf("I7: positions of %d partitions, want %d", len(ends), r.tally.Partitions)
	}
	for p, byUID := range ends {
		for _, uid := range slices.Sorted(maps.Keys(byUID)) {
			r.changelogWhole(uid, p, byUID[uid])
		}
	}
}

// changelogWhole folds one changelog partition and compares its end.
func (r *run) changelogWhole(uid string, partition int32, end int64) {
	r.t.Helper()
	topic := r.names().Changelog(uid)
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.Addrs()...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	log, err := r.cluster.Admin().ListEndOffsets(r.ctx, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	last, _ := log.Lookup(topic, partition)
	rows := map[string][]byte{}
	next, lastData := int64(0), int64(-1)
	for next < last.Offset {
		fs := cl.PollFetches(r.ctx)
		if r.ctx.Err() != nil {
			r.t.Fatalf("read %s/%d: at %d of %d", topic, partition, next, last.Offset)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			next = rec.Offset + 1
			if rec.Attrs.IsControl() {
				return
			}
			lastData = rec.Offset
			if rec.Value == nil {
				delete(rows, string(rec.Key))
				return
			}
			rows[string(rec.Key)] = bytes.Clone(rec.Value)
		})
	}
	if lastData+1 != end && end != 0 {
		r.t.Errorf("I4: %s/%d: last committed record at %d, positions say the end is %d", topic, partition, lastData, end)
	}
	if uid == "seen" {
		for k, v := range rows {
			if len(v) != 16 {
				r.t.Errorf("I4: %s/%d: row %q has %d bytes", topic, partition, k, len(v))
			}
		}
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
