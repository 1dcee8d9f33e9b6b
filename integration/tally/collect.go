package tally

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
)

// Collect gathers what the application has left behind in Kafka and in the state directories. Its workers have
// stopped. Transactions of workers that died are waited for until ctx ends, as brokers end them; if they do not, Open
// and the ends of the logs say so and the logs are not read.
func (t Tally) Collect(ctx context.Context, brokers []string, dirs ...string) (Facts, error) {
	f := Facts{Logs: map[Partition]Log{}, Positions: map[Partition]Position{}, TopicIDs: map[string][16]byte{}}
	cl, err := t.client(brokers)
	if err != nil {
		return f, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for {
		if err := t.ends(ctx, adm, &f); err != nil && ctx.Err() == nil {
			return f, err
		}
		if t.settled(f, &Report{}) {
			break
		}
		select {
		case <-ctx.Done():
			return f, nil
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := t.positions(ctx, adm, &f); err != nil {
		return f, err
	}
	if err := t.read(ctx, brokers, &f); err != nil {
		return f, err
	}
	if f.History, err = t.commits(ctx, brokers, adm); err != nil {
		return f, err
	}
	for _, dir := range dirs {
		if err := t.disksOf(dir, &f); err != nil {
			return f, err
		}
	}
	return f, nil
}

// topics that the application reads and writes.
func (t Tally) topics() []string {
	n := t.names()
	out := []string{t.In(), t.Seen(), t.GroupsT(), t.Windows(), t.input(1), n.Epochs(), n.Control(), n.Acks()}
	for _, uids := range stores {
		for _, uid := range uids {
			out = append(out, n.Changelog(uid))
		}
	}
	return out
}

// ends lists open transactions, and where the logs begin, are stable and end.
func (t Tally) ends(ctx context.Context, adm *kadm.Client, f *Facts) error {
	listed, err := adm.ListTransactions(ctx, nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort"})
	if err != nil {
		return fmt.Errorf("list transactions: %w", err)
	}
	f.Open = nil
	for _, id := range listed.TransactionalIDs() {
		if strings.HasPrefix(id, t.App+".") {
			f.Open = append(f.Open, id)
		}
	}
	var got [3]kadm.ListedOffsets
	for i, list := range []func(context.Context, ...string) (kadm.ListedOffsets, error){adm.ListStartOffsets, adm.ListCommittedOffsets, adm.ListEndOffsets} {
		if got[i], err = list(ctx, t.topics()...); err == nil {
			err = got[i].Error()
		}
		if err != nil {
			return fmt.Errorf("list offsets of %s: %w", t.App, err)
		}
	}
	got[2].Each(func(end kadm.ListedOffset) {
		start, _ := got[0].Lookup(end.Topic, end.Partition)
		stable, _ := got[1].Lookup(end.Topic, end.Partition)
		f.Logs[Partition{end.Topic, end.Partition}] = Log{Start: start.Offset, Stable: stable.Offset, End: end.Offset, Shown: map[int64]bool{}}
	})
	return nil
}

// positions reads the group's offsets and the topics' ids.
func (t Tally) positions(ctx context.Context, adm *kadm.Client, f *Facts) error {
	var got kadm.OffsetResponses
	var err error
	for {
		// Right after a commit, one that is not stable may be the one before.
		if got, err = adm.FetchOffsets(kadm.RequireStable(ctx), t.names().Group()); err == nil {
			err = got.Error()
		}
		if !errors.Is(err, kerr.UnstableOffsetCommit) || ctx.Err() != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("fetch positions of %s: %w", t.App, err)
	}
	got.Each(func(o kadm.OffsetResponse) {
		f.Positions[Partition{o.Topic, o.Partition}] = Position{o.At, o.Metadata}
	})
	topics, err2 := adm.ListTopics(ctx, t.topics()...)
	for name, d := range topics {
		f.TopicIDs[name] = [16]byte(d.ID)
	}
	return errors.Join(err, err2)
}

// read reads every log twice: as it is, and as a read_committed reader is shown it.
func (t Tally) read(ctx context.Context, brokers []string, f *Facts) error {
	err := t.scan(ctx, brokers, f, kgo.ReadUncommitted(), func(tp Partition, r *kgo.Record) {
		l := f.Logs[tp]
		l.Records = append(l.Records, record(r))
		f.Logs[tp] = l
	})
	if err != nil {
		return err
	}
	return t.scan(ctx, brokers, f, kgo.ReadCommitted(), func(tp Partition, r *kgo.Record) {
		if !r.Attrs.IsControl() {
			f.Logs[tp].Shown[r.Offset] = true
		}
	})
}

func (t Tally) scan(ctx context.Context, brokers []string, f *Facts, level kgo.IsolationLevel, see func(Partition, *kgo.Record)) error {
	from := map[string]map[int32]kgo.Offset{}
	left := 0
	for tp, l := range f.Logs {
		if l.Start == l.End {
			continue
		}
		if from[tp.Topic] == nil {
			from[tp.Topic] = map[int32]kgo.Offset{}
		}
		from[tp.Topic][tp.Number] = kgo.NewOffset().At(l.Start)
		left++
	}
	return t.consume(ctx, brokers, from, level, func(r *kgo.Record) bool {
		tp := Partition{r.Topic, r.Partition}
		if r.Offset < f.Logs[tp].End {
			see(tp, r)
			if r.Offset == f.Logs[tp].End-1 {
				left--
			}
		}
		return left > 0
	})
}

// consume shows records, control records among them, until more says false.
func (t Tally) consume(ctx context.Context, brokers []string, from map[string]map[int32]kgo.Offset, level kgo.IsolationLevel, more func(*kgo.Record) bool) error {
	if len(from) == 0 {
		return nil
	}
	cl, err := t.client(brokers, kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	for on := true; on; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("read what %s left behind: %w", t.App, ctx.Err())
		}
		fs.EachRecord(func(r *kgo.Record) { on = on && more(r) })
	}
	return nil
}

func record(r *kgo.Record) Record {
	out := Record{
		Offset: r.Offset, Writer: Writer{r.ProducerID, r.ProducerEpoch}, Part: r.Attrs.IsTransactional(),
		Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), Time: r.Timestamp.UnixMilli(),
	}
	if r.Attrs.IsControl() {
		var k kmsg.ControlRecordKey
		if err := k.ReadFrom(r.Key); err == nil && k.Type == kmsg.ControlRecordKeyTypeCommit {
			out.Control = "commit"
		} else {
			out.Control = "abort"
		}
	}
	for _, h := range r.Headers {
		if h.Key == offsets.StampHeader {
			if s, err := offsets.DecodeStamp(h.Value); err == nil {
				out.Stamp = &s
			}
		}
	}
	return out
}

// commits reads the group's log of committed positions, where the broker has one to read: Kafka has, the fake has not.
func (t Tally) commits(ctx context.Context, brokers []string, adm *kadm.Client) (map[Partition][]Position, error) {
	const topic = "__consumer_offsets"
	found, err := adm.ListTopicsWithInternal(ctx, topic)
	if err != nil || len(found[topic].Partitions) == 0 {
		return nil, err
	}
	group := t.names().Group()
	hash := int32(0)
	for _, c := range []byte(group) { // Java's String.hashCode
		hash = 31*hash + int32(c)
	}
	if hash < 0 {
		hash = max(-hash, 0) // of the smallest number the negative is itself
	}
	p := hash % int32(len(found[topic].Partitions))
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("list ends of %s: %w", topic, err)
	}
	end, _ := ends.Lookup(topic, p)
	if end.Offset == 0 {
		return nil, nil
	}
	out := map[Partition][]Position{}
	var bad error
	err = t.consume(ctx, brokers, map[string]map[int32]kgo.Offset{topic: {p: kgo.NewOffset().AtStart()}}, kgo.ReadCommitted(), func(r *kgo.Record) bool {
		var k kmsg.OffsetCommitKey
		var v kmsg.OffsetCommitValue
		// Versions from 2 on are the group's own records.
		if !r.Attrs.IsControl() && r.Value != nil && len(r.Key) > 1 && r.Key[0] == 0 && r.Key[1] < 2 {
			if err := errors.Join(k.ReadFrom(r.Key), v.ReadFrom(r.Value)); err != nil {
				bad = fmt.Errorf("%s/%d@%d: %w", topic, p, r.Offset, err)
			} else if k.Group == group {
				tp := Partition{k.Topic, k.Partition}
				out[tp] = append(out[tp], Position{v.Offset, v.Metadata})
			}
		}
		return r.Offset < end.Offset-1
	})
	return out, errors.Join(err, bad)
}

// disksOf reads a state directory; one that a worker never came to is empty.
func (t Tally) disksOf(dir string, f *Facts) error {
	err := changelog.Inspect(changelog.DBOptions{Dir: dir, Application: t.App}, func(s changelog.Stored, rows iter.Seq2[[]byte, []byte]) error {
		if s.ID.Timeline != t.names().Timeline {
			return nil
		}
		d := Disk{Dir: filepath.Base(dir), Store: s.ID, Marker: s.Marker, Rows: Rows{}}
		for k, v := range rows {
			d.Rows.set(k, append([]byte{}, v...))
		}
		f.Disks = append(f.Disks, d)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
