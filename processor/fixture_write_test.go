package processor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/fixture"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
)

// writeFixtures runs the application, and keeps a native and a portable savepoint with records in flight and open windows, and
// a checkpoint of the end with increments.
func writeFixtures(t *testing.T, dir string) {
	g := newGround(t, fixture.App)
	tmp := t.TempDir()
	end := g.run(fixture.App, processor.CheckpointInto(processor.Checkpoints{Dir: filepath.Join(tmp, "c"), Interval: 50 * time.Millisecond, Retained: 1000}))
	g.savepoint(fixture.App, tmp, "born", "")
	// Records come all the time, or nothing would be in flight.
	load := make(chan error, 1)
	go func() {
		for i := range fixture.Records / 2 {
			if err := fixture.Load(g.ctx, g.cl, 2*i, 2*i+2); err != nil {
				load <- err
				return
			}
			time.Sleep(3 * time.Millisecond)
		}
		load <- nil
	}()
	tries := 0
	for _, format := range []string{"native", "portable"} {
		for {
			tries++
			path, c := g.savepoint(fixture.App, tmp, fmt.Sprintf("try-%d", tries), format)
			if through(c, fixture.Records) {
				t.Fatal("nothing was in flight when a savepoint was taken: again")
			}
			if c.Records > 0 && c.Rows > 10 {
				g.must(os.CopyFS(filepath.Join(dir, format), os.DirFS(path)))
				break
			}
		}
	}
	g.must(<-load)
	for i := 0; ; i++ {
		if _, c := g.savepoint(fixture.App, tmp, fmt.Sprintf("end-%d", i), ""); through(c, fixture.Records) {
			break
		}
	}
	place := filepath.Join(tmp, "c", fixture.App)
	b, err := snapshot.Open(g.ctx, place, snapshot.Options{})
	g.must(err)
	defer b.Close()
	for deadline := g.ctx; ; {
		g.must(deadline.Err())
		found, err := b.Manifests(g.ctx)
		g.must(err)
		for _, l := range slices.Backward(found) {
			c, err := admin.InspectSavepoint(g.ctx, filepath.Join(place, l.Name), true)
			g.must(err)
			if !through(c, fixture.Records) || !slices.ContainsFunc(c.Stores, func(s admin.StoreContent) bool { return s.Layers > 1 }) {
				continue
			}
			end()
			m, err := b.Load(g.ctx, l.Name, fixture.App)
			g.must(err)
			names := []string{l.Name}
			for o := range m.Objects() {
				names = append(names, o.Name)
			}
			for _, name := range names {
				text, err := os.ReadFile(filepath.Join(place, name))
				g.must(err)
				to := filepath.Join(dir, "checkpoint", name)
				g.must(os.MkdirAll(filepath.Dir(to), 0o755))
				g.must(os.WriteFile(to, text, 0o644))
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
