package processor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
)

// copiedAtOnce is how many partitions of repartition topics are copied at a time.
const copiedAtOnce = 2

// savepointPlace is where a savepoint goes that is being taken, as this worker sees it. It is
// open from the first part that is written here until the savepoint is decided.
type savepointPlace struct {
	cut      uint64
	of       control.Savepoint
	location string
	format   snapshot.Format
	once     sync.Once
	bucket   *snapshot.Bucket
	err      error

	users   int // guarded by uploads.mu, like what follows
	decided bool
	sweep   bool // it was declined
}

func (p *savepointPlace) close() {
	if p.bucket != nil {
		_ = p.bucket.Close() // nothing is under way
	}
}

// enter opens the place of a savepoint. Who gets one leaves it again.
func (u *uploads) enter(of *control.Savepoint, cut uint64) (*savepointPlace, error) {
	u.mu.Lock()
	if cut <= u.abandoned {
		u.mu.Unlock()
		return nil, errAbandoned
	}
	p := u.places[cut]
	if p == nil {
		p = &savepointPlace{cut: cut, of: *of}
		u.places[cut] = p
	}
	p.users++
	u.mu.Unlock()
	p.once.Do(func() { p.err = u.openPlace(p) })
	if p.err != nil {
		u.leave(p)
		return nil, p.err
	}
	return p, nil
}

func (u *uploads) leave(p *savepointPlace) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p.users--
	u.settlePlace(p)
}

// decided hears what becomes of each cut. What a declined savepoint has left is swept by the
// coordinator, and by who wrote it: the last writes may be done after the coordinator looked.
func (u *uploads) decided(r control.Record) {
	cut, sweep := uint64(0), false
	switch r := r.(type) {
	case control.Declined:
		u.abandon(r.ID)
		cut, sweep = r.ID, true
	case control.Complete:
		cut = r.ID
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if p := u.places[cut]; p != nil {
		p.decided, p.sweep = true, sweep
		u.settlePlace(p)
	}
}

// settlePlace closes a place that nobody needs any more. u.mu is held.
func (u *uploads) settlePlace(p *savepointPlace) {
	if !p.decided || p.users > 0 {
		return
	}
	delete(u.places, p.cut)
	u.work.Go(func() {
		defer p.close()
		if p.sweep && p.bucket != nil {
			if _, err := p.bucket.Discard(u.ctx, takingOf(u.app, &p.of)); err != nil && u.ctx.Err() == nil {
				u.cfg.listener.warn(fmt.Sprintf("delete what savepoint %s has left in %s", p.of.Request.ID, p.bucket), err)
			}
		}
	})
}

func takingOf(app *application, s *control.Savepoint) snapshot.Taking {
	return snapshot.Taking{Application: app.names.Application, Cut: s.Cut, Request: s.Request.ID, Triggered: s.Triggered}
}

func (u *uploads) openPlace(p *savepointPlace) error {
	var err error
	if p.location, p.format, err = u.cfg.checkpoints.placeOf(u.app.names.Application, p.of.Request); err != nil {
		return err
	}
	b, err := snapshot.Open(u.ctx, p.location, u.savepointOptions(true))
	if err != nil {
		return err
	}
	if err := b.Vacant(u.ctx); err != nil {
		return errors.Join(err, b.Close())
	}
	p.bucket = b
	return nil
}

func (u *uploads) savepointOptions(create bool) snapshot.Options {
	return snapshot.Options{Create: create, Compression: snapshot.Compression(u.cfg.checkpoints.Compression)}
}

// placeOf is where a savepoint goes and how it is written.
func (c Checkpoints) placeOf(application string, r control.Request) (location string, format snapshot.Format, err error) {
	refuse := func(what, fix string) (string, snapshot.Format, error) {
		return "", "", &Error{What: what, Fix: fix}
	}
	switch format = snapshot.Format(r.Format); format {
	case "":
		format = snapshot.Native
	case snapshot.Native, snapshot.Portable:
	default:
		return refuse(fmt.Sprintf("the format %q is unknown", r.Format), "use native or portable")
	}
	if location = r.Path; location == "" {
		base := c.SavepointDir
		if base == "" {
			base = c.Dir
		}
		if base == "" {
			return refuse("no path was given, and this worker has no place for savepoints", "name a path that all workers see, or set Checkpoints.SavepointDir")
		}
		location = snapshot.Join(base, application, "savepoints", r.ID)
	}
	dir, local, err := snapshot.Local(location)
	switch {
	case err != nil:
		return "", "", err
	case local && r.Path != "" && !filepath.IsAbs(dir):
		return refuse(fmt.Sprintf("the path %s is relative, and every worker has another working directory", r.Path), "give it from the root, or as a URL")
	case local:
		if location, err = filepath.Abs(dir); err != nil {
			return "", "", fmt.Errorf("path of the savepoint: %w", err)
		}
	}
	return location, format, nil
}

// discardSavepoint deletes what a declined savepoint has left, as the coordinator's worker sees
// its place.
func (u *uploads) discardSavepoint(ctx context.Context, s *control.Savepoint) error {
	location, _, err := u.cfg.checkpoints.placeOf(u.app.names.Application, s.Request)
	if err != nil || s.Cut == 0 {
		return nil // nothing was written
	}
	b, err := snapshot.Open(ctx, location, u.savepointOptions(false))
	if errors.Is(err, snapshot.ErrNotFound) || errors.Is(err, snapshot.ErrScheme) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = b.Discard(ctx, takingOf(u.app, s))
	return errors.Join(err, b.Close())
}

// seenWhole makes sure that what all workers have written is there as this worker sees it, and
// nobody else's savepoint.
func seenWhole(ctx context.Context, b *snapshot.Bucket, m *snapshot.Manifest) error {
	if err := b.Vacant(ctx); err != nil {
		return err
	}
	err := b.Present(ctx, m)
	if errors.Is(err, snapshot.ErrNotFound) {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return &Error{What: fmt.Sprintf("%s is not the same place for all workers: what one has written another does not see (%s)", b, first),
			Fix: "name a directory that all of them share, or an object store", Err: err}
	}
	return err
}

// copyInFlight copies what was on its way when the cut was taken: a savepoint does not need
// the repartition topics.
func (u *uploads) copyInFlight(ctx context.Context, b *snapshot.Bucket, m *snapshot.Manifest) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copiedAtOnce)
	for i := range m.InFlight {
		part := &m.InFlight[i]
		part.Codecs = u.app.repartitionCodecs(part.UID)
		if part.From == part.To {
			continue
		}
		g.Go(func() error {
			failpoint("copy")
			copied, err := b.WriteRecords(ctx, snapshot.Origin{
				Format: m.Format, Application: m.Application, Timeline: m.Timeline, Cut: m.Cut,
				Task: part.Task, UID: part.UID, Epoch: part.Epoch, Since: part.From, End: part.To, Codecs: part.Codecs,
			}, func(put func(*snapshot.Record) error) error { return u.readInFlight(ctx, m, part, put) }, nil)
			failpoint("copied")
			part.Objects = copied.Objects
			return err
		})
	}
	return g.Wait()
}

// readInFlight reads the part of a repartition topic that belongs to a cut: what its sender
// sent before it took the cut.
func (u *uploads) readInFlight(ctx context.Context, m *snapshot.Manifest, part *snapshot.InFlight, put func(*snapshot.Record) error) error {
	topic := u.app.names.Repartition(part.UID)
	r := changelog.Reader{Topic: topic, Partition: part.Partition, From: part.From, To: part.To}
	_, err := r.ReadRecords(ctx, u.cfg.clientOpts(), func(rec *kgo.Record) error {
		if !u.wanted(m.Cut) {
			return errAbandoned
		}
		s, err := stampOf(rec)
		switch {
		case err != nil:
			return fmt.Errorf("%s/%d@%d: %w", topic, part.Partition, rec.Offset, err)
		case s.Timeline != m.Timeline:
			return fmt.Errorf("%s/%d@%d: stamp of timeline %d, this is %d", topic, part.Partition, rec.Offset, s.Timeline, m.Timeline)
		case s.Cut >= m.Cut && !planted("copy what was sent behind the cut"):
			return nil
		}
		out := &snapshot.Record{Offset: rec.Offset, Timestamp: rec.Timestamp.UnixMilli(), Key: rec.Key, Value: rec.Value}
		for _, h := range rec.Headers {
			out.Headers = append(out.Headers, snapshot.RecordHeader{Key: h.Key, Value: h.Value})
		}
		return put(out)
	})
	return err
}

// storeCodecs say what the rows of a store are.
func (a *application) storeCodecs(t offsets.Task, uid string) *snapshot.Codecs {
	for _, s := range a.stores(t) {
		if s.UID == uid {
			return &snapshot.Codecs{Store: s.Kind, Key: s.KeyCodec, Value: s.ValueCodec, KeySchema: s.KeySchema, ValueSchema: s.ValueSchema}
		}
	}
	return nil
}

// repartitionCodecs say what the records of a repartition topic are.
func (a *application) repartitionCodecs(uid string) *snapshot.Codecs {
	for s := range a.graph.Subs {
		for _, o := range a.graph.Subs[s].Outputs {
			if o.Internal && o.Topic == uid {
				return &snapshot.Codecs{Key: o.KeyCodec, Value: o.ValueCodec, KeySchema: o.KeySchema, ValueSchema: o.ValueSchema}
			}
		}
	}
	return nil
}
