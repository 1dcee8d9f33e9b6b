//go:build synctests

package processor_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"

	"github.com/weir-stream/weir/processor"
)

// mortal is what a worker is to the world: requests to brokers and to the store. Once it is dead there are none any more,
// which is all that anybody else sees of a SIGKILL.
type mortal struct {
	armed atomic.Bool  // steps count
	steps atomic.Int64 // that were begun
	left  int64        // steps that it lives to finish
	dead  atomic.Bool
}

var errDead = errors.New("the worker is dead")

// step begins one of those between which it makes a difference where a worker dies.
func (m *mortal) step() error {
	if m.armed.Load() && m.steps.Add(1) > m.left {
		m.dead.Store(true)
	}
	if m.dead.Load() {
		return errDead
	}
	return nil
}

// options of a worker that is it.
func (m *mortal) options(v *virtualTally, name string) []processor.Option {
	scheme := "mortal-" + name
	blob.DefaultURLMux().RegisterBucket(scheme, m)
	return []processor.Option{processor.Kafka(kgo.Dialer(m.network(v.dial))), processor.AdjustCheckpoints(func(c *processor.Checkpoints) {
		c.Dir = scheme + "://store?dir=" + url.QueryEscape(v.checkpoints())
	})}
}

// network of the worker. What changes something is a step.
func (m *mortal) network(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if m.dead.Load() {
			return nil, errDead
		}
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return mortalConn{c, m}, nil
	}
}

type mortalConn struct {
	net.Conn
	m *mortal
}

func (c mortalConn) Write(b []byte) (int, error) {
	if len(b) > 6 {
		switch int16(binary.BigEndian.Uint16(b[4:])) { // the request's key, behind its length
		case kmsg.Produce.Int16(), kmsg.TxnOffsetCommit.Int16(), kmsg.EndTxn.Int16():
			_ = c.m.step()
		}
	}
	if c.m.dead.Load() {
		_ = c.Close()
		return 0, errDead
	}
	return c.Conn.Write(b)
}

// OpenBucketURL makes it a blob.BucketURLOpener. Deletions are steps, and take their time.
func (m *mortal) OpenBucketURL(_ context.Context, u *url.URL) (*blob.Bucket, error) {
	under, err := fileblob.OpenBucket(u.Query().Get("dir"), &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, err
	}
	return blob.NewBucket(&mortalBucket{under, m}), nil
}

// mortalBucket is a bucket as its driver, but for deletions.
type mortalBucket struct {
	*blob.Bucket
	m *mortal
}

func (b *mortalBucket) ErrorCode(err error) gcerrors.ErrorCode { return gcerrors.Code(err) }
func (b *mortalBucket) As(any) bool                            { return false }
func (b *mortalBucket) ErrorAs(error, any) bool                { return false }

func (b *mortalBucket) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	time.Sleep(100 * time.Millisecond) // virtual
	if err := b.m.step(); err != nil {
		return err
	}
	return b.Bucket.Delete(ctx, key)
}

func (b *mortalBucket) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	a, err := b.Bucket.Attributes(ctx, key)
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{ContentType: a.ContentType, ModTime: a.ModTime, Size: a.Size}, nil
}

func (b *mortalBucket) ListPaged(ctx context.Context, o *driver.ListOptions) (*driver.ListPage, error) {
	token, size := blob.FirstPageToken, max(o.PageSize, 1000)
	if len(o.PageToken) > 0 {
		token = o.PageToken
	}
	objects, next, err := b.ListPage(ctx, token, size, &blob.ListOptions{Prefix: o.Prefix, Delimiter: o.Delimiter})
	page := &driver.ListPage{NextPageToken: next}
	for _, l := range objects {
		page.Objects = append(page.Objects, &driver.ListObject{Key: l.Key, ModTime: l.ModTime, Size: l.Size, IsDir: l.IsDir})
	}
	return page, err
}

type mortalReader struct{ *blob.Reader }

func (r mortalReader) Attributes() *driver.ReaderAttributes {
	return &driver.ReaderAttributes{ContentType: r.ContentType(), ModTime: r.ModTime(), Size: r.Size()}
}

func (b *mortalBucket) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	r, err := b.Bucket.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, err
	}
	return mortalReader{r}, nil
}

func (b *mortalBucket) NewTypedWriter(ctx context.Context, key, contentType string, _ *driver.WriterOptions) (driver.Writer, error) {
	if b.m.dead.Load() {
		return nil, errDead
	}
	w, err := b.NewWriter(ctx, key, &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (b *mortalBucket) Copy(context.Context, string, string, *driver.CopyOptions) error {
	return errors.ErrUnsupported
}

func (b *mortalBucket) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errors.ErrUnsupported
}
