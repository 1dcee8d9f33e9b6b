package processor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
)

// What workers tell of their tasks, for `weir status`: records of the epochs topic, outside
// of any transaction. FORMAT.md has their layouts.

const (
	noteVersion = 1
	noteEvery   = 3 * time.Second // how often a note that stays true is said; readers believe it for 10 s
	noteLimit   = time.Second     // a note that was not written by then is not worth it
	retryKey    = ".retry"        // behind the task, in the key of a RetryNote
)

// publish writes a note, without waiting for it; a value of nil takes it back. It is not
// sent by the lane's producer, whose records are part of epochs.
func (l *lane) publish(key string, t offsets.Task, value []byte) {
	ctx, cancel := context.WithTimeout(l.ctx, noteLimit)
	l.group.client.TryProduce(ctx, l.noteRecord(key, t, value), func(_ *kgo.Record, err error) {
		cancel()
		if err != nil && l.ctx.Err() == nil {
			l.cfg.log.Debug().Err(err).Str("key", key).Msg("note for weir status not written")
		}
	})
}

func (l *lane) noteRecord(key string, t offsets.Task, value []byte) *kgo.Record {
	return &kgo.Record{Topic: l.app.names.Epochs(), Partition: l.app.witness(t), Key: []byte(key), Value: value}
}

// RestoreProgress is what a worker tells of a restore that lasts. Its key is the task. A
// record without value says that the restore is over.
type RestoreProgress struct {
	Worker          string    // group instance id of the lane
	Began, Told     time.Time // by the worker's clock, whole ms
	Store           string
	From, Next, End int64
	Done, Total     int64
	Records         int64
}

// RetryNote is what a worker tells of a task that failed and waits for its next try. Its key
// is the task with ".retry" behind it. A record without value says that it waits no more.
type RetryNote struct {
	Worker            string    // group instance id of the lane
	Since, Told, Next time.Time // by the worker's clock, whole ms
	Attempt           int64     // number of the failure
	Strategy          string
	Cause             string // no more than noteCause bytes
}

const noteCause = 1000

var errNote = errors.New("not a note of this release")

// Append appends the record's value.
func (p RestoreProgress) Append(b []byte) []byte {
	b = append(b, noteVersion)
	b = appendTime(appendTime(b, p.Began), p.Told)
	for _, n := range p.numbers() {
		b = binary.AppendUvarint(b, uint64(*n))
	}
	return appendText(appendText(b, p.Worker), p.Store)
}

func (p *RestoreProgress) numbers() []*int64 {
	return []*int64{&p.From, &p.Next, &p.End, &p.Done, &p.Total, &p.Records}
}

// DecodeRestoreProgress reads what Append wrote.
func DecodeRestoreProgress(b []byte) (p RestoreProgress, err error) {
	r := newNoteReader(b)
	p.Began, p.Told = r.time(), r.time()
	for _, to := range p.numbers() {
		*to = r.number()
	}
	p.Worker, p.Store = r.text(), r.text()
	return p, r.err(b)
}

// Append appends the record's value.
func (n RetryNote) Append(b []byte) []byte {
	b = append(b, noteVersion)
	b = appendTime(appendTime(appendTime(b, n.Since), n.Told), n.Next)
	b = binary.AppendUvarint(b, uint64(n.Attempt))
	cause := n.Cause
	if len(cause) > noteCause {
		cause = strings.ToValidUTF8(cause[:noteCause], "")
	}
	return appendText(appendText(appendText(b, n.Worker), n.Strategy), cause)
}

// DecodeRetryNote reads what Append wrote.
func DecodeRetryNote(b []byte) (n RetryNote, err error) {
	r := newNoteReader(b)
	n.Since, n.Told, n.Next = r.time(), r.time(), r.time()
	n.Attempt = r.number()
	n.Worker, n.Strategy, n.Cause = r.text(), r.text(), r.text()
	return n, r.err(b)
}

// RetryNoteOf is the task of a record's key, if that is the key of a RetryNote.
func RetryNoteOf(key []byte) (offsets.Task, bool) {
	name, ok := strings.CutSuffix(string(key), retryKey)
	if !ok {
		return offsets.Task{}, false
	}
	t, err := offsets.ParseTask(name)
	return t, err == nil
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
}

// noteReader takes fields off b; after the first misfit bad stays set.
type noteReader struct {
	b   []byte
	bad bool
}

func newNoteReader(b []byte) *noteReader {
	if len(b) == 0 || b[0] != noteVersion {
		return &noteReader{bad: true}
	}
	return &noteReader{b: b[1:]}
}

func (r *noteReader) take(n int64) []byte {
	if r.bad || n > int64(len(r.b)) {
		r.bad = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *noteReader) time() time.Time {
	b := r.take(8)
	if r.bad {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
}

// number takes a uvarint in its shortest form that an int64 holds.
func (r *noteReader) number() int64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || n > 1 && r.b[n-1] == 0 || v > 1<<63-1 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return int64(v)
}

func (r *noteReader) text() string { return string(r.take(r.number())) }

// err is what to say of the whole value.
func (r *noteReader) err(given []byte) error {
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: %x", errNote, given)
	}
	return nil
}
