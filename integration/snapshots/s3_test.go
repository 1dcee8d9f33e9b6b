// Package snapshots tries checkpoints and savepoints on an S3 server in this process. It holds tests only, so that no
// program of ours carries a cloud's client without asking for it.
package snapshots

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	_ "gocloud.dev/blob/s3blob"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
)

// credentials for any server, and none that this machine may have.
func credentials(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func location(host, bucket, path string) string {
	return fmt.Sprintf("s3://%s/%s?endpoint=http://%s&use_path_style=true&region=us-east-1", bucket, path, host)
}

// serve starts a server with the bucket "state" and gives its address.
func serve(t *testing.T) string {
	t.Helper()
	credentials(t)
	backend := s3mem.New()
	if err := backend.CreateBucket("state"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func open(t *testing.T, where string, o snapshot.Options) *snapshot.Bucket {
	t.Helper()
	b, err := snapshot.Open(t.Context(), where, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func origin(cut uint64) snapshot.Origin {
	return snapshot.Origin{
		Application: "word-count", Timeline: 1, Cut: cut, Task: offsets.Task{Sub: 1}, UID: "counts",
		Epoch: offsets.EpochID{Counter: cut, ProducerID: 7}, End: int64(100 * cut),
	}
}

func write(t *testing.T, b *snapshot.Bucket, of snapshot.Origin, rows map[string]string, below ...snapshot.Layer) *snapshot.Manifest {
	t.Helper()
	l, err := b.WriteRows(t.Context(), of, func(put func(key, value []byte, deleted bool) error) error {
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			if err := put([]byte(key), []byte(rows[key]), rows[key] == ""); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &snapshot.Manifest{
		Kind: snapshot.Checkpoint, Format: snapshot.Native, Application: of.Application, Timeline: 1, Cut: of.Cut, InternalPartitions: 1,
		Tasks: []snapshot.TaskState{{Task: of.Task, Epoch: of.Epoch, Stores: []snapshot.StoreState{{UID: of.UID, End: of.End, Layers: append(below, l)}}}},
	}
}

func complete(t *testing.T, b *snapshot.Bucket, m *snapshot.Manifest) string {
	t.Helper()
	name, err := b.WriteManifest(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// A checkpoint's life in an object store: written full and as an increment, found from outside, restored, dropped, swept.
func TestCheckpointsOnS3(t *testing.T) {
	host := serve(t)
	where := location(host, "state", "prod/checkpoints")
	b := open(t, where, snapshot.Options{ObjectBytes: 20_000}).Under("word-count")
	rows := map[string]string{}
	for i := range 3000 {
		rows[fmt.Sprintf("key-%06d", i)] = strings.Repeat(fmt.Sprint(i), 1+i%20)
	}
	first := write(t, b, origin(1), rows)
	firstName := complete(t, b, first)
	of := origin(2)
	of.Content, of.Since = snapshot.Increment, 100
	second := write(t, b, of, map[string]string{"key-000000": "", "key-000001": "new", "key-9": "more"}, first.Tasks[0].Stores[0].Layers...)
	secondName := complete(t, b, second)
	write(t, b, origin(3), rows) // declined

	if err := b.Drop(t.Context(), first, []*snapshot.Manifest{second}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Load(t.Context(), firstName, "word-count"); !errors.Is(err, snapshot.ErrNotFound) {
		t.Errorf("the dropped one: %v", err)
	}
	if swept, err := b.Sweep(t.Context(), []*snapshot.Manifest{second}, 0, 4); err != nil || swept.Objects < 2 || swept.Manifests != 0 {
		t.Errorf("swept %+v, %v", swept, err)
	}
	found, m, err := snapshot.Find(t.Context(), location(host, "state", "prod/checkpoints/word-count/"+secondName), snapshot.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	if err := found.Verify(t.Context(), m, nil); err != nil {
		t.Error(err)
	}
	got := map[string]string{}
	err = found.Restore(t.Context(), m, of.Task, "counts", func(key, value []byte, deleted bool) error {
		if delete(got, string(key)); !deleted {
			got[string(key)] = string(value)
		}
		return nil
	}, nil)
	delete(rows, "key-000000")
	rows["key-000001"], rows["key-9"] = "new", "more"
	if err != nil || !maps.Equal(got, rows) {
		t.Errorf("restored %d rows, want %d, %v", len(got), len(rows), err)
	}
	if swept, err := b.Dispose(t.Context()); err != nil || swept.Manifests != 1 {
		t.Errorf("disposed of %+v, %v", swept, err)
	}
}

// Objects above the size at which the client splits an upload.
func TestLargeObjectsOnS3(t *testing.T) {
	b := open(t, location(serve(t), "state", ""), snapshot.Options{ObjectBytes: 12 << 20, Compression: snapshot.None})
	rows := map[string]string{}
	for i := range 200 {
		rows[fmt.Sprintf("key-%06d", i)] = strings.Repeat(fmt.Sprintf("%08d", i), 16<<10)
	}
	m := write(t, b, origin(1), rows)
	complete(t, b, m)
	if n := len(m.Tasks[0].Stores[0].Layers[0].Objects); n != 3 {
		t.Errorf("%d objects", n)
	}
	if err := b.Verify(t.Context(), m, nil); err != nil {
		t.Error(err)
	}
}

func TestS3ThatIsNotThere(t *testing.T) {
	credentials(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		host  string
		limit time.Duration
	}{"closed port": {closed, time.Minute}, "silent": {silent.Addr().String(), 300 * time.Millisecond}} {
		b := open(t, location(c.host, "state", "x"), snapshot.Options{Timeout: c.limit})
		_, err := b.WriteRows(t.Context(), origin(1), func(put func(key, value []byte, deleted bool) error) error {
			return put([]byte("a"), []byte("1"), false)
		}, nil)
		if !errors.Is(err, snapshot.ErrUnreachable) || !strings.Contains(err.Error(), "check the endpoint") || !strings.Contains(err.Error(), "s3://state/x/objects/") {
			t.Errorf("%s, write: %v", what, err)
		}
	}
}

func TestS3Refusals(t *testing.T) {
	host := serve(t)
	b := open(t, location(host, "nobodys", ""), snapshot.Options{})
	_, err := b.WriteRows(t.Context(), origin(1), func(put func(key, value []byte, deleted bool) error) error {
		return put([]byte("a"), []byte("1"), false)
	}, nil)
	if !errors.Is(err, snapshot.ErrNotFound) || !strings.Contains(err.Error(), "create the directory or bucket first") {
		t.Errorf("missing bucket: %v", err)
	}
	if _, _, err := snapshot.Find(t.Context(), location(host, "state", "nothing/here"), snapshot.Options{}); !errors.Is(err, snapshot.ErrNotFound) {
		t.Errorf("no savepoint: %v", err)
	}
}
