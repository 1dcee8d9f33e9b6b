package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]struct {
		kind error
		text string
	}{
		filepath.Join(dir, "missing"):             {ErrNotFound, "check the path"},
		"file://" + filepath.Join(dir, "missing"): {ErrNotFound, "check the path"},
		file:                           {nil, "is not a directory"},
		"":                             {nil, "name a directory or a URL"},
		"file://word-count/x":          {nil, "file:///word-count/x"},
		"file://":                      {nil, "without a path"},
		"file:///x?metadata=skip":      {nil, "no parameters"},
		"s3://bucket/x?region=secret":  {ErrScheme, `import _ "gocloud.dev/blob/s3blob"`},
		"gs://bucket":                  {ErrScheme, `import _ "gocloud.dev/blob/gcsblob"`},
		"azblob://container":           {ErrScheme, `import _ "gocloud.dev/blob/azureblob"`},
		"ftp://user:secret@host/x":     {ErrScheme, "file://, s3://, gs:// or azblob://"},
		"s3://bucket:%zz?token=secret": {nil, "parse URL"},
	} {
		_, err := Open(t.Context(), location, Options{})
		var e *Error
		if !errors.As(err, &e) || e.Op != "open" || e.Kind != want.kind || !strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", location, err)
		}
		if want.kind != nil && !errors.Is(err, want.kind) {
			t.Errorf("%s: %v is not %v", location, err, want.kind)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(file, "below"), Options{Create: true}); !errors.Is(err, ErrAccess) {
		t.Errorf("a directory below a file: %v", err)
	}
	for _, o := range []Options{{Timeout: -1}, {Parallel: -1}, {ObjectBytes: -1}, {ObjectBytes: maxObjectBytes + 1}, {Compression: "lz4"}} {
		if _, err := Open(t.Context(), dir, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestLocations(t *testing.T) {
	for location, want := range map[string]struct{ dir, prefix, shown string }{
		"/var/cp/":                         {"/var/cp", "", "/var/cp"},
		"cp":                               {"cp", "", "cp"},
		"file:///var/cp":                   {"/var/cp", "", "/var/cp"},
		"file://localhost/var/cp":          {"/var/cp", "", "/var/cp"},
		"file://./cp":                      {"cp", "", "cp"},
		"file://../cp":                     {"../cp", "", "../cp"},
		"s3://bucket?region=x":             {"", "", "s3://bucket"},
		"s3://key:pass@bucket/a/../b//c/?": {"", "b/c/", "s3://bucket/b/c"},
		"mem://shared":                     {"", "", "mem://shared"},
	} {
		p, err := parseLocation(location)
		if err != nil || p.dir != want.dir || p.prefix != want.prefix || p.String() != want.shown {
			t.Errorf("%s is %+v, %s, %v", location, p, p, err)
		}
	}
	file := "manifests/0000000009-" + strings.Repeat("ab", 32) + ".json"
	for location, want := range map[string][2]string{
		"/cp/" + file:               {"/cp/", file},
		file:                        {".", file},
		"s3://b/x/" + file + "?r=1": {"s3://b/x/?r=1", file},
		"s3://b/x?r=1":              {"s3://b/x?r=1", ""},
		"/cp/" + file + "x":         {"/cp/" + file + "x", ""},
		"/cp/not" + file:            {"/cp/not" + file, ""},
	} {
		if root, manifest := SplitManifest(location); [2]string{root, manifest} != want {
			t.Errorf("%s is %q of %q", location, manifest, root)
		}
	}
}

// Within a process mem://name is one place, and mem:// is nobody else's.
func TestMemoryIsSharedByName(t *testing.T) {
	a, b := openTest(t, "mem://TestMemoryIsSharedByName", Options{}), openTest(t, "mem://TestMemoryIsSharedByName", Options{})
	if err := a.put(t.Context(), "x", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if text, err := b.get(t.Context(), "x", 1); err != nil || string(text) != "1" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := openTest(t, "mem://", Options{}).get(t.Context(), "x", 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("the nameless one has it: %v", err)
	}
}

// Every failure of a store comes out with operation, name, kind and what to do, from every call.
func TestFailuresOfTheStore(t *testing.T) {
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 300, false)
	for _, c := range []struct {
		fail error
		kind error
		hint string
	}{
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, ErrFull, "make room"},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}, ErrFull, "make room"},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, ErrAccess, "let this user"},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS}, ErrAccess, "let this user"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, ErrUnreachable, "check the endpoint"},
		{&net.DNSError{Name: "x"}, ErrUnreachable, "check the endpoint"},
		{statusError(403), ErrAccess, "let this user"},
		{statusError(503), ErrUnreachable, "check the endpoint"},
		{statusError(507), ErrFull, "make room"},
		{errors.New("strange"), nil, "strange"},
	} {
		b, f := openFaulty(t, Options{ObjectBytes: 1000})
		m := manifestOf(origin(1), writeRows(t, b, origin(1), rows))
		name := writeManifest(t, b, m)
		f.set(func(context.Context, string, string) error { return c.fail })
		_, writeErr := b.WriteRows(t.Context(), origin(2), feed(rows), nil)
		_, completeErr := b.WriteManifest(t.Context(), m)
		_, loadErr := b.Load(t.Context(), name, "")
		_, listErr := b.Manifests(t.Context())
		_, sweepErr := b.Sweep(t.Context(), nil, 0, 9)
		for op, err := range map[string]error{
			"write rows": writeErr, "write manifest": completeErr, "read": loadErr, "list": listErr, "list swept": sweepErr,
			"read rows": second(restored(t, b, m)), "delete": b.Drop(t.Context(), m, nil),
		} {
			var e *Error
			op, _, _ = strings.Cut(op, " ")
			if !errors.As(err, &e) || e.Op != op || e.Kind != c.kind || !strings.Contains(err.Error(), c.hint) || !strings.Contains(err.Error(), "faulty://bucket") {
				t.Errorf("%v, %s: %v (%+v)", c.fail, op, err, e)
			}
			if strings.Count(err.Error(), "faulty://bucket") != 1 {
				t.Errorf("wrapped more than once: %v", err)
			}
		}
		f.set(nil)
		if err := b.Verify(t.Context(), m, nil); c.kind != nil && err != nil {
			t.Errorf("%v: what was complete is not any more: %v", c.fail, err)
		}
	}
}

type statusError int

func (e statusError) Error() string       { return fmt.Sprintf("status %d", int(e)) }
func (e statusError) HTTPStatusCode() int { return int(e) }

// A store that does not answer is given up after the time limit; an ended context is the caller's own doing.
func TestStoreThatHangs(t *testing.T) {
	b, f := openFaulty(t, Options{ObjectBytes: 1000, Parallel: 2})
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 300, false)
	m := manifestOf(origin(1), writeRows(t, b, origin(1), rows))
	b.options.Timeout = time.Millisecond // not before: a busy machine takes that long for a write that is right
	f.set(func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() })
	for what, err := range map[string]error{
		"write": second(b.WriteRows(t.Context(), origin(2), feed(rows), nil)), "read": second(restored(t, b, m)), "delete": b.Drop(t.Context(), m, nil),
	} {
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "1ms") {
			t.Errorf("%s: %v", what, err)
		}
	}
	b.options.Timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	f.set(func(ctx context.Context, _, _ string) error { cancel(); <-ctx.Done(); return ctx.Err() })
	if _, err := b.WriteRows(ctx, origin(2), feed(rows), nil); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("cancelled write: %v", err)
	}
	if err := b.Verify(ctx, m, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled read: %v", err)
	}
}

// When an upload fails, put says so, so that a long iteration does not go on for nothing.
func TestFailedUploadEndsTheIteration(t *testing.T) {
	b, f := openFaulty(t, Options{ObjectBytes: 1000})
	f.set(func(context.Context, string, string) error { return syscall.ENOSPC })
	n := 0
	_, err := b.WriteRows(t.Context(), origin(1), func(put func(key, value []byte, deleted bool) error) error {
		for ; n < 100_000_000; n++ {
			if err := put(fmt.Appendf(nil, "%09d", n), []byte("value"), false); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if !errors.Is(err, ErrFull) || n == 100_000_000 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// At most Parallel requests run at a time, however many calls there are.
func TestRequestsAreBounded(t *testing.T) {
	b, f := openFaulty(t, Options{ObjectBytes: 500, Parallel: 3})
	var running, most atomic.Int64
	f.set(func(context.Context, string, string) error {
		now := running.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		for most.Load() < 3 {
			runtime.Gosched()
		}
		for range 100 { // so that a fourth one would be seen
			runtime.Gosched()
		}
		running.Add(-1)
		return nil
	})
	rows := randomRows(rand.New(rand.NewPCG(1, 1)), 500, false)
	done := make(chan error)
	for cut := range uint64(4) {
		go func() {
			_, err := b.WriteRows(t.Context(), origin(cut+1), feed(rows), nil)
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n != 3 {
		t.Errorf("%d requests at a time, want 3", n)
	}
}

// A savepoint whose manifest was not written is none.
func TestHalfWrittenSavepoint(t *testing.T) {
	dir := t.TempDir()
	b := openTest(t, dir, Options{})
	if _, _, err := Find(t.Context(), dir, Options{}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "never completed") {
		t.Errorf("empty: %v", err)
	}
	l := writeRows(t, b, origin(1), randomRows(rand.New(rand.NewPCG(1, 1)), 30, false))
	if _, _, err := Find(t.Context(), dir, Options{}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "never completed") {
		t.Errorf("half-written: %v", err)
	}
	writeManifest(t, b, manifestOf(origin(1), l))
	found, m, err := Find(t.Context(), dir, Options{})
	if err != nil || m.Cut != 1 {
		t.Fatalf("complete: %v", err)
	}
	if err := found.Close(); err != nil {
		t.Error(err)
	}
	second := manifestOf(origin(1), l)
	second.Completed++
	writeManifest(t, b, second)
	if _, _, err := Find(t.Context(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "name one of them") {
		t.Errorf("two: %v", err)
	}
}

// Unwritable in ways that do not depend on who runs the test.
func TestUnwritableDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "objects"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b := openTest(t, dir, Options{})
	if _, err := b.WriteRows(t.Context(), origin(1), feed([]row{{[]byte("a"), []byte("1")}}), nil); !errors.Is(err, ErrAccess) || !strings.Contains(err.Error(), "let this user write there") {
		t.Errorf("a file in the way: %v", err)
	}
	if os.Getuid() == 0 {
		t.Log("root may write everywhere: permissions are not tried")
		return
	}
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	b = openTest(t, dir, Options{})
	if _, err := b.WriteRows(t.Context(), origin(1), feed([]row{{[]byte("a"), []byte("1")}}), nil); !errors.Is(err, ErrAccess) {
		t.Errorf("read only: %v", err)
	}
}
