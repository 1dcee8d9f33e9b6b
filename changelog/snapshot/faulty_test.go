package snapshot

import (
	"context"
	"errors"
	"sync"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"
)

// faulty is a driver over memory whose requests fail when fail says so.
type faulty struct {
	blob *blob.Bucket
	mu   sync.Mutex
	fail func(ctx context.Context, op, key string) error
}

// openFaulty opens a bucket over a faulty driver, which does not fail yet.
func openFaulty(t testing.TB, o Options) (*Bucket, *faulty) {
	t.Helper()
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{blob: memblob.OpenBucket(nil)}
	b := &Bucket{bucket: blob.NewBucket(f), location: "faulty://bucket", options: o, slots: make(chan struct{}, o.Parallel)}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, f
}

func (f *faulty) set(fail func(ctx context.Context, op, key string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faulty) ask(ctx context.Context, op, key string) error {
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(ctx, op, key)
}

func (f *faulty) ErrorCode(err error) gcerrors.ErrorCode { return gcerrors.Code(err) }
func (f *faulty) As(any) bool                            { return false }
func (f *faulty) ErrorAs(error, any) bool                { return false }
func (f *faulty) Close() error                           { return f.blob.Close() }

func (f *faulty) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	if err := f.ask(ctx, "size", key); err != nil {
		return nil, err
	}
	a, err := f.blob.Attributes(ctx, key)
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{ContentType: a.ContentType, ModTime: a.ModTime, Size: a.Size}, nil
}

func (f *faulty) ListPaged(ctx context.Context, o *driver.ListOptions) (*driver.ListPage, error) {
	if err := f.ask(ctx, "list", o.Prefix); err != nil {
		return nil, err
	}
	token, size := blob.FirstPageToken, o.PageSize
	if len(o.PageToken) > 0 {
		token = o.PageToken
	}
	if size == 0 {
		size = 1000
	}
	objects, next, err := f.blob.ListPage(ctx, token, size, &blob.ListOptions{Prefix: o.Prefix, Delimiter: o.Delimiter})
	page := &driver.ListPage{NextPageToken: next}
	for _, l := range objects {
		page.Objects = append(page.Objects, &driver.ListObject{Key: l.Key, ModTime: l.ModTime, Size: l.Size, IsDir: l.IsDir})
	}
	return page, err
}

type faultyReader struct{ *blob.Reader }

func (r faultyReader) Attributes() *driver.ReaderAttributes {
	return &driver.ReaderAttributes{ContentType: r.ContentType(), ModTime: r.ModTime(), Size: r.Size()}
}

func (f *faulty) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	if err := f.ask(ctx, "read", key); err != nil {
		return nil, err
	}
	r, err := f.blob.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, err
	}
	return faultyReader{r}, nil
}

type faultyWriter struct {
	*blob.Writer
	f   *faulty
	ctx context.Context
	key string
}

func (w faultyWriter) Write(p []byte) (int, error) {
	if err := w.f.ask(w.ctx, "write", w.key); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

func (f *faulty) NewTypedWriter(ctx context.Context, key, contentType string, _ *driver.WriterOptions) (driver.Writer, error) {
	if err := f.ask(ctx, "open", key); err != nil {
		return nil, err
	}
	w, err := f.blob.NewWriter(ctx, key, &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		return nil, err
	}
	return faultyWriter{w, f, ctx, key}, nil
}

func (f *faulty) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	if err := f.ask(ctx, "delete", key); err != nil {
		return err
	}
	return f.blob.Delete(ctx, key)
}

func (f *faulty) Copy(context.Context, string, string, *driver.CopyOptions) error {
	return errors.ErrUnsupported
}

func (f *faulty) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errors.ErrUnsupported
}
