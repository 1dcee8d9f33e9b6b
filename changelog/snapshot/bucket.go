package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
)

const (
	defaultTimeout     = time.Minute
	defaultParallel    = 4
	defaultObjectBytes = 16 << 20
	maxObjectBytes     = 64 << 20
	maxFile            = 512 << 20 // no object or manifest of ours comes near; what is larger is not read
)

// Options of Open. The zero value means the defaults.
type Options struct {
	// Create makes the directory of a local location if it is missing. Readers leave it off: a mistyped path is
	// better refused than made.
	Create bool
	// Timeout of one request to the store, retries of its driver included. Default 1 min.
	Timeout time.Duration
	// Parallel is how many requests run at a time, over all calls on the Bucket, and how many objects each call
	// holds in memory. Default 4.
	Parallel int
	// ObjectBytes is the size before compression at which an object ends and the next one begins. Default 16 MiB,
	// at most 64 MiB. A call to WriteRows or Restore needs Parallel times that, twice when nothing can be compressed.
	ObjectBytes int
	// Compression of what is written. Default Zstd.
	Compression Compression
}

func (o Options) withDefaults() (Options, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Parallel == 0 {
		o.Parallel = defaultParallel
	}
	if o.ObjectBytes == 0 {
		o.ObjectBytes = defaultObjectBytes
	}
	if o.Compression == "" {
		o.Compression = Zstd
	}
	switch {
	case o.Timeout < 0:
		return o, fmt.Errorf("timeout %v is negative", o.Timeout)
	case o.Parallel < 0:
		return o, fmt.Errorf("%d parallel requests: use 1 or more", o.Parallel)
	case o.ObjectBytes < 0 || o.ObjectBytes > maxObjectBytes:
		return o, fmt.Errorf("objects of %d bytes: use at most %d", o.ObjectBytes, maxObjectBytes)
	case o.Compression != Zstd && o.Compression != None:
		return o, fmt.Errorf("compression %q is unknown: use %q or %q", o.Compression, Zstd, None)
	}
	return o, nil
}

// Bucket is a place for manifests and objects: a directory, or a prefix in an object store. It may be used by any
// number of goroutines.
type Bucket struct {
	bucket   *blob.Bucket
	shared   bool
	location string // without secrets
	prefix   string // of all keys, "" or with a slash at its end
	dir      string // local directory of the bucket's root, "" elsewhere
	options  Options
	slots    chan struct{} // one per request that runs
}

// Open opens a location:
//
//	/var/lib/checkpoints, dir/below, file:///var/lib/checkpoints    a local directory
//	s3://bucket/path?region=..., gs://bucket/path, azblob://...     by drivers of gocloud.dev/blob that the program imports
//	mem://name                                                      memory of this process, for tests; mem:// is nobody else's
//
// Parameters of a URL are those of the driver. Nothing is written, and of an object store nothing is asked; a local
// directory has to be there unless o.Create is set. Errors: ErrScheme with the import to add, ErrNotFound, ErrAccess.
func Open(ctx context.Context, location string, o Options) (*Bucket, error) {
	p, err := parseLocation(location)
	if err != nil {
		return nil, failed("open", withoutSecrets(location), "", err)
	}
	if o, err = o.withDefaults(); err != nil {
		return nil, failed("open", p.String(), "", err)
	}
	op := "open"
	if o.Create {
		op = "write" // what it is opened for, and what the hint is about
	}
	bucket, shared, err := p.open(ctx, o.Create)
	if err != nil {
		if p.url == nil { // the driver gives the text of some system errors only
			if _, e := os.Stat(p.dir); e != nil {
				err = e
			}
			if o.Create {
				if e := os.MkdirAll(p.dir, 0o755); e != nil {
					err = e
				}
			}
		}
		return nil, failed(op, p.String(), "", err)
	}
	b := &Bucket{bucket: bucket, shared: shared, location: p.String(), prefix: p.prefix, options: o, slots: make(chan struct{}, o.Parallel)}
	if p.url == nil {
		if b.dir, err = filepath.Abs(p.dir); err != nil {
			return nil, failed(op, p.String(), "", err)
		}
	}
	return b, nil
}

// Under gives the part of the bucket below a path such as an application's name. It shares connections and limits
// with b, which alone is to be closed.
func (b *Bucket) Under(part string) *Bucket {
	part = strings.Trim(path.Clean("/"+part), "/")
	below := *b
	below.prefix += part + "/"
	below.location += "/" + part
	return &below
}

// Close releases what Open took. No call on the bucket may be running.
func (b *Bucket) Close() error {
	if b.shared {
		return nil
	}
	return b.wrap("close", "", b.bucket.Close())
}

// String is the location without parameters and secrets.
func (b *Bucket) String() string { return b.location }

// request waits until it may run and gives it a time limit.
func (b *Bucket) request(ctx context.Context) (context.Context, func(), error) {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, b.options.Timeout, errTimeout)
	return ctx, func() { cancel(); <-b.slots }, nil
}

// call runs one request. An error says whether its time limit ended it.
func (b *Bucket) call(ctx context.Context, op, name string, f func(context.Context, string) error) error {
	limited, end, err := b.request(ctx)
	if err != nil {
		return b.wrap(op, name, err)
	}
	defer end()
	err = f(limited, b.prefix+name)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(limited), errTimeout) {
		err = fmt.Errorf("%w (%v): %v", errTimeout, b.options.Timeout, err)
	}
	return b.wrap(op, name, err)
}

// put writes an object in one piece: a reader sees all of it or nothing.
func (b *Bucket) put(ctx context.Context, name string, data []byte) error {
	return b.call(ctx, "write", name, func(ctx context.Context, key string) error {
		if b.dir != "" {
			return b.putFile(ctx, key, data)
		}
		return b.bucket.Upload(ctx, key, bytes.NewReader(data), &blob.WriterOptions{ContentType: contentType(name)})
	})
}

// putFile writes a file so that it is there after a crash of the machine, too. The driver writes to a temporary name
// and renames at Close, whatever went wrong before: only an ended context keeps it from publishing half a file.
func (b *Bucket) putFile(ctx context.Context, key string, data []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var file *os.File
	open := func() (*blob.Writer, error) {
		return b.bucket.NewWriter(ctx, key, &blob.WriterOptions{
			ContentType: contentType(key),
			BeforeWrite: func(as func(any) bool) error {
				if !as(&file) {
					return errors.New("the file driver does not write to a file")
				}
				return nil
			},
		})
	}
	w, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		w, err = open() // the directory was empty, and somebody has just removed it
	}
	if err != nil {
		return err
	}
	if _, err = w.Write(data); err == nil {
		err = file.Sync()
	}
	if err != nil {
		cancel()
		_ = w.Close() // says only that it was cancelled
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	for dir := filepath.Dir(file.Name()); ; dir = filepath.Dir(dir) { // the directories may be new as well
		if err := syncDir(dir); err != nil || dir == b.dir || dir == filepath.Dir(dir) {
			return err
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func contentType(name string) string {
	if strings.HasSuffix(name, ".json") {
		return "application/json"
	}
	return "application/octet-stream"
}

// get reads an object; with size >= 0 it must have that size.
func (b *Bucket) get(ctx context.Context, name string, size int64) (data []byte, err error) {
	err = b.call(ctx, "read", name, func(ctx context.Context, key string) error {
		r, err := b.bucket.NewReader(ctx, key, nil)
		if err != nil {
			return err
		}
		defer r.Close()
		switch {
		case size >= 0 && r.Size() != size:
			return damaged("it has %d bytes, the manifest says %d", r.Size(), size)
		case r.Size() > maxFile:
			return damaged("it has %d bytes, nothing of ours has more than %d", r.Size(), maxFile)
		}
		data = make([]byte, r.Size())
		_, err = io.ReadFull(r, data)
		return err
	})
	return data, err
}

// size asks for the size of an object.
func (b *Bucket) size(ctx context.Context, name string) (size int64, err error) {
	err = b.call(ctx, "read", name, func(ctx context.Context, key string) error {
		a, err := b.bucket.Attributes(ctx, key)
		if err == nil {
			size = a.Size
		}
		return err
	})
	return size, err
}

// remove deletes an object; one that is not there is deleted already.
func (b *Bucket) remove(ctx context.Context, name string) error {
	err := b.call(ctx, "delete", name, b.bucket.Delete)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// listed is an object that a listing found.
type listed struct {
	name     string
	size     int64
	modified time.Time
}

// list gives what lies below a prefix, by name. Some stores list what was written a moment ago only later.
func (b *Bucket) list(ctx context.Context, prefix string) (all []listed, err error) {
	token := blob.FirstPageToken
	for len(token) > 0 {
		err := b.call(ctx, "list", prefix, func(ctx context.Context, key string) error {
			page, next, err := b.bucket.ListPage(ctx, token, 1000, &blob.ListOptions{Prefix: key})
			for _, o := range page {
				all = append(all, listed{strings.TrimPrefix(o.Key, b.prefix), o.Size, o.ModTime})
			}
			token = next
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
