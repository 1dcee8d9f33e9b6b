package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
)

// Progress is how far a call is.
type Progress struct {
	Entries int64 // rows or records
	Bytes   int64 // of keys, values and headers
	Stored  int64 // bytes of objects, written or read
}

// WriteRows writes the rows of a store that rows gives it, as a layer of objects. rows runs in the caller's goroutine
// and calls put with keys that ascend; put copies what it is given. deleted is for layers of kind Increment. If rows
// returns an error, that is what WriteRows returns; an error of put it should return as it is.
//
// While rows goes on, full objects are compressed and uploaded by up to Options.Parallel goroutines, which have ended
// when WriteRows returns. progress, which may be nil, is called every 256 KiB of rows in the caller's goroutine, at last with
// the sums. Cost: memory of Options.Parallel objects, and about 1 s of CPU for 200 MB of rows.
//
// The layer is not reachable before a manifest refers to it. What an error or an ended ctx leaves behind is for Sweep.
// Errors: *Error, of any kind that a store has.
func (b *Bucket) WriteRows(ctx context.Context, of Origin, rows func(put func(key, value []byte, deleted bool) error) error, progress func(Progress)) (Layer, error) {
	if of.Content == "" {
		of.Content = Full
	}
	if of.Content == Records {
		return Layer{}, fmt.Errorf("write rows of content %q: use %q or %q", of.Content, Full, Increment)
	}
	w, err := b.newWriter(ctx, of, progress)
	if err != nil {
		return Layer{}, fmt.Errorf("write rows: %w", err)
	}
	objects, err := w.run(func() error { return rows(w.row) })
	if err != nil {
		return Layer{}, err
	}
	return Layer{Content: of.Content, Cut: of.Cut, Epoch: of.Epoch, Since: of.Since, End: of.End, Objects: objects}, nil
}

// WriteRecords copies the records of a partition of a repartition topic that records gives it, with offsets that ascend
// within [of.Since, of.End). Everything else is as WriteRows says; of.Content may be left empty.
func (b *Bucket) WriteRecords(ctx context.Context, of Origin, records func(put func(*Record) error) error, progress func(Progress)) (InFlight, error) {
	if of.Content == "" {
		of.Content = Records
	}
	if of.Content != Records {
		return InFlight{}, fmt.Errorf("write records of content %q: use %q", of.Content, Records)
	}
	w, err := b.newWriter(ctx, of, progress)
	if err != nil {
		return InFlight{}, fmt.Errorf("write records: %w", err)
	}
	objects, err := w.run(func() error { return records(w.record) })
	if err != nil {
		return InFlight{}, err
	}
	return InFlight{UID: of.UID, Partition: of.Task.Partition, Task: of.Task, Epoch: of.Epoch, From: of.Since, To: of.End, Codecs: of.Codecs, Objects: objects}, nil
}

// writer splits what it is given into objects and uploads them.
type writer struct {
	b        *Bucket
	ctx      context.Context
	cancel   context.CancelCauseFunc
	header   header
	progress func(Progress)

	encoder    encoder // of the object that is being filled, or nil
	key        []byte  // last one
	offset     int64   // last one
	done       Progress
	reportNext int64

	uploads sync.WaitGroup
	slots   chan []byte // one per object in memory: a buffer to use again, or nil
	stored  atomic.Int64
	mu      sync.Mutex
	objects []Object
}

func (b *Bucket) newWriter(ctx context.Context, of Origin, progress func(Progress)) (*writer, error) {
	if of.Format == "" {
		of.Format = Native
	}
	if err := of.check(); err != nil {
		return nil, err
	}
	w := &writer{
		b: b, progress: progress, offset: -1, reportNext: blockBytes,
		header: header{Version: objectVersion, Compression: b.options.Compression, Origin: of},
		slots:  make(chan []byte, b.options.Parallel),
	}
	for range b.options.Parallel {
		w.slots <- nil
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	return w, nil
}

// run lets give hand over all entries and waits for the uploads.
func (w *writer) run(give func() error) ([]Object, error) {
	defer w.cancel(nil)
	defer w.uploads.Wait()
	err := give()
	if err == nil && w.encoder != nil {
		err = w.upload(true)
	}
	if err != nil {
		w.cancel(err) // unless an upload failed before
	}
	w.uploads.Wait()
	if err := context.Cause(w.ctx); err != nil {
		return nil, err
	}
	w.report()
	return w.objects, nil
}

// name is for errors that are about no object.
func (w *writer) name() string { return w.header.Task.String() + " " + w.header.UID }

func (w *writer) row(key, value []byte, deleted bool) error {
	switch {
	case len(key)+len(value) > maxEntry-1024:
		return w.refuse("a row of %d bytes is too large", len(key)+len(value))
	case deleted && w.header.Content == Full:
		return w.refuse("row %d is deleted, and the layer is full", w.done.Entries)
	case w.done.Entries > 0 && bytes.Compare(w.key, key) >= 0:
		return w.refuse("row %d, key %.40x, does not come after key %.40x", w.done.Entries, key, w.key)
	}
	w.key = append(w.key[:0], key...)
	if err := w.next(); err != nil {
		return err
	}
	if deleted {
		value = nil
	}
	w.encoder.row(key, value, deleted)
	w.added(len(key) + len(value))
	return nil
}

func (w *writer) record(r *Record) error {
	switch {
	case r.bytes() > maxEntry-1024-16*len(r.Headers):
		return w.refuse("a record of %d bytes is too large", r.bytes())
	case r.Offset < w.header.Since || r.Offset >= w.header.End:
		return w.refuse("record %d is not in [%d, %d)", r.Offset, w.header.Since, w.header.End)
	case r.Offset <= w.offset:
		return w.refuse("record %d does not come after %d", r.Offset, w.offset)
	}
	w.offset = r.Offset
	if err := w.next(); err != nil {
		return err
	}
	w.encoder.record(r)
	w.added(r.bytes())
	return nil
}

func (w *writer) refuse(format string, args ...any) error {
	return w.b.wrap("write", w.name(), fmt.Errorf(format, args...))
}

// next sees to it that there is an object to add to.
func (w *writer) next() error {
	if w.encoder != nil && w.encoder.size() >= w.b.options.ObjectBytes {
		if err := w.upload(false); err != nil {
			return err
		}
	}
	if w.encoder == nil {
		select {
		case buffer := <-w.slots:
			w.encoder = newEncoder(w.header, buffer)
			w.header.Part++
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
	return nil
}

func (w *writer) added(size int) {
	w.done.Entries++
	w.done.Bytes += int64(size)
	if w.done.Bytes >= w.reportNext {
		w.reportNext = w.done.Bytes + blockBytes
		w.report()
	}
}

func (w *writer) report() {
	if w.progress != nil {
		w.done.Stored = w.stored.Load()
		w.progress(w.done)
	}
}

// upload sends the object on its way.
func (w *writer) upload(last bool) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	encoder, part, h := w.encoder, w.header.Part-1, w.header
	w.encoder = nil
	w.uploads.Go(func() {
		file, counted := encoder.finish(last)
		n := name{dir: objectDir, cut: h.Cut, sum: sha256.Sum256(file), ext: extension(h.Format, h.Compression)}
		if err := w.b.put(w.ctx, n.String(), file); err != nil {
			w.cancel(err)
			return
		}
		w.stored.Add(int64(len(file)))
		w.mu.Lock()
		for len(w.objects) <= part {
			w.objects = append(w.objects, Object{})
		}
		w.objects[part] = Object{Name: n.String(), Size: int64(len(file)), Counts: counted}
		w.mu.Unlock()
		w.slots <- file[:0]
	})
	return nil
}
