package snapshot

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
)

// drivers that a program may link, by the scheme of their URLs.
var drivers = map[string]string{
	"s3":     "gocloud.dev/blob/s3blob",
	"gs":     "gocloud.dev/blob/gcsblob",
	"azblob": "gocloud.dev/blob/azureblob",
}

// place is a location taken apart: a local directory, or a URL and a prefix within its bucket.
type place struct {
	dir    string
	url    *url.URL
	prefix string
}

func parseLocation(location string) (place, error) {
	if location == "" {
		return place{}, errors.New("the location is empty: name a directory or a URL")
	}
	if !strings.Contains(location, "://") {
		return place{dir: filepath.Clean(location)}, nil
	}
	u, err := url.Parse(location)
	if err != nil {
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err // without the URL, which may hold secrets
		}
		return place{}, fmt.Errorf("parse URL: %w", err)
	}
	switch u.Scheme {
	case fileblob.Scheme:
		if u.RawQuery != "" {
			return place{}, fmt.Errorf("file URLs take no parameters, not even %q", u.RawQuery)
		}
		dir := u.Path
		switch u.Host {
		case "", "localhost":
		case ".", "..":
			dir = u.Host + dir
		default:
			return place{}, fmt.Errorf("file URL of host %q: write file:///%s for a path from the root, file://./%s for one from here", u.Host, u.Host+u.Path, u.Host+u.Path)
		}
		if dir == "" {
			return place{}, errors.New("file URL without a path")
		}
		return place{dir: filepath.Clean(filepath.FromSlash(dir))}, nil
	}
	p := place{url: u}
	if inside := strings.Trim(path.Clean("/"+u.Path), "/"); inside != "" {
		p.prefix = inside + "/"
	}
	root := *u
	root.Path, root.RawPath = "", ""
	p.url = &root
	return p, nil
}

// String gives the location without user, password and parameters, which may be secrets.
func (p place) String() string {
	if p.url == nil {
		return p.dir
	}
	return strings.TrimSuffix(p.url.Scheme+"://"+p.url.Host+"/"+p.prefix, "/")
}

// Join gives the location below another one, whose parameters it keeps.
func Join(location string, parts ...string) string {
	if !strings.Contains(location, "://") {
		return filepath.Join(append([]string{location}, parts...)...)
	}
	bare, query, hasQuery := strings.Cut(location, "?")
	bare = strings.TrimRight(bare, "/") + "/" + path.Join(parts...)
	if hasQuery {
		bare += "?" + query
	}
	return bare
}

// Local gives the directory of a location that is one, as the caller's process would find it. Errors are those of Open.
func Local(location string) (dir string, local bool, err error) {
	p, err := parseLocation(location)
	if err != nil {
		return "", false, failed("open", withoutSecrets(location), "", err)
	}
	return p.dir, p.url == nil, nil
}

// withoutSecrets is what may be shown of a location that could not be taken apart.
func withoutSecrets(location string) string {
	scheme, _, isURL := strings.Cut(location, "://")
	if isURL {
		return scheme + "://..."
	}
	return location
}

// memory holds the buckets of mem://name, which live as long as the process.
var memory struct {
	sync.Mutex
	buckets map[string]*blob.Bucket
}

// open gives the bucket, and whether somebody else may use it as well, so that it is never closed.
func (p place) open(ctx context.Context, create bool) (bucket *blob.Bucket, shared bool, err error) {
	switch {
	case p.url == nil:
		// Temporary files lie beside the final ones: a rename across file systems is none.
		bucket, err = fileblob.OpenBucket(p.dir, &fileblob.Options{
			CreateDir: create, DirFileMode: 0o755, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
		return bucket, false, err
	case p.url.Scheme == memblob.Scheme && p.url.Host == "":
		return memblob.OpenBucket(nil), false, nil
	case p.url.Scheme == memblob.Scheme:
		memory.Lock()
		defer memory.Unlock()
		if memory.buckets == nil {
			memory.buckets = map[string]*blob.Bucket{}
		}
		if memory.buckets[p.url.Host] == nil {
			memory.buckets[p.url.Host] = memblob.OpenBucket(nil)
		}
		return memory.buckets[p.url.Host], true, nil
	case !blob.DefaultURLMux().ValidBucketScheme(p.url.Scheme):
		if driver, known := drivers[p.url.Scheme]; known {
			return nil, false, fmt.Errorf("%w (%s): add to the program\n\timport _ %q", ErrScheme, p.url.Scheme, driver)
		}
		return nil, false, fmt.Errorf("%w (%s): want a directory, or a URL that begins with file://, s3://, gs:// or azblob://", ErrScheme, p.url.Scheme)
	}
	bucket, err = blob.DefaultURLMux().OpenBucketURL(ctx, p.url)
	return bucket, false, err
}

// SplitManifest takes the location of a manifest, as Find takes it, apart: where its bucket is, and its name in there.
// Other locations are all root.
func SplitManifest(location string) (root, name string) {
	bare, query, hasQuery := strings.Cut(location, "?")
	if !strings.Contains(location, "://") {
		bare, query, hasQuery = filepath.ToSlash(location), "", false
	}
	dir, base := path.Split(bare)
	if _, ok := parseName(manifestDir + base); !ok || !strings.HasSuffix("/"+dir, "/"+manifestDir) {
		return location, ""
	}
	root = strings.TrimSuffix(dir, manifestDir)
	if root == "" {
		root = "."
	}
	if hasQuery {
		root += "?" + query
	}
	return root, manifestDir + base
}
