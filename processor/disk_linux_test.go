package processor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// withMounts runs the test again as a process that may mount, seen by nobody else: file
// modes mean nothing to root, as which tests often run. It says whether this is that process.
func withMounts(t *testing.T) bool {
	t.Helper()
	const inside = "WEIR_TEST_MOUNTS"
	if os.Getenv(inside) != "" {
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatalf("mounts of its own: %v", err)
		}
		return true
	}
	ids := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	}
	for _, attr := range []*syscall.SysProcAttr{
		{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUSER, UidMappings: ids(os.Getuid()), GidMappings: ids(os.Getgid())},
		{Cloneflags: unix.CLONE_NEWNS},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v", "-test.timeout=2m")
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), inside+"=1"), attr
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil && strings.Contains(string(out), "--- PASS"):
			return false
		case err == nil || errors.As(err, &exit):
			t.Fatalf("in a mount namespace: %v\n%s", err, out)
		}
		t.Logf("no mount namespace: %v", err)
	}
	t.Skip("neither a user namespace nor the rights for a mount namespace")
	return false
}

// tmpfs mounts some memory as a disk.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// freeze makes a directory read-only, for root too.
func freeze(t *testing.T, dir string) {
	t.Helper()
	err := unix.Mount(dir, dir, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Mount("none", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// A state directory that cannot be written ends the worker before it joins, in words that
// say what, where and what to do: wholly read-only, new or used, and one of which only the
// rows are, or a part of them.
func TestReadOnlyStateDirectoryIsRefused(t *testing.T) {
	if !withMounts(t) {
		return
	}
	refused := func(t *testing.T, r *rig, dir string) {
		t.Helper()
		err := r.refused(sums(t, same), processor.StateDir(dir), processor.InstanceID("one"))
		says(t, err, changelog.ErrReadOnly, "state directory "+dir, "cannot be written", "read-only", "make it writable for this user, or choose another directory")
		var ro *changelog.ReadOnlyError
		if !errors.As(err, &ro) || ro.Dir != dir {
			t.Errorf("%+v", ro)
		}
	}
	used := func(t *testing.T) (*rig, string) {
		t.Helper()
		r := newRig(t)
		r.send(0, "a", i64(1))
		r.ran(sums(t, same), func() bool { return r.committed() == 1 }, processor.InstanceID("one"))
		return r, r.dir
	}
	t.Run("new", func(t *testing.T) {
		parent := t.TempDir()
		freeze(t, parent)
		refused(t, newRig(t), filepath.Join(parent, "state"))
	})
	t.Run("empty", func(t *testing.T) {
		dir := t.TempDir()
		freeze(t, dir)
		refused(t, newRig(t), dir)
	})
	t.Run("used", func(t *testing.T) {
		r, dir := used(t)
		freeze(t, dir)
		refused(t, r, dir)
	})
	t.Run("rows alone", func(t *testing.T) {
		r, dir := used(t)
		freeze(t, filepath.Join(dir, "rows"))
		refused(t, r, dir)
	})
	t.Run("goes on elsewhere", func(t *testing.T) {
		r, dir := used(t)
		freeze(t, dir)
		refused(t, r, dir)
		r.send(0, "a", i64(2))
		r.ran(sums(t, same), func() bool { return r.committed() == 2 }, processor.StateDir(t.TempDir()), processor.InstanceID("one"))
		if got := fmt.Sprint(r.out(2)); got != "[a=1 a=3]" {
			t.Errorf("results %s", got)
		}
	})
}

// A path through a file is no directory, whoever asks.
func TestStateDirectoryBelowAFileIsRefused(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "state")} {
		says(t, r.refused(sums(t, same), processor.StateDir(dir)), changelog.ErrReadOnly, "state directory "+dir, "not a directory", "choose another directory")
	}
}

// The disk fills up while a worker runs: tasks with state stop with an error that says so,
// the others go on, and when there is room again so do they, with nothing lost or twice.
func TestDiskThatFillsUp(t *testing.T) {
	if !withMounts(t) {
		return
	}
	r := newRig(t, kfake.SeedTopics(1, "plain", "copies"))
	b := topology.New("bad")
	last := topology.From(b, topology.NewTopic("in", codec.String, codec.Bytes)).Reduce("last", func(_ string, a, v []byte) ([]byte, error) {
		return append(v[:len(v):len(v)], a[len(a)-1]+1), nil // the last byte counts
	})
	topology.MapValues(last.ToStream(), func(_ string, v []byte) (int64, error) { return int64(v[len(v)-1]), nil }).WithValueCodec(codec.Int64).
		To(topology.NewTopic("out", codec.String, codec.Int64))
	topology.From(b, topology.NewTopic("plain", codec.String, codec.Int64)).To(topology.NewTopic("copies", codec.String, codec.Int64))
	plan, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu     sync.Mutex
		full   = make(chan error, 100)
		closed []string
	)
	dir := tmpfs(t, "160m")
	w := r.run("one", dir, plan, processor.MinFreeDisk(16<<20), processor.CacheBytes(1<<20), processor.Events(&processor.Listener{
		TaskFailed: func(i processor.FailedInfo) {
			select {
			case full <- fmt.Errorf("task %s: %w", i.Task, i.Err):
			default:
			}
		},
		TaskClosed: func(i processor.ClosedInfo) {
			mu.Lock()
			defer mu.Unlock()
			closed = append(closed, fmt.Sprint(i.Task, " ", i.Reason))
		},
	}))
	const keys = 24
	send := func() {
		t.Helper()
		for i := range keys {
			v := make([]byte, 100<<10) // some megabytes are written to disk at once
			r.cl.Produce(r.ctx, &kgo.Record{Topic: "in", Partition: int32(i % 2), Key: fmt.Appendf(nil, "k%d", i), Value: v}, nil)
		}
		if err := r.cl.Flush(r.ctx); err != nil {
			t.Fatal(err)
		}
	}
	out, copies := r.reader("out"), r.reader("copies")
	send()
	out.until(keys)
	if len(full) > 0 {
		t.Fatalf("before: %v", <-full)
	}

	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, int64(st.Bavail)*st.Bsize-8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	send()
	select {
	case err := <-full:
		says(t, err, changelog.ErrDiskFull, "task 0-", "last of task 0-", "state directory "+dir, "MiB free", "16 MiB are kept in reserve", "free some space")
	case err := <-w.ended:
		t.Fatalf("the worker ended: %v", err)
	case <-r.ctx.Done():
		t.Fatal("a full disk was not noticed")
	}
	for i := range 3 { // the task without state works on
		rec := &kgo.Record{Topic: "plain", Key: []byte("p"), Value: i64(int64(i))}
		if err := r.cl.ProduceSync(r.ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		copies.until(i + 1)
	}
	mu.Lock()
	if got := strings.Join(closed, ", "); !strings.Contains(got, "failed") || strings.Contains(got, "1-0") {
		t.Errorf("closed: %s; want tasks of sub-topology 0, as failed", got)
	}
	mu.Unlock()

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	out.until(2 * keys)
	send()
	out.until(3 * keys)
	for k, vs := range out.by {
		if fmt.Sprint(vs) != "[0 1 2]" {
			t.Errorf("%s: %v, want each count once", k, vs)
		}
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}
